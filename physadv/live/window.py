"""The demo in an OpenCV window, for machines with a display and no wish for a browser."""

from __future__ import annotations

import ctypes.util
import os
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2

from physadv.arrays import write_png
from physadv.errors import DisplayError, PhysadvError
from physadv.live.demo import Demo
from physadv.live.shown import Shown
from physadv.types import UInt8Array

TITLE = "physadv"
KEYS = "q quit   d defence   w pattern   r record   s snapshot   k skeleton   +/- confidence"


def check_display() -> None:
    """Return if a window can be opened; OpenCV would abort the whole process where it cannot.

    Raises: DisplayError if there is no display, or the one that is named does not answer.
    """
    if sys.platform != "linux":
        return
    display, wayland = os.environ.get("DISPLAY", ""), os.environ.get("WAYLAND_DISPLAY", "")
    if not display:
        # OpenCV's wheels bring Qt with the X11 plug-in alone.
        also = " (Wayland alone will not do: OpenCV's window needs X11 or Xwayland)" if wayland else ""
        raise DisplayError(
            f"there is no display: DISPLAY is not set{also}", field="ui=window", hint="use `ui=web` or `ui=none`"
        )
    host, _, number = display.rpartition(":")
    screen = number.partition(".")[0]
    if not screen.isdecimal() or not _answers(host, int(screen)):
        raise DisplayError(
            f"nobody answers at display {display!r}", field="ui=window", hint="use `ui=web` or `ui=none`"
        )
    if not _may_connect(display):
        raise DisplayError(
            f"display {display!r} refuses this user", field="ui=window", hint="use `ui=web` or `ui=none`"
        )


def _answers(host: str, screen: int) -> bool:
    """Return whether a display server accepts connections."""
    try:
        if host in ("", "unix"):
            path = f"/tmp/.X11-unix/X{screen}"
            with socket.socket(socket.AF_UNIX) as local:
                local.settimeout(2)
                local.connect(path if Path(path).exists() else f"\0{path}")
        else:
            socket.create_connection((host, 6000 + screen), timeout=2).close()
    except OSError:
        return False
    return True


def _may_connect(display: str) -> bool:
    """Return whether Xlib can open the display; True where there is no Xlib to ask."""
    name = ctypes.util.find_library("X11")
    if name is None:
        return True
    library = ctypes.CDLL(name)
    library.XOpenDisplay.restype = ctypes.c_void_p
    library.XCloseDisplay.argtypes = [ctypes.c_void_p]
    handle = library.XOpenDisplay(display.encode())
    if handle:
        library.XCloseDisplay(handle)
    return bool(handle)


def show(demo: Demo, ended: Callable[[], bool]) -> None:
    """Show a started demo until it or `ended` says so, its window is closed, or q is pressed. Must run on the main thread.

    Raises: DisplayError if there is no display.
    """
    check_display()
    cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
    last, resized = -1, False
    try:
        while demo.running and not ended():
            shown = demo.latest
            if shown is not None and shown.number != last:
                last = shown.number
                image = compose(demo, shown)
                if not resized:
                    cv2.resizeWindow(TITLE, image.shape[1], image.shape[0])
                    resized = True
                cv2.imshow(TITLE, cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            key = cv2.waitKey(5) & 0xFF
            if key in (ord("q"), 27) or not _open():
                return
            if key != 255:
                _press(demo, chr(key))
    finally:
        cv2.destroyAllWindows()


def compose(demo: Demo, shown: Shown) -> UInt8Array:
    """Return the window's content: bare | defended side by side where both are there, and the figures as text."""
    state = demo.state()
    figures, detector = state["figures"], state["detector"]
    latency = figures["age_ms"]
    flow = "" if None in (figures["fps"], latency["p50"]) else (
        f"{figures['fps']:.1f} fps  latency {latency['p50']:.0f}/{latency['p95']:.0f} ms  "
    )  # fmt: skip
    lines = [
        f"{flow}dropped {figures['dropped']}  {detector['name']} {detector['backend']} {detector['precision']}",
        f"source {state['source']['state']}" + ("  REC" if state["recording"]["on"] else ""),
    ]
    if shown.defences:
        lines.append(f"{', '.join(shown.defences)} +{figures['defence_ms'] or 0:.0f} ms")
    lines.extend(f"{n.kind}: {n.text}"[:100] for n in demo.notices.newest(1) if time.time() - n.last_s < 6)
    return shown.panes(lines)


def _open() -> bool:
    try:
        return cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1
    except cv2.error:
        return False


def _press(demo: Demo, key: str) -> None:
    controls = demo.controls
    try:
        if key == "d":
            demo.control(defend="" if controls.defend else demo.settings.defend or "fast")
        elif key == "w":
            best = demo.state()["recommended"]
            if controls.wear:
                demo.control(wear="")
            elif best is not None and not demo.library.first:
                demo.control(wear=best["name"], wear_size=best["width_cm"], follow=True)
            else:
                demo.control(wear=demo.library.names()[0])
        elif key == "r" and demo.stop_recording() is None:
            demo.start_recording()
        elif key == "s" and demo.latest is not None:
            path = demo.settings.recordings / f"snapshot-{time.strftime('%Y%m%d-%H%M%S')}.png"
            write_png(path, demo.latest.annotated)
            demo.notices.add("info", "snapshot", f"saved {path}")
        elif key == "k":
            demo.control(skeleton=not controls.skeleton)
        elif key in "+=-":
            step = -0.05 if key == "-" else 0.05
            demo.control(conf=min(max(round(controls.conf + step, 2), 0.05), 0.95))
        elif key in "h?":
            demo.notices.add("info", "keys", KEYS)
    except (PhysadvError, OSError) as error:
        demo.notices.add("error", "key", error.marked if isinstance(error, PhysadvError) else str(error))
