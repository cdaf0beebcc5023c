"""Serving the page from a thread of its own."""

from __future__ import annotations

import errno
import logging
import secrets
import socket
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

import uvicorn
from starlette.types import ASGIApp

from physadv.errors import SettingsError
from physadv.live.library import PatchLibrary
from physadv.live.settings import LOOPBACK
from physadv.web.app import build_app

if TYPE_CHECKING:
    from physadv.live.demo import Demo
    from physadv.trial.run import TrialRun

MAX_MESSAGE = 4_100_000
# As a host: all of this machine's addresses.
EVERY = "0.0.0.0"


class Listener:
    """A socket that listens on an address for the page, and the tokens that let visitors in.

    url: what to open, token included; where it listens on all addresses, by the one that others in the network reach.
    viewer_url: the same for those who may only look; "" where no token is needed. address: of this machine in its network
    where it listens on all addresses, else "".
    """

    def __init__(self, *, host: str = "127.0.0.1", port: int = 8000, token: str = "", viewer_token: str = "") -> None:
        """port: 0 takes a free one. token, viewer_token: made where `host` is not this machine alone.

        Raises: SettingsError if the address or the port cannot be had, or the tokens do not go together.
        """
        if not token and host not in LOOPBACK:
            token = secrets.token_urlsafe(18)
        if viewer_token and viewer_token == token:
            raise SettingsError(
                field="viewer_token", expected="another secret than `token`, whose holder may change things"
            )
        if viewer_token and not token:
            raise SettingsError(
                field="viewer_token", expected="`token` beside it: without one everybody may change things"
            )
        self.token, self.viewer_token = token, viewer_token or (secrets.token_urlsafe(18) if token else "")
        self.socket = _bound(host, port)
        self.port: int = self.socket.getsockname()[1]
        named = _own_address() if host == EVERY else host
        shown = f"[{named}]" if ":" in named else named
        page = f"http://{shown}:{self.port}/"
        self.url = f"{page}?token={quote(token)}" if token else page
        self.viewer_url = f"{page}?token={quote(self.viewer_token)}" if token else ""
        self.address = page if host == EVERY else ""

    def close(self) -> None:
        """Listen no more. Safe to call twice."""
        self.socket.close()


class PageServer:
    """The page, answering once started."""

    def __init__(
        self,
        listener: Listener,
        demo: Demo | None = None,
        *,
        calibration: object = None,
        trial: TrialRun | None = None,
        library: PatchLibrary | None = None,
    ) -> None:
        """demo: what it shows; None for the pages that need none. calibration, trial, library: see `PageContext`."""
        self.url, self.viewer_url = listener.url, listener.viewer_url if demo is not None and trial is None else ""
        self.port = listener.port
        self._listener = listener
        app = build_app(
            demo,
            token=listener.token,
            # Without a demo there is nothing to look at, and a trial shows who looks on what it must not.
            viewer_token=listener.viewer_token if demo is not None and trial is None else "",
            address=listener.address,
            calibration=calibration,
            trial=trial,
            library=library,
        )
        self._server = _server(app)
        self._thread = threading.Thread(target=self._server.run, args=([listener.socket],), name="page", daemon=True)

    def start(self) -> None:
        """Start answering; returns once it does.

        Raises: SettingsError if the server does not come up.
        """
        self._thread.start()
        deadline = time.monotonic() + 15
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise SettingsError(f"the page's server did not start on port {self.port}")
            time.sleep(0.02)

    def close(self) -> None:
        """Stop answering. Safe to call twice."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(timeout=6)
        self._listener.close()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    out = socket.socket(family, socket.SOCK_STREAM)
    out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        out.bind((host, port))
        out.listen(128)
    except OSError as error:
        out.close()
        if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
            raise SettingsError(
                field="host",
                expected="an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them",
                got=f"{host!r} ({error.strerror or error})",
            ) from error
        what = "in use or not allowed" if port else "not to be had"
        raise SettingsError(
            f"{host}:{port} is {what} ({error.strerror or error})",
            field="port",
            hint="choose another, or 0 for a free one",
        ) from error
    return out


def _quiet(record: logging.LogRecord) -> bool:
    """Return False for what uvicorn logs with a traceback: no error of ours gets past `Faults`, so a client caused it."""
    return record.exc_info is None


def _server(app: ASGIApp) -> uvicorn.Server:
    # The same function is added once only.
    logging.getLogger("uvicorn.error").addFilter(_quiet)
    config = uvicorn.Config(
        app,
        log_level="error",
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=2,
        ws_max_size=MAX_MESSAGE,
        # JPEG does not shrink; compressing it again would cost milliseconds a frame.
        ws_per_message_deflate=False,
    )
    return uvicorn.Server(config)


def _own_address() -> str:
    """Return this machine's address in its network, as its default route would use it; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return "127.0.0.1"
        return str(probe.getsockname()[0])
