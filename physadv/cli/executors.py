"""The flags of commands that give tasks to workers: where these run, and how many."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from physadv.scale.tasks import ExecutorName
from physadv.settings import Metavar

RunsOn = Annotated[
    ExecutorName,
    Field(description="local: processes of this machine; ray: a Ray cluster, with the extra `physadv[scale]`"),
]
Address = Annotated[
    str | None,
    Metavar("ADDRESS"),
    Field(
        description="with `executor=ray`: the cluster's, e.g. auto or ray://HOST:10001; unless given one of this machine "
        "alone is started and ended"
    ),
]
Workers = Annotated[
    int | None,
    Field(
        ge=1, le=10_000, description="tasks at once; unless given as many as there are cores for, on Ray of the cluster"
    ),
]
