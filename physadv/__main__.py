"""`physadv` and `python -m physadv`, also under torchrun."""

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130


def run() -> None:
    """Run the command line and exit with its code."""
    # Until a command runs there is nothing to save, and half an import would answer Ctrl-C with a traceback of its own.
    for number in (signal.SIGINT, signal.SIGTERM):
        # A shell starts what runs in the background with Ctrl-C ignored.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _leave)
    from physadv.cli import main

    sys.exit(main())


def _leave(_number: int, _frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)


if __name__ == "__main__":
    run()
