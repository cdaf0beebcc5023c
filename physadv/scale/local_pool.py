"""Tasks on processes of this machine. A worker that dies takes its task with it, and no other."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context, parent_process
from types import TracebackType
from typing import Any, Self

from physadv.scale.tasks import RETRIES, Done, Job


class WorkerProcess:
    """A process that runs one task at a time. A pool of one tells whose task was lost when it dies."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool: ProcessPoolExecutor | None = None
        self._pid: int | None = None

    def begin(self, job: Job) -> Future[Any]:
        """Return the future of a task, in a new process if there is none, or the last one died."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                1, mp_context=get_context("spawn"), initializer=_begin_worker, initargs=(self._threads,)
            )
        try:
            return self._pool.submit(job.work, *job.args)
        except BrokenProcessPool:
            # It was killed while it had nothing to do.
            self.drop()
            return self.begin(job)

    def drop(self) -> None:
        """Let go of a process that died."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = None

    def end(self, *, kill: bool) -> None:
        """End the process; kill: whatever it does."""
        if self._pool is None:
            return
        # What the pool calls its processes is no public name before Python 3.14.
        processes = list((getattr(self._pool, "_processes", None) or {}).values())
        self._pool.shutdown(wait=not kill, cancel_futures=True)
        for process in processes if kill else ():
            with suppress(ProcessLookupError, ValueError):
                process.kill()
        self._pool = None


class LocalPool:
    """Worker processes of this machine, made when they are needed.

    threads: CPU threads of each. retries: how often a task is begun again whose worker died.
    """

    def __init__(self, workers: int, *, threads: int = 1, retries: int = RETRIES) -> None:
        self._retries = retries
        self._idle = [WorkerProcess(threads) for _ in range(workers)]
        self._waiting: deque[Job] = deque()
        self._running: dict[Future[Any], tuple[Job, WorkerProcess]] = {}

    @property
    def free(self) -> int:
        """Return how many tasks more can begin at once."""
        return max(len(self._idle) - len(self._waiting), 0)

    def submit(self, number: int, work: Callable[..., Any], *args: Any) -> None:
        """Take a task. number: by which it is known."""
        self._waiting.append(Job(number, work, args))
        self._begin()

    def wait(self) -> Done:
        """Return a task that is over, as soon as there is one.

        Raises: whatever the task raised.
        """
        while True:
            self._begin()
            over = next(iter(wait(self._running, return_when=FIRST_COMPLETED).done))
            job, worker = self._running.pop(over)
            try:
                return Done(job.number, over.result())
            except BrokenProcessPool:
                worker.drop()
                job.deaths += 1
                if job.deaths > self._retries:
                    return Done(job.number, None, died=True)
                self._waiting.appendleft(job)
            finally:
                self._idle.append(worker)

    def _begin(self) -> None:
        while self._waiting and self._idle:
            job, worker = self._waiting.popleft(), self._idle.pop()
            self._running[worker.begin(job)] = job, worker

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in [*self._idle, *(worker for _, worker in self._running.values())]:
            worker.end(kill=kind is not None)


def _begin_worker(threads: int) -> None:
    """Prepare a worker: read by OpenMP when torch is loaded, which is later; Ctrl-C is for the process that gives tasks."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this process when the one that gives tasks has ended, if only by a kill: nobody would wait for the result."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
