"""Attack, defend and demonstrate a camera's person detector in the physical world."""

__version__ = "0.1.0"
