"""Where tasks run: on processes of this machine, or on Ray."""

from __future__ import annotations

from physadv.errors import SettingsError
from physadv.scale.local_pool import LocalPool
from physadv.scale.tasks import RETRIES, Executor, ExecutorName, workers_of


def make_executor(
    name: ExecutorName,
    *,
    workers: int | None,
    threads: int,
    address: str | None = None,
    gpu: bool = False,
    retries: int = RETRIES,
) -> Executor:
    """Return what runs tasks. workers: at once; unless given as many as the machine's cores allow, on Ray the cluster's.

    threads: CPU threads of each task. address: of a Ray cluster; without one a cluster of this machine is started. gpu:
    each task takes a GPU of the cluster.

    Raises: SettingsError for an address without Ray, or if Ray is not installed. BackendError as `RayCluster` does.
    """
    if name == "ray":
        from physadv.scale.ray_cluster import RayCluster

        return RayCluster(address, workers, threads=threads, gpu=gpu, retries=retries)
    if address is not None:
        raise SettingsError("is of a Ray cluster", field="address", hint="give `executor=ray` with it, or leave it out")
    return LocalPool(workers or workers_of(threads), threads=threads, retries=retries)
