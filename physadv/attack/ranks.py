"""Several processes on one pattern: broadcast at each start, then one all-reduce of its gradient a step."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist

from physadv.detect.pytorch import pick_device
from physadv.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among `world`; rank 0 scores, saves and speaks. local: its number on this machine."""

    rank: int = 0
    world: int = 1
    local: int = 0

    @classmethod
    def join(cls) -> Ranks:
        """Return this process's place as torchrun set it, joining the others by gloo; alone without torchrun.

        Raises: TrainingError if the others cannot be reached.
        """
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world <= 1 or "RANK" not in os.environ:
            return cls()
        if not dist.is_initialized():
            try:
                dist.init_process_group("gloo")
            except (RuntimeError, ValueError) as error:
                raise TrainingError(f"torchrun: the other processes cannot be reached: {error}") from error
        return cls(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", "0")))

    def device(self, asked: str) -> str:
        """Return the device for "auto" or the one asked for; of several processes on a machine each takes another GPU.

        Raises: BackendError if it is not on this machine.
        """
        where = pick_device(asked)
        if self.world == 1 or where != "cuda":
            return where
        return f"cuda:{self.local % torch.cuda.device_count()}"

    def leave(self) -> None:
        """Part from the others."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()

    def shards(self, parts: int) -> list[int]:
        """Return which of a batch's `parts` this process computes."""
        return list(range(self.rank, parts, self.world))

    @torch.no_grad()
    def sum(self, tensors: list[torch.Tensor]) -> None:
        """Add up tensors over all processes, in place, in one message."""
        if self.world == 1:
            return
        flat = torch.cat([t.detach().float().cpu().flatten() for t in tensors])
        dist.all_reduce(flat)
        self._scatter(flat, tensors)

    @torch.no_grad()
    def same(self, tensors: list[torch.Tensor]) -> None:
        """Give every process the tensors of rank 0, in place."""
        if self.world == 1:
            return
        flat = torch.cat([t.detach().float().cpu().flatten() for t in tensors])
        dist.broadcast(flat, 0)
        self._scatter(flat, tensors)

    def agree(self, number: int) -> int:
        """Return rank 0's number, the same in every process."""
        if self.world == 1:
            return number
        told = torch.tensor([number])
        dist.broadcast(told, 0)
        return int(told)

    def any(self, asked: bool) -> bool:
        """Return whether it was asked for in any process, the same answer in all of them."""
        if self.world == 1:
            return asked
        told = torch.tensor([int(asked)])
        dist.all_reduce(told)
        return bool(told)

    def wait(self) -> None:
        """Return when every process has come here.

        Raises: TrainingError if one of them has ended.
        """
        if self.world > 1:
            try:
                dist.barrier()
            except RuntimeError as error:
                raise TrainingError(f"torchrun: another process has ended: {error}") from error

    @staticmethod
    def _scatter(flat: torch.Tensor, tensors: list[torch.Tensor]) -> None:
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()
