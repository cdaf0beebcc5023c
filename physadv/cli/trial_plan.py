"""`physadv trial plan`: what is recorded in which order, the checklist, and the sheets to print."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from physadv.cli.outputs import Overwrite, check_folder, check_own_folder, only_writer
from physadv.cli.terminal import say
from physadv.errors import SettingsError
from physadv.settings import Folder, Groups
from physadv.trial.plan import CHECKLIST, PLAN, SHEETS, PlanSettings

EXAMPLES = (
    "physadv trial plan --pattern webcam --distances 1 --yaws 0,30 --out plan",
    "physadv trial plan --pattern street-portrait --distances 2,4 --lights day,evening --blocks 10 --out plan",
)


class TrialPlanVerb(PlanSettings):
    """A plan, and the folder that it is written to."""

    groups: ClassVar[Groups] = {**PlanSettings.groups, "result": ("out", "overwrite")}

    out: Folder = Field(default=Path("plan"), description="folder for plan.json, the checklist and the sheets")
    overwrite: Overwrite = False


def run(settings: TrialPlanVerb) -> int:
    """Plan a trial before a camera: cells of distance, yaw and light, each with blocks of nothing, grey, shuffled, pattern.

    Raises: SettingsError if the folder cannot be written or holds the plan of a trial that differs.
    """
    from physadv.patch import load_patch
    from physadv.trial.sheets import write_plan

    check_folder("out", settings.out)
    check_own_folder("out", settings.out, (PLAN, CHECKLIST), overwrite=settings.overwrite)
    if (settings.out / PLAN).exists() and not settings.overwrite:
        raise SettingsError(
            f"{settings.out} holds a plan", field="out", hint="name another folder, or give `overwrite`: trials of the old "
            "plan do not go on with the new one"
        )  # fmt: skip
    patch = load_patch(settings.pattern)
    with only_writer("out", settings.out):
        done = write_plan(patch, settings, settings.out, overwrite=settings.overwrite)
    plan = done.plan
    pages = sum(printed.pages for printed in done.sheets.values())
    size = f"{plan.pattern.width_cm:g} x {plan.pattern.height_cm:g} cm"
    say(
        f"{_count(len(plan.cells), 'cell')} of {_count(plan.blocks, 'block')}: at most {plan.windows} windows "
        f"of {plan.window_s:g} s; {plan.pattern.name} and two controls, {size}"
    )
    say(f"print {pages} sheets in {settings.out / SHEETS} at 100 %, and {settings.out / CHECKLIST}")
    say(f"then: physadv trial run {settings.out} --source 0 --out trial")
    return 0


def _count(number: int, what: str) -> str:
    return f"{number} {what if number == 1 else what + 's'}"
