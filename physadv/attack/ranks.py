"""Several processes on one pattern: broadcast once, then one all-reduce of its gradient a step."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import torch.distributed as dist

from physadv.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Ranks:
    """This process among `world`; rank 0 scores, saves and speaks."""

    rank: int = 0
    world: int = 1

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
        return cls(dist.get_rank(), dist.get_world_size())

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

    @staticmethod
    def _scatter(flat: torch.Tensor, tensors: list[torch.Tensor]) -> None:
        start = 0
        for tensor in tensors:
            tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
            start += tensor.numel()
