"""Nonsense over real sockets: whatever a client sends is its own fault, is answered as such, and is not logged."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from physadv.web.serve import PageServer
from tests.web.fuzz import answer, frames, play, requests, served

SEED = 15


def wrong(server: PageServer, send: Callable[..., int], jobs: Iterable[tuple[Any, ...]], caplog: Any) -> list[str]:
    """Which jobs were answered as a fault of ours, or logged."""
    out = []
    for job in jobs:
        status = send(server.port, *job)
        if status // 100 == 5 or status == 1011 or caplog.records:
            out.append(f"{status} to {job!r:.400} {caplog.text[-800:]}")
            caplog.clear()
    return out


def test_no_request_and_no_frame_makes_the_server_fail(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with served(tmp_path) as server:
        assert wrong(server, answer, ((raw,) for raw in requests(500, SEED)), caplog) == []
        assert wrong(server, play, frames(250, SEED), caplog) == []


def test_without_a_token_every_answer_says_only_that(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with served(tmp_path, token="open sesame") as server:
        statuses = {answer(server.port, raw) for raw in requests(200, SEED)}
    # 400: what is no HTTP at all. 0: the same, or cut off.
    assert 401 in statuses
    assert statuses <= {0, 100, 400, 401}
    assert caplog.records == []
