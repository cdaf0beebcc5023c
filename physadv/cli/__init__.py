"""One command, `physadv`: a dict of its verbs, each in a file of its own that is imported only when it is called."""

from __future__ import annotations

import sys
from importlib import import_module

from physadv import __version__
from physadv.cli.base import execute

COMMANDS: dict[str, tuple[str, str]] = {
    "live": ("physadv.cli.live", "camera demo: detector, worn patch, defences, recording"),
    "replay": ("physadv.cli.replay", "show a recording with its boxes on the page"),
    "doctor": ("physadv.cli.doctor", "what was found on this machine and what to do about what is missing"),
    "train": ("physadv.cli.train", "train a printable patch or T-shirt pattern by EOT"),
    "preview": ("physadv.cli.preview", "contact sheet of what EOT shows the detector"),
    "learn": ("physadv.cli.learn", "train a defence's small network on your own clean pictures or camera minute"),
    "evaluate": ("physadv.cli.evaluate", "score patches and defences on held-out people, with controls"),
    "print": ("physadv.cli.printing", "sheets true to the millimetre, garment panels, controls"),
    "show": ("physadv.cli.show", "a pattern at true size on a phone, tablet or monitor"),
    "advise": ("physadv.cli.advise", "how large to print for your camera and distance"),
    "calibrate camera": ("physadv.cli.calibrate_camera", "ChArUco camera calibration"),
    "calibrate colour": ("physadv.cli.calibrate_colour", "measured print-to-camera colour map"),
}


def main(argv: list[str] | None = None) -> int:
    """Return the exit code of `physadv ARGV...`: 0 done, 2 the user can mend it, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        print(f"physadv {__version__}")
        return 0
    for length in (2, 1):
        name = " ".join(words[:length])
        if name in COMMANDS:
            try:
                command = import_module(COMMANDS[name][0]).Command
            except KeyboardInterrupt:  # importing torch takes a second or two, time enough for Ctrl-C
                return 130
            return execute(name, command, words[length:])
    two_words = [c for c in COMMANDS if c.split()[0] == words[0]]
    known = ", ".join(two_words or COMMANDS)
    print(f"physadv: unknown command {' '.join(words[:2])!r}; expected one of {known}", file=sys.stderr)
    return 2


def usage() -> str:
    """Return the overview that `physadv --help` prints."""
    width = max(map(len, COMMANDS))
    rows = "\n".join(f"  {name:<{width}}  {text}" for name, (_, text) in COMMANDS.items())
    return f"usage: physadv COMMAND [flags]   (physadv COMMAND --help for its flags)\n\n{rows}"
