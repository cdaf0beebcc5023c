"""A source of the images in a NumPy file: `--source stack:film.npy`."""

import numpy as np

from physadv.types import UInt8Array


class Stack:
    live = False  # an end, and every image in order; True for a camera
    fps = 10.0

    def __init__(self, argument: str) -> None:
        """argument: what stands after the colon."""
        self.images = np.load(argument, mmap_mode="r")
        self.next = 0

    def read(self) -> UInt8Array | None:
        """The next image (h, w, 3) uint8 RGB, or None after the last; a camera waits here for its next one."""
        if self.next == len(self.images):
            return None
        self.next += 1
        return np.asarray(self.images[self.next - 1], np.uint8)

    def close(self) -> None:
        """Give back what is held; may be called from another thread."""
        self.next = len(self.images)
