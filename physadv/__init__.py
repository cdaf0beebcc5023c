"""Attack, defend and demonstrate a camera's person detector in the physical world."""

import os

# Threads of torch's OpenMP that wait by spinning take the time of those that work as soon as anything else runs on the
# machine: with one of two cores taken, `evaluate` of 20 photographs took more than 90 s, and takes 24 s since (13 s idle).
# Read when torch is loaded, so set before that by whatever imports physadv first.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
