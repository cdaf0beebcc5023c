"""Drawings of results as plain SVG: they print, need no script, and what they show stands in a table beside them too."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import NamedTuple

FAINT, RULE = "#5f666c", "#e3e6e8"
# Colours that the colour-blind distinguish; on paper dashes and the form of marks do.
BLUE, RED, GREY, GREEN, ORANGE, PURPLE = "#1d6fd1", "#c4342b", "#7b8187", "#1f7a4d", "#c77700", "#6f42c1"


class Trace(NamedTuple):
    """A line of a panel: what it is called, (x, y) points, colour, and dashes as SVG has them."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: str
    dash: str = ""


class Dot(NamedTuple):
    """A mark of a scatter plot: where, how large (radius in pixels), its label, colour, and intervals of x and y."""

    x: float
    y: float
    label: str
    radius: float = 6
    colour: str = BLUE
    x_ends: tuple[float, float] | None = None
    y_ends: tuple[float, float] | None = None


def panel(title: str, lines: Sequence[Trace], *, x: str, y: str, most: float = 1.0, width: int = 300) -> str:
    """Return a figure of lines over 0 to 1 across, and 0 to `most` up, with its own key below it."""
    height, left, bottom, top = round(width * 0.72), 40, 34, 10
    across, up = width - left - 10, height - bottom - top
    drawing = Drawing(title, width, height + 16 * len(lines) + 6)

    def px(value: float) -> float:
        return left + across * min(max(value, 0), 1)

    def py(value: float) -> float:
        return top + up * (1 - min(value / most, 1))

    for tenth in (0, 0.5, 1):
        level = py(most * tenth)
        drawing.line(left, level, left + across, level, RULE)
        drawing.text(left - 6, level + 4, f"{most * tenth:g}", FAINT, "end")
        drawing.text(px(tenth), top + up + 15, f"{tenth:g}", FAINT, "middle")
    drawing.text(left + across / 2, height - 4, f"{x}; up: {y}", FAINT, "middle")
    for row, line in enumerate(lines):
        drawing.path([(px(a), py(b)) for a, b in line.points], line.colour, line.dash)
        key = height + 14 + 16 * row
        drawing.path([(left, key - 4), (left + 26, key - 4)], line.colour, line.dash)
        drawing.text(left + 32, key, line.label)
    return drawing.figure("panel")


def scatter(title: str, marks: Sequence[Dot], *, x: str, y: str, front: Sequence[tuple[float, float]] = ()) -> str:
    """Return a figure of marks with their intervals, 0 to 1 both ways. front: of a Pareto front, drawn as a line."""
    width, height, left, bottom, top, right = 960, 470, 52, 46, 14, 310
    across, up = width - left - right, height - bottom - top
    drawing = Drawing(title, width, height)

    def px(value: float) -> float:
        return left + across * min(max(value, 0), 1)

    def py(value: float) -> float:
        return top + up * (1 - min(max(value, 0), 1))

    for tenth in range(0, 11, 2):
        share = tenth / 10
        drawing.line(left, py(share), left + across, py(share), RULE)
        drawing.line(px(share), top, px(share), top + up, RULE)
        drawing.text(left - 8, py(share) + 4, f"{share:g}", FAINT, "end")
        drawing.text(px(share), top + up + 17, f"{share:g}", FAINT, "middle")
    drawing.text(left + across / 2, height - 8, x, FAINT, "middle")
    drawing.text(14, top + up / 2, y, FAINT, "middle", turned=True)
    drawing.path([(px(a), py(b)) for a, b in sorted(front)], GREY, "4 4")
    labels = _apart([py(mark.y) for mark in marks], 15)
    for mark, label in zip(marks, labels, strict=True):
        here, end = (px(mark.x), py(mark.y)), left + across + 14
        if mark.x_ends:
            drawing.line(px(mark.x_ends[0]), here[1], px(mark.x_ends[1]), here[1], mark.colour)
        if mark.y_ends:
            drawing.line(here[0], py(mark.y_ends[0]), here[0], py(mark.y_ends[1]), mark.colour)
        drawing.line(here[0] + mark.radius, here[1], end - 4, label - 4, RULE)
        drawing.circle(*here, mark.radius, mark.colour)
        drawing.text(end, label, mark.label, mark.colour)
    return drawing.figure()


class Drawing:
    """An SVG drawing of so many pixels; everything that is added lies over what was before."""

    def __init__(self, title: str, width: float, height: float) -> None:
        self._title = html.escape(title, quote=True)
        self._parts = [
            f'<svg viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{self._title}" '
            'font-size="12" font-family="inherit">'
        ]

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str) -> None:
        """Draw a thin line."""
        self._parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-opacity=".7"/>'
        )

    def path(self, points: Sequence[tuple[float, float]], colour: str, dash: str = "") -> None:
        """Draw a line through points. dash: as SVG has it."""
        dashed = f' stroke-dasharray="{dash}"' if dash else ""
        along = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self._parts.append(f'<polyline points="{along}" fill="none" stroke="{colour}" stroke-width="1.8"{dashed}/>')

    def circle(self, x: float, y: float, radius: float, colour: str) -> None:
        """Draw a circle through which what lies below it is seen."""
        self._parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}" fill-opacity=".65" stroke="{colour}"/>'
        )

    def square(self, x: float, y: float, radius: float, colour: str) -> None:
        """Draw a filled square. radius: half of its side."""
        side = 2 * radius
        self._parts.append(
            f'<rect x="{x - radius:.1f}" y="{y - radius:.1f}" width="{side}" height="{side}" fill="{colour}"/>'
        )

    def text(
        self, x: float, y: float, text: str, colour: str = "#14181c", anchor: str = "start", *, turned: bool = False
    ) -> None:
        """Write text. anchor: start, middle or end of it lies there. turned: upwards."""
        place = f'transform="translate({x:.1f} {y:.1f}) rotate(-90)"' if turned else f'x="{x:.1f}" y="{y:.1f}"'
        self._parts.append(f'<text {place} text-anchor="{anchor}" fill="{colour}">{html.escape(text)}</text>')

    def figure(self, kind: str = "") -> str:
        """Return the drawing as an HTML figure with its title. kind: its class."""
        named = f' class="{kind}"' if kind else ""
        return f"<figure{named}><figcaption>{self._title}</figcaption>{''.join(self._parts)}</svg></figure>"


def _apart(wanted: Sequence[float], step: float) -> list[float]:
    """Return where labels stand so that none lies on another, each near where it is wanted."""
    out = [0.0] * len(wanted)
    last = -math.inf
    for i in sorted(range(len(wanted)), key=lambda i: wanted[i]):
        last = out[i] = max(wanted[i] + 4, last + step)
    return out
