"""`physadv doctor`: what this machine has, and what to do about what it lacks."""

from __future__ import annotations

import json

from pydantic import Field
from rich.markup import escape
from rich.table import Table

from physadv.cli.checks import CHECKS, Finding, examine
from physadv.cli.console import Terminal
from physadv.settings import Settings

EXAMPLES = ("physadv doctor --json",)
STYLES = {"ok": "green", "note": "yellow", "missing": "bold red"}


class DoctorVerb(Settings):
    """How the findings are printed."""

    as_json: bool = Field(default=False, alias="json", description="print one JSON object instead of a table")


def run(settings: DoctorVerb) -> int:
    """What was found on this machine and what to do about each thing missing; exits 0 if the demo can run."""
    findings = [examine(check) for check in CHECKS]
    ready = all(f.state != "missing" for f in findings)
    if settings.as_json:
        print(json.dumps({"ready": ready, "findings": [f.plain() for f in findings]}, indent=2, ensure_ascii=False))
    else:
        _show(findings, ready)
    return 0 if ready else 2


def _show(findings: list[Finding], ready: bool) -> None:
    table = Table(box=None, pad_edge=False, show_header=True, header_style="bold")
    for name in ("", "what", "found", "what to do"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        words = map(escape, (finding.name, finding.found, finding.advice))
        table.add_row(f"[{STYLES[finding.state]}]{finding.state}[/]", *words)
    console = Terminal()
    console.print(table)
    console.print("the demo can run: physadv live" if ready else "[bold red]the demo cannot run yet[/]")
