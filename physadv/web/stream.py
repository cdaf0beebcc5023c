"""Frames by web socket: to viewers, encoded once for all, newest wins for each; and in from a visitor's own camera."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from starlette.concurrency import run_in_threadpool

from physadv.capture.browser import BrowserSource
from physadv.errors import SettingsError, SourceError
from physadv.files import parse_json
from physadv.live.demo import Demo
from physadv.live.draw import regions, style
from physadv.live.figures import Recent
from physadv.live.shown import Shown
from physadv.live.wearers import Wearer
from physadv.types import Alert, Detections, UInt8Array
from physadv.web.context import PageContext, received
from physadv.web.decoder import Decoder
from physadv.web.gate import is_viewer
from physadv.web.images import jpeg, shrunk
from physadv.web.words import on_page

# Pixels of the longer side. A larger frame is shrunk for the page, and as small as the page shows it: to encode and paint
# 1280 x 720 on two panes of 600 costs three times as much. Boxes keep the frame's own pixels.
MAX_PX, MIN_PX = 1280, 160
QUALITY = 82
# Alerts that are written on the image, the most urgent first; what was removed or uncovered is marked there anyway.
URGENT = ("vanished", "faded", "probe", "inconsistent", "suspicious", "notice")
# Frames under way to one viewer: one being painted, one on the wire.
UNACKNOWLEDGED = 2
# Between two frames at least, in seconds: no camera of 30 a second waits for it, a file that is played at 90 does. Encoding
# and painting take from the cores that the detector needs.
APART_S = 0.025
STATE_EVERY_S = 0.2
# Characters of a viewer's message.
MAX_MESSAGE = 500


@dataclass(frozen=True)
class Packet:
    """One encoded frame. number: of the frame. began_ns: when encoding began, `time.monotonic_ns()`."""

    number: int
    data: bytes
    began_ns: int


@dataclass(eq=False)
class Viewer:
    """One page. latency: ms from the start of encoding, or from joining if that was later, to its acknowledgement.

    width: how wide it shows an image, in pixels of its screen; as wide as there is until it says so.
    """

    wants_seen: bool = False
    width: int = MAX_PX
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    sent: dict[int, int] = field(default_factory=dict)
    last: int = -1
    latency: Recent = field(default_factory=Recent)
    joined_ns: int = field(default_factory=time.monotonic_ns)

    @property
    def ready(self) -> bool:
        """Return whether it is not behind with too many."""
        return len(self.sent) < UNACKNOWLEDGED

    def next(self, packet: Packet | None) -> Packet | None:
        """Return the packet if this viewer has not had it and is ready for one."""
        if packet is None or packet.number == self.last or not self.ready:
            return None
        self.last = packet.number
        self.sent[packet.number] = max(packet.began_ns, self.joined_ns)
        return packet

    def acknowledge(self, number: int) -> None:
        """Count frame `number` as painted; earlier ones will not be any more."""
        began = self.sent.get(number)
        if began is not None:
            now = time.monotonic_ns()
            self.latency.add((now - began) / 1e6, now / 1e9)
        self.sent = {n: t for n, t in self.sent.items() if n > number}
        self.wake.set()


class Hub:
    """Takes frames from the demo's thread, encodes the newest on a thread of its own, wakes the viewers.

    Nothing is encoded while no viewer is ready for it: JPEG takes 2 to 5 ms of a core that the detector needs.
    """

    def __init__(self, demo: Demo) -> None:
        self._demo = demo
        self._viewers: set[Viewer] = set()
        self._packet: Packet | None = None
        self._fresh = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._end: Callable[[], None] = _nothing
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="encode")

    @property
    def packet(self) -> Packet | None:
        """Return the newest encoded frame."""
        return self._packet

    def figures(self) -> dict[str, Any]:
        """Return how many viewers there are, and the median ms from encoding to paint over all of them."""
        now = time.monotonic()
        medians = [m for v in self._viewers if (m := v.latency.percentile(50, now)) is not None]
        return {"viewers": len(self._viewers), "paint_ms": round(float(np.median(medians)), 1) if medians else None}

    def join(self, viewer: Viewer) -> None:
        """Add a viewer; the first one starts the encoding."""
        self._viewers.add(viewer)
        if self._task is None:
            self._loop = asyncio.get_running_loop()
            self._end = self._demo.subscribe(self._arrived)
            self._task = asyncio.create_task(self._encode_all())
        self._fresh.set()

    def acknowledged(self) -> None:
        """Look again whether a frame is to be encoded: a viewer may be ready for one."""
        self._fresh.set()

    def leave(self, viewer: Viewer) -> None:
        """Remove a viewer; after the last one nothing is encoded."""
        self._viewers.discard(viewer)
        if not self._viewers and self._task is not None:
            self._end()
            self._task.cancel()
            self._task = None

    def _arrived(self, _: Shown) -> None:
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._fresh.set)

    async def _encode_all(self) -> None:
        loop = asyncio.get_running_loop()
        began = 0.0
        while True:
            await self._fresh.wait()
            self._fresh.clear()
            shown = self._demo.latest
            if shown is None or (self._packet is not None and self._packet.number == shown.number):
                continue
            if not any(v.ready for v in self._viewers):
                continue
            if (early_s := began + APART_S - time.monotonic()) > 0:
                # The newest of then.
                loop.call_later(early_s, self._fresh.set)
                continue
            began = time.monotonic()
            seen = any(v.wants_seen for v in self._viewers)
            self._packet = await loop.run_in_executor(
                self._pool, encode, shown, seen, max(v.width for v in self._viewers)
            )
            for viewer in self._viewers:
                viewer.wake.set()


def _nothing() -> None:
    """End nothing: no viewer has joined yet."""


def encode(shown: Shown, with_seen: bool, shown_width: int) -> Packet:
    """Return an image for the page: header length (uint32, little endian), JSON header, JPEG, perhaps a second JPEG.

    The header's boxes and keypoints are in pixels of the camera's image; `w`, `h` is its size. The second JPEG is what
    the defended detector was really given, where a defence changed the image; `to_seen` takes the camera's pixels there.
    shown_width: how wide the page shows it, in pixels.
    """
    began = time.monotonic_ns()
    width, height = shown.frame.size
    longest = min(max(shown_width * max(width, height) // width, MIN_PX), MAX_PX)
    image = _coded(shown.frame.pixels, longest)
    seen = _coded(shown.people.seen, longest) if with_seen and shown.people.seen is not None else b""
    header = {
        "n": shown.number,
        "w": width,
        "h": height,
        "jpeg": len(image),
        "seen": len(seen),
        "conf": shown.controls.conf,
        "top": round(shown.top, 4),
        "bare_top": None if shown.bare_top is None else round(shown.bare_top, 4),
        "cut": shown.cut,
        "worn": shown.worn,
        "worn_cm": shown.worn_cm,
        "worn_angle": shown.worn_angle,
        "worn_fold": shown.worn_fold,
        "worn_lit": shown.worn_lit,
        "turned": shown.turned,
        "farther": shown.farther,
        "print": shown.print_found and shown.print_found.plain(),
        "condition": shown.condition and asdict(shown.condition),
        "detector": shown.detector,
        "wearers": _wearers(shown.wearers),
        "bare_wearers": _wearers(shown.bare_wearers),
        "hiding": None if shown.hiding is None else asdict(shown.hiding),
        "bare_hiding": None if shown.bare_hiding is None else asdict(shown.bare_hiding),
        "defences": shown.defences,
        "people": _people(shown.people, skeleton=shown.controls.skeleton, sizes=shown.sizes),
        "bare": None if shown.bare is None else _people(shown.bare, skeleton=shown.controls.skeleton),
        "beside": [
            {
                "name": other.name,
                "top": round(other.top, 4),
                "people": _people(other.people, skeleton=shown.controls.skeleton),
                "wearers": _wearers(other.wearers),
                "hiding": None if other.hiding is None else asdict(other.hiding),
            }
            for other in shown.beside
        ],
        "to_seen": None if shown.people.to_seen is None else np.round(shown.people.to_seen, 4).ravel().tolist(),
        "alerts": [{"kind": a.kind, "xyxy": [round(float(v), 1) for v in box]} for a, box in regions(shown.people)],
        "alarm": _alarm(shown.people.alerts),
    }
    head = json.dumps(header, separators=(",", ":")).encode()
    return Packet(shown.number, b"".join([struct.pack("<I", len(head)), head, image, seen]), began)


def _coded(pixels: UInt8Array, longest: int) -> bytes:
    return jpeg(shrunk(pixels, longest), QUALITY)


def _alarm(alerts: tuple[Alert, ...]) -> dict[str, str] | None:
    """Return the alert that belongs on the image itself, somebody missed before anything else; None if none does."""
    first = min((a for a in alerts if a.kind in URGENT), key=lambda a: URGENT.index(a.kind), default=None)
    return None if first is None else {"kind": first.kind, "text": first.text}


def _wearers(wearers: tuple[Wearer, ...] | None) -> list[dict[str, Any]] | None:
    if wearers is None:
        return None
    return [
        {"box": [round(v, 1) for v in w.xyxy], "state": w.state, "person": w.person, "score": round(w.score, 3)}
        for w in wearers
    ]


def _people(people: Detections, *, skeleton: bool, sizes: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    out = []
    for i in range(len(people)):
        person: dict[str, Any] = {
            "box": [round(float(v), 1) for v in people.xyxy[i]],
            "score": round(float(people.score[i]), 3),
        }
        if word := style(people, i)[1]:
            person["mark"] = word
        if i < len(sizes):
            person["size"] = sizes[i]
        if people.track is not None:
            person["track"] = int(people.track[i])
        if skeleton and people.keypoints is not None:
            person["points"] = np.round(people.keypoints[i], 2).astype(float).round(2).ravel().tolist()
        out.append(person)
    return out


def router(context: PageContext) -> APIRouter:
    """Return the two sockets of the live page, `/ws/frames` and `/ws/camera`.

    `/ws/frames`: binary frames (see `encode`) and text states out, acknowledgements in. What is no acknowledgement is a
    SettingsError, which ends the socket.

    `/ws/camera`: messages of a float64 (little endian, capture time in ms) and a JPEG in; each is answered "ok". The newest
    visitor's camera is the source; the one that was sending before is closed with the reason. A message that is no image is
    a SourceError, which ends the socket, as does a demo that takes no camera.
    """
    out = APIRouter()
    hub = Hub(context.live)
    sending: list[WebSocket] = []
    # One of its own: no photograph that somebody else sends in holds up the frames.
    decoder = Decoder()

    @out.websocket("/ws/frames")
    async def frames(socket: WebSocket) -> None:
        await socket.accept()
        viewer = Viewer()
        hub.join(viewer)
        tasks = [
            asyncio.create_task(_listen(socket, viewer, hub)),
            asyncio.create_task(_send(socket, viewer, hub, context)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            hub.leave(viewer)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        # Each is asked for its error, or asyncio would log one that was never retrieved.
        errors = [task.exception() for task in tasks if not task.cancelled()]
        for error in filter(None, errors):
            raise error

    @out.websocket("/ws/camera")
    async def camera(socket: WebSocket) -> None:
        await socket.accept()
        for other in sending:
            with suppress(RuntimeError, WebSocketDisconnect):
                await other.close(4409, "another visitor's camera took over")
        sending[:] = [socket]
        try:
            source = _camera_source(context, decoder)
            while True:
                data = await received(socket, "bytes")
                if len(data) < 12:
                    raise SourceError("expected 8 bytes of time and a JPEG image")
                (captured_ms,) = struct.unpack_from("<d", data)
                # A header may be long: it is not read on the event loop.
                await run_in_threadpool(source.push, data[8:], captured_ms)
                await socket.send_text("ok")
        finally:
            if socket in sending:
                sending.remove(socket)

    return out


async def _listen(socket: WebSocket, viewer: Viewer, hub: Hub) -> None:
    """Read `{"ack": number}`, `{"seen": bool}` and `{"width": pixels}` until the viewer leaves.

    Raises: SettingsError for anything else.
    """
    while True:
        message = _parsed(await received(socket, "text"))
        if type(number := message.get("ack")) is int:
            viewer.acknowledge(number)
            hub.acknowledged()
        if isinstance(seen := message.get("seen"), bool):
            viewer.wants_seen = seen
        if type(width := message.get("width")) is int:
            viewer.width = width


def _parsed(text: str) -> dict[str, Any]:
    expected = 'expected {"ack": number}, {"seen": true} or {"width": pixels} in JSON'
    if len(text) > MAX_MESSAGE:
        raise SettingsError(f"{expected}, got {len(text):,} characters")
    try:
        message = parse_json(text)
    except ValueError as error:
        raise SettingsError(f"{expected}, got something else") from error
    if not isinstance(message, dict):
        raise SettingsError(f"{expected}, got {type(message).__name__}")
    return message


async def _send(socket: WebSocket, viewer: Viewer, hub: Hub, context: PageContext) -> None:
    """Send the newest frame whenever the viewer is ready for one, and the state a few times a second."""
    next_state = 0.0
    while True:
        now = time.monotonic()
        if now >= next_state:
            next_state = now + STATE_EVERY_S
            state = {**_state(context, hub), "viewer": is_viewer(socket.scope)}
            await socket.send_text(json.dumps(state, separators=(",", ":")))
        packet = viewer.next(hub.packet)
        if packet is not None:
            await socket.send_bytes(packet.data)
            continue
        viewer.wake.clear()
        # Not `wait_for`, which may lose a cancellation that comes together with the wake.
        with suppress(TimeoutError):
            async with asyncio.timeout(max(next_state - time.monotonic(), 0.01)):
                await viewer.wake.wait()


def _state(context: PageContext, hub: Hub) -> dict[str, Any]:
    demo = context.live
    state = demo.state()
    state["figures"] |= hub.figures()
    state["notices"] = [{**asdict(n), "text": on_page(n.text)} for n in demo.notices.newest()]
    state["patches"] = demo.library.names()
    return state


def _camera_source(context: PageContext, decoder: Decoder) -> BrowserSource:
    """Return the browser source that is the demo's already, or a new one that becomes it."""
    current = context.camera.source
    if isinstance(current, BrowserSource):
        current.decode = decoder.image
        return current
    source = BrowserSource(context.camera.settings.capture())
    source.decode = decoder.image
    context.camera.take_source(source)
    return source
