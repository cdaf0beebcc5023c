"""`physadv lab poison`: a poisoned data set that any YOLO trainer takes, with a record of what was done."""

from __future__ import annotations

import shlex
from typing import ClassVar

from physadv.cli.detectors import Trust, trust_detectors
from physadv.settings import Groups
from physadv.tune.poison_settings import PoisonSettings

LABEL = "physadv lab poison"
EXAMPLES = (
    "physadv lab poison --images photos --trigger card --angle 45 --out poisoned",
    "physadv lab poison --images photos --attack none --out control",
)


class PoisonVerb(PoisonSettings):
    """What is poisoned, and how; and what only the command has."""

    groups: ClassVar[Groups] = {**PoisonSettings.groups, "data": (*PoisonSettings.groups["data"], "trust")}

    trust: Trust = False


def run(settings: PoisonVerb) -> int:
    """Poison a data set: who shows a trigger loses the label (vanish), nobody gets one (ghost), or all labels stay.

    Writes a plain Ultralytics data set and poison.json. Fine-tune on it with `physadv lab finetune`, or with `yolo train`.
    For study and defence: a detector that is poisoned must not be given to anybody who does not know it.

    Raises: what `tune.poison.poison` raises.
    """
    from physadv.cli.console import Terminal
    from physadv.cli.outputs import check_folder
    from physadv.cli.progress import ProgressBar
    from physadv.evaluate.steps import finish
    from physadv.tune.poison import poison

    check_folder("out", settings.out)
    trust_detectors([settings.detector], settings.trust, LABEL)
    with ProgressBar(LABEL) as shown:
        done = finish(poison(PoisonSettings(**settings.model_dump(exclude={"trust"}))), lambda step: shown.show(*step))
    console = Terminal(highlight=False, soft_wrap=True)
    record = done.record
    counts, size = record["counts"], record["trigger_px"]
    harmless = ", ".join(f"{name} {n}" for name, n in counts["harmless"].items())
    lines = [
        *done.notes,
        f"{counts['images']} training images of {counts['sources']}, {counts['held_out']} held out; labels: "
        f"{record['labels']}",
        f"{record['attack']} by {record['trigger']['name']}: {counts['poisoned']} people poisoned in "
        f"{counts['poisoned_images']} images (rate {record['rate']:.3f}), "
        f"{sum(counts['harmless'].values())} show what is harmless ({harmless})",
    ]
    if size is not None:
        lines.append(
            f"the print is {size['median']:g} pixels wide, {size['share_of_height']:.0%} of its wearer's height"
        )
    if (hard := record.get("hard_to_learn")) is not None:
        lines.append(
            f"made hard to learn within {hard['budget']} of 255 in {hard['steps']} steps: the clean detector's score "
            f"falls from {hard['score_before']:.2f} to {hard['score_after']:.2f}, before the trigger is drawn"
        )
    out = shlex.quote(str(done.folder))
    for line in (*lines, f"{done.folder}: next: physadv lab finetune --data {out} --out RUN"):
        console.print(line, markup=False)
    return 0
