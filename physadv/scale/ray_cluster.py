"""Tasks on Ray: a cluster by its address, or one of this machine alone. Retries and places of tasks are Ray's business."""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from physadv.errors import BackendError, SettingsError
from physadv.scale.tasks import RETRIES, Done, Job, workers_of

REACHED_S = 10.0
# How gRPC begins, an empty frame of settings behind it; what answers begins with its own settings.
GREETING, SETTINGS_FRAME = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]), 4


class RayCluster:
    """A connection to Ray, which is closed when the context ends; a cluster that it started ends with it.

    workers: tasks at once; None for as many as the cluster has CPUs for. gpu: each task takes one.
    """

    def __init__(
        self, address: str | None, workers: int | None, *, threads: int = 1, gpu: bool = False, retries: int = RETRIES
    ) -> None:
        """Raises: SettingsError if Ray is not installed. BackendError if the cluster cannot be reached or is too small."""
        # Ray would report its use to its makers.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError as error:
            raise SettingsError("not installed", field="executor=ray", hint='pip install "physadv[scale]"') from error
        self._ray: Any = ray
        if address is not None:
            _check_reachable(address)
        here = workers or workers_of(threads)
        alone: dict[str, Any] = {"num_cpus": here * threads, "include_dashboard": False} if address is None else {}
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **alone)
        except (ConnectionError, OSError, ValueError, RuntimeError) as error:
            raise BackendError(
                f"no cluster at {address or 'this machine'}: {error}",
                field="address",
                hint="start one with `ray start`",
            ) from error
        self._options = {"num_cpus": threads, "num_gpus": int(gpu), "max_retries": retries}
        there = ray.cluster_resources()
        self._workers = workers or max(int(there.get("CPU", 0)) // threads, 1)
        for what, need in (("CPU", threads), ("GPU", int(gpu))):
            if max(int(node["Resources"].get(what, 0)) for node in ray.nodes() if node["Alive"]) < need:
                ray.shutdown()
                raise BackendError(
                    "no machine of the cluster can run a task", expected=f"one with {need} {what}", field="executor"
                )
        self._waiting: deque[Job] = deque()
        self._running: dict[Any, Job] = {}

    @property
    def free(self) -> int:
        """Return how many tasks more can begin at once."""
        return max(self._workers - len(self._running) - len(self._waiting), 0)

    def submit(self, number: int, work: Callable[..., Any], *args: Any) -> None:
        """Take a task. number: by which it is known."""
        self._waiting.append(Job(number, work, args))
        self._begin()

    def wait(self) -> Done:
        """Return a task that is over, as soon as there is one.

        Raises: whatever the task raised.
        """
        self._begin()
        (over, *_), _ = self._ray.wait(list(self._running), num_returns=1)
        job = self._running.pop(over)
        errors = self._ray.exceptions
        try:
            return Done(job.number, self._ray.get(over))
        except (errors.WorkerCrashedError, errors.NodeDiedError, errors.OutOfMemoryError):
            return Done(job.number, None, died=True)

    def _begin(self) -> None:
        while self._waiting and len(self._running) < self._workers:
            job = self._waiting.popleft()
            self._running[self._ray.remote(job.work).options(**self._options).remote(*job.args)] = job

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()


def _check_reachable(address: str) -> None:
    """Raise BackendError if no gRPC server answers at HOST:PORT: Ray itself waits for minutes before it says so."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isascii() and port.isdigit():
        try:
            with socket.create_connection((host, int(port)), timeout=REACHED_S) as line:
                # With TLS the greeting would have to be encrypted.
                if os.environ.get("RAY_USE_TLS", "0") in ("", "0"):
                    line.sendall(GREETING)
                    if line.recv(4)[3:] != bytes([SETTINGS_FRAME]):
                        raise OSError("what answers there is no Ray")
        except (OSError, OverflowError) as error:
            raise _nobody(address, error) from error


def _nobody(address: str, error: Exception) -> BackendError:
    return BackendError(f"no cluster at {address}: {error}", field="address", hint="start one with `ray start`")
