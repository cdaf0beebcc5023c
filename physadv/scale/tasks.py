"""Tasks, what is known of them when they are over, and what runs them; how many of them a machine's cores allow."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, NamedTuple, Protocol, Self

ExecutorName = Literal["local", "ray"]
# So often a task is begun again whose worker died: a task that kills every worker must end, too.
RETRIES = 3


class Done(NamedTuple):
    """A task that is over. value: what its function returned. died: its workers died at it, and it was given up."""

    number: int
    value: Any
    died: bool = False


class Executor(Protocol):
    """Runs functions of modules with arguments that pickle, in any order; to be used as a context."""

    @property
    def free(self) -> int:
        """Return how many tasks more can begin at once."""
        ...

    def submit(self, number: int, work: Callable[..., Any], *args: Any) -> None:
        """Take a task. number: by which it is known."""
        ...

    def wait(self) -> Done:
        """Return a task that is over, as soon as there is one."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


@dataclass(slots=True)
class Job:
    """A task that was taken. deaths: how many workers died at it."""

    number: int
    work: Callable[..., Any]
    args: tuple[Any, ...]
    deaths: int = 0


def workers_of(threads: int) -> int:
    """Return how many workers of so many threads each this machine's cores allow, one at least."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(cores // threads, 1)


def limit_threads(threads: int) -> None:
    """Let this process compute in so many threads: workers that take every core fight for them."""
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
