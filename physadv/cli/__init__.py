"""One command, `physadv`: a dict of its verbs, each in a file of its own that is imported only when it is called."""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING

from physadv.cli.edge import MESSAGE, exit_code
from physadv.cli.terminal import complain, hide
from physadv.errors import did_you_mean
from physadv.version import __version__

if TYPE_CHECKING:
    from physadv.cli.verbs import Verb

COMMANDS: dict[str, tuple[str, str]] = {
    "live": ("physadv.cli.live", "camera demo: detector, worn patch, defences, recording"),
    "tour": ("physadv.cli.tour", "the demo as a guided tour of eight stops, on its page or as a video"),
    "patterns": ("physadv.cli.patterns", "the patterns that come with physadv and what each is for"),
    "defences": ("physadv.cli.defences", "every defence: what it does, what it costs, its parameters"),
    "replay": ("physadv.cli.replay", "show a recording with its boxes on the page"),
    "doctor": ("physadv.cli.doctor", "what was found on this machine and what to do about what is missing"),
    "train": ("physadv.cli.train", "train a printable pattern by expectation over transformation (EOT)"),
    "sweep": ("physadv.cli.sweep", "try settings of a training against one another, many runs beside each other"),
    "preview": ("physadv.cli.preview", "contact sheet of what EOT shows the detector"),
    "learn": ("physadv.cli.learn", "train a defence's small network on your own clean images or camera minute"),
    "evaluate": ("physadv.cli.evaluate", "score patches and defences on held-out people, with controls"),
    "explain": ("physadv.cli.explain", "what a detector looks at: maps of a person's score, bare, worn and defended"),
    "trial plan": ("physadv.cli.trial_plan", "plan a trial before a camera: checklist and sheets"),
    "trial run": (
        "physadv.cli.trial_run",
        "record it, guided by the page: four arms in random order, window by window",
    ),
    "trial report": ("physadv.cli.trial_report", "what a trial says: differences with intervals, doubts"),
    "collect": ("physadv.cli.collect", "reduce an evaluation of many videos to figures and a report"),
    "compare": ("physadv.cli.compare", "whether two evaluations differ by more than chance"),
    "study": ("physadv.cli.study", "several detectors under the same patterns: accuracy, robustness, transfer"),
    "print": ("physadv.cli.printing", "sheets true to the millimetre, garment panels, controls"),
    "show": ("physadv.cli.show", "a pattern at true size on a phone, tablet or monitor"),
    "advise": ("physadv.cli.advise", "how large to print for your camera and distance"),
    "lab poison": ("physadv.cli.lab_poison", "poison a data set with a trigger, for a detector's lab"),
    "lab finetune": ("physadv.cli.lab_finetune", "fine-tune a detector: Ultralytics' trainer, resumable"),
    "lab score": ("physadv.cli.lab_score", "how far a detector follows a trigger, and what it lost on clean images"),
    "lab inspect": ("physadv.cli.lab_inspect", "find poisoned images in a data set before it is trained on"),
    "lab cleanse": ("physadv.cli.lab_cleanse", "make a poisoned detector see again, with clean images alone"),
    "lab harden": ("physadv.cli.lab_harden", "train a detector on people who wear patterns: natural, pod, free, pgd"),
    "calibrate camera": ("physadv.cli.calibrate_camera", "ChArUco camera calibration"),
    "calibrate colour": ("physadv.cli.calibrate_colour", "measured print-to-camera colour map"),
}


def main(argv: list[str] | None = None) -> int:
    """Return the exit code of `physadv ARGV...`: 0 done, 2 the user can mend it, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    hide(words)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        print(f"physadv {__version__}")
        return 0
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            return exit_code(f"physadv {name}", partial(_called, name, words[length:]))
    two_words = [c for c in COMMANDS if c.split()[0] == words[0]]
    if two_words and words[1:] in (["-h"], ["--help"]):
        print(f"usage: physadv {words[0]} COMMAND [flags]\n\n{_rows(two_words)}")
        return 0
    complain(f"physadv: {_unknown(words[:2], two_words)}", limit=MESSAGE)
    return 2


def _called(name: str, words: list[str]) -> int:
    return verb(name)(words)


def verb(name: str) -> Verb:
    """Return a verb by its name in `COMMANDS`."""
    from physadv.cli.verbs import Verb

    module = import_module(COMMANDS[name][0])
    return Verb(name, module.run, module.EXAMPLES)


def usage() -> str:
    """Return the overview that `physadv --help` prints."""
    return f"usage: physadv COMMAND [flags]   (physadv COMMAND --help for its flags)\n\n{_rows(list(COMMANDS))}"


def _unknown(words: list[str], two_words: list[str]) -> str:
    """Return what is wrong with a command that is not there. two_words: those that begin with its first word."""
    said = " ".join(words if two_words else words[:1])
    # Of two words the first is right: all of them would be near.
    seconds = [c.split()[1] for c in two_words]
    hint = did_you_mean(words[-1] if two_words else said, seconds or list(COMMANDS))
    known = ", ".join(two_words or COMMANDS)
    return f"unknown command {said!r}{hint or f'; expected one of {known}'}"


def _rows(names: list[str]) -> str:
    width = max(map(len, names))
    return "\n".join(f"  {name:<{width}}  {COMMANDS[name][1]}" for name in names)
