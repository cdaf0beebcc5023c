"""Curves of the lab as PNG images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from physadv.arrays import signed_png
from physadv.files import atomic_write

# Values of x and of y, equally many.
Line = tuple[Sequence[float], Sequence[float]]
GRAPH_INCHES = (6.0, 4.0)
# Of one line's colour, so that lines stay apart where bands overlap.
BAND_OPACITY = 0.15


@dataclass(frozen=True, slots=True)
class Graph:
    """One set of curves over a common x.

    lines: by name. bands: low and high of an interval around the lines of the same names, at their values of x. marks:
    where vertical dotted lines stand. dashed: names of lines that are drawn dashed. families: by a line's name, what its
    colour stands for, where that is more than the line itself.
    """

    xlabel: str
    ylabel: str
    lines: Mapping[str, Line]
    bands: Mapping[str, Line] = field(default_factory=dict)
    marks: Sequence[float] = ()
    dashed: frozenset[str] = frozenset()
    families: Mapping[str, str] = field(default_factory=dict)

    def family(self, name: str) -> str:
        """Return what the colour of a line stands for."""
        return self.families.get(name, name)


def plot(path: Path, title: str, graphs: Sequence[Graph]) -> None:
    """Write graphs as a PNG image, two in a row, with one legend; lines of one family have one colour in all of them."""
    across = min(len(graphs), 2)
    down = -(-len(graphs) // across)
    # A figure of its own and not pyplot's: nothing opens a window, and no state is left behind.
    figure = Figure((GRAPH_INCHES[0] * across, GRAPH_INCHES[1] * down), dpi=100, layout="constrained")
    figure.suptitle(title)
    families = list(dict.fromkeys(graph.family(name) for graph in graphs for name in graph.lines))
    colours = {family: f"C{number % 10}" for number, family in enumerate(families)}
    keys: dict[str, Line2D] = {}
    for number, graph in enumerate(graphs, 1):
        axes = figure.add_subplot(down, across, number)
        for name, (x, y) in graph.lines.items():
            colour = colours[graph.family(name)]
            (line,) = axes.plot(x, y, "--" if name in graph.dashed else "-", color=colour, linewidth=1.5)
            keys.setdefault(name, line)
            if name in graph.bands:
                axes.fill_between(x, *graph.bands[name], color=colour, alpha=BAND_OPACITY, linewidth=0)
        for mark in graph.marks:
            axes.axvline(mark, color="0.4", linestyle=":", linewidth=1)
        axes.set_xlabel(graph.xlabel)
        axes.set_ylabel(graph.ylabel)
        axes.grid(alpha=0.3)
    if keys:
        # Below all graphs: within one it would lie on the lines.
        figure.legend(
            list(keys.values()),
            list(keys),
            loc="outside lower center",
            ncols=min(len(keys), 2 * across),
            fontsize="small",
        )
    data = BytesIO()
    figure.savefig(data, format="png", metadata={"Software": None})
    with atomic_write(path) as stream:
        stream.write(signed_png(data.getvalue()))
