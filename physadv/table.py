"""Tables of results: one model, rendered as Markdown, HTML and CSV here and on a terminal by the command line."""

from __future__ import annotations

import csv
import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import StringIO

# What a row holds: text, a number, or None where there is nothing to say.
Value = str | int | float | None
NOTHING = "-"
# What LaTeX reads as something else.
LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of values under titled columns.

    numbers: titles of the columns that hold figures and are aligned to the right.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]
    numbers: frozenset[str] = frozenset()

    @classmethod
    def of(
        cls, title: str, columns: Sequence[str], rows: Iterable[Sequence[Value]], *, numbers: Iterable[str] = ()
    ) -> Table:
        """Return a table of any sequences."""
        return cls(title, tuple(columns), tuple(tuple(row) for row in rows), frozenset(numbers))

    def texts(self) -> list[list[str]]:
        """Return the rows as they are read: figures with three decimals, a dash for nothing."""
        return [[as_text(value) for value in row] for row in self.rows]

    def markdown(self) -> str:
        """Return the table in Markdown, without its title."""
        lines = [_bars(self.columns), "|" + "---|" * len(self.columns)]
        return "\n".join([*lines, *map(_bars, self.texts())])

    def html(self) -> str:
        """Return the table as an HTML element; all text in it is escaped."""
        head = "".join(f"<th>{html.escape(title)}</th>" for title in self.columns)
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(text)}</td>" for text in row) + "</tr>" for row in self.texts()
        )
        caption = f"<caption>{html.escape(self.title)}</caption>" if self.title else ""
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def csv(self) -> str:
        """Return the table as CSV with a line of titles; figures in full, nothing for None."""
        out = StringIO()
        csv.writer(out).writerows([self.columns, *self.rows])
        return out.getvalue()

    def latex(self) -> str:
        """Return the table in LaTeX for the package booktabs, with its title as caption."""
        kinds = "".join("r" if title in self.numbers else "l" for title in self.columns)
        rows = [" & ".join(map(_latex, row)) + r" \\" for row in (self.columns, *self.texts())]
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_latex(self.title)}}}",
            rf"\begin{{tabular}}{{{kinds}}}",
        ]
        lines += [r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}", r"\end{table}"]
        return "\n".join(lines) + "\n"

    def _repr_html_(self) -> str:
        return self.html()


def with_interval(value: float | None, interval: Sequence[float] | None) -> Value:
    """Return a figure as tables show it, with the ends of its interval where there is one."""
    return value if value is None or interval is None else f"{value:.3f} [{interval[0]:.2f}, {interval[1]:.2f}]"


def as_text(value: Value) -> str:
    """Return one value as a table shows it."""
    if value is None:
        return NOTHING
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _latex(text: str) -> str:
    """Return a text as LaTeX shows it; line breaks end no row."""
    return "".join(LATEX.get(letter, letter) for letter in " ".join(text.split()))


def _bars(texts: Sequence[str]) -> str:
    # A bar or a line break in a name would end the cell.
    return "| " + " | ".join(text.replace("|", "\\|").replace("\n", " ") for text in texts) + " |"
