"""How prints lie in the frames of the demo: the one that software draws, and one that is found in the pixels."""

from __future__ import annotations

from physadv.live.calibrated import LensCorrection
from physadv.live.library import PatchLibrary
from physadv.live.overlay import Overlay
from physadv.live.print_finder import PrintWatch
from physadv.live.print_pose import ConditionNow, PrintPose, condition_now, worn_pose
from physadv.patch import Patch
from physadv.types import Frame


class PrintsSeen:
    """Says of each frame how a print lies in it, and where its condition stands. For the loop's thread."""

    def __init__(self, library: PatchLibrary, lens: LensCorrection) -> None:
        self._library, self._lens = library, lens
        self._watch = PrintWatch()

    def look(
        self, frame: Frame, worn: Overlay | None, *, wanted: bool
    ) -> tuple[PrintPose | None, PrintPose | None, ConditionNow | None]:
        """Return how software drew the worn pattern, how a print lies that was found lately, and the condition of either.

        frame: as the detector is given it. worn: what is drawn in it. wanted: whether prints are looked for.
        """
        camera = self._lens.camera
        focal_px = None if camera is None else camera.profile.focal_px
        drawn = None if worn is None else worn_pose(worn, frame.size, focal_px)
        printed = self._printed(worn) if wanted else []
        if printed:
            self._watch.offer(frame, printed, focal_px)
        # What was found may be of a pattern that is not looked for any more.
        found = self._watch.latest() if wanted else None
        patch = next((patch for patch, _ in printed if found is not None and patch.name == found.name), None)
        found = None if patch is None else found
        if worn is not None:
            return drawn, found, condition_now(worn.patch, drawn)
        return None, found, None if patch is None else condition_now(patch, found)

    def _printed(self, worn: Overlay | None) -> list[tuple[Patch, float]]:
        """Return what is looked for: the pattern that software draws, else all that are no clothes, in their own size."""
        if worn is not None:
            return [] if worn.patch.tiles else [(worn.patch, worn.size_cm[0])]
        patches = (self._library.get(name) for name in self._library.names())
        return [(patch, patch.size_mm[0] / 10) for patch in patches if not patch.tiles]

    def reset(self) -> None:
        """Forget what was found: another scene begins."""
        self._watch.reset()

    def close(self) -> None:
        """End the thread that looks."""
        self._watch.close()
