"""`python -m physadv`, also under torchrun."""

import sys

from physadv.cli import main

sys.exit(main())
