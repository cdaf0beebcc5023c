"""Several processes on one pattern, and several CPU threads on one batch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Barrier
from typing import TypeVar

import torch
import torch.distributed as dist

from physadv.detect.pytorch import pick_device
from physadv.errors import TrainingError
from physadv.types import GradientDetector

A = TypeVar("A")
B = TypeVar("B")
CPU = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among `world`; rank 0 scores, saves and reports. local: its number on this machine.

    All processes hold the same pattern: rank 0's is broadcast at each start, then one all-reduce a step sums gradients.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @classmethod
    def join(cls) -> Processes:
        """Return this process's place as torchrun set it, joined to the others by gloo; a single one without torchrun.

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

    @property
    def first(self) -> bool:
        """Return whether this process scores, saves and reports."""
        return self.rank == 0

    def device(self, asked: str) -> str:
        """Return the device for "auto" or the one asked for; several processes on a machine each take another GPU.

        Raises: BackendError if it is not on this machine.
        """
        where = pick_device(asked)
        if self.world == 1 or where != "cuda":
            return where
        return f"cuda:{self.local % torch.cuda.device_count()}"

    def leave(self) -> None:
        """Leave the process group."""
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
    def broadcast(self, tensors: list[torch.Tensor]) -> None:
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
        shared = torch.tensor([number])
        dist.broadcast(shared, 0)
        return int(shared)

    def any(self, asked: bool) -> bool:
        """Return whether it was asked for in any process, the same answer in all of them."""
        if self.world == 1:
            return asked
        shared = torch.tensor([int(asked)])
        dist.all_reduce(shared)
        return bool(shared)

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


class ThreadPool:
    """Threads that compute the parts of one batch side by side, each with one thread of torch's own.

    A network this small leaves two threads that share its every layer waiting for one another: measured on two cores,
    forward and backward of two halves side by side take .73 of the time that the whole takes on both. A pool of size 1
    computes in the caller's thread.
    """

    def __init__(self, size: int = 1) -> None:
        self.size = size
        self._pool = None if size == 1 else _executor(size)

    @classmethod
    def for_detectors(cls, detectors: Sequence[GradientDetector]) -> ThreadPool:
        """Return a pool of torch's number of threads where the detectors allow it, else one of size 1.

        They must be on the CPU, and several threads may use each at once. A defence's twin may draw at random: used by
        several threads, its draws would depend on which came first.
        """
        able = all(d.reentrant and d.device == CPU for d in detectors)
        return cls(torch.get_num_threads() if able else 1)

    def map(self, work: Callable[[A], B], parts: Iterable[A]) -> list[B]:
        """Return the results of `work` for each part, in order.

        Raises: whatever `work` raises, of the first part that fails.
        """
        return [work(part) for part in parts] if self._pool is None else list(self._pool.map(work, parts))


def _executor(size: int) -> ThreadPoolExecutor:
    threads = torch.get_num_threads()
    started = Barrier(size)

    def begin() -> None:
        # A thread takes the process's number when it first asks, also after it was given one of its own: so ask first.
        torch.get_num_threads()
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(size, initializer=begin)
    # All threads start now; then the number that threads started later take is set back.
    list(pool.map(lambda _: None, range(size)))
    torch.set_num_threads(threads)
    return pool
