"""One frame of the live demo: the pattern put on, looked at by the bare and the defended detector, every wearer judged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from physadv.capture.cuts import Cuts
from physadv.live.calibrated import CalibratedCamera, LensCorrection
from physadv.live.defending import Defending
from physadv.live.inference import Inference, SwitchedOff, timed
from physadv.live.loading import DetectorChoice
from physadv.live.moved import Move, MovedFrames
from physadv.live.overlay import Overlay
from physadv.live.prints import PrintsSeen
from physadv.live.settings import Controls
from physadv.live.shared import SharedState
from physadv.live.shown import MOST_PANES, Beside, Shown, detector_line
from physadv.live.wearers import Wearer, judged, reported
from physadv.live.wearing import Wearing, trigger_said
from physadv.types import Detections, Detector, Frame, UInt8Array


class LiveProcessor:
    """Pattern, detector and defences as they stand; `process` takes a frame through them. See `loop.Processor`.

    choice: the detector that is running, as it was asked for. about: what its record says of it, if it is a run of the
    lab. beside: the names of those that look at the same frames. lens: the calibrated camera's, or none.
    """

    def __init__(
        self,
        inference: Inference,
        wearing: Wearing,
        shared: SharedState,
        *,
        choice: DetectorChoice,
        about: str = "",
        camera: CalibratedCamera | None,
    ) -> None:
        self.choice, self.about, self.beside = choice, about, tuple[str, ...]()
        self.inference, self.wearing = inference, wearing
        self.lens = LensCorrection(camera, shared.notices)
        self.defending = Defending(inference, shared.panel, shared.figures, shared.notices)
        self._panel, self._library = shared.panel, shared.library
        self._figures, self._notices = shared.figures, shared.notices
        self._shared = shared
        self._controls: Controls | None = None
        self._cuts, self._moved = Cuts(), MovedFrames()
        self._prints = PrintsSeen(shared.library, self.lens)
        self._elsewhere = True

    # Changes, between two frames

    def update(self) -> Controls:
        """Take over what the controls ask for, and return them."""
        while (controls := self._panel.now) is not self._controls:
            before, self._controls = self._controls, controls
            self.defending.put_on(controls.defend, self.inference.detector)
            how = {"angle": controls.wear_angle, "fold": controls.wear_fold}
            if self.wearing.choose(controls.wear, controls.wear_size, **how, lit=controls.wear_lit):
                self._figures.clear_recent()
            if before is not None and _costing(before) != _costing(controls):
                self._figures.clear_recent()
        return controls

    def adopt_detector(self, choice: DetectorChoice, detector: Detector, about: str = "") -> None:
        """Change to another detector; what defences cost with the old one is forgotten. For the loop's thread.

        about: see the class.
        """
        self.choice, self.about = choice, about
        self.defending.put_on(self._panel.now.defend, detector)

    def adopt_beside(self, names: Sequence[str], detectors: Sequence[Detector], *, placing: int | None = None) -> None:
        """Let other detectors look at the same frames. For the loop's thread.

        names: of each. placing: see `Inference.stand_beside`.
        """
        self.beside = tuple(names)
        self.inference.stand_beside(detectors, placing=placing)
        self._figures.clear_recent()

    def adopt_costs(self, costs: dict[str, float]) -> None:
        """Add what defences cost on this machine. For the loop's thread."""
        self.defending.costs |= costs

    def new_scene(self) -> None:
        """Forget what came from earlier frames before the next one: it is of another source."""
        self._elsewhere = True
        self.wearing.new_source()

    def _compares(self, controls: Controls) -> bool:
        """Return whether the bare answer is shown beside a defended one: if anybody looks, and there is a pane left."""
        return controls.compare and self._shared.watched and len(self.beside) + 1 < MOST_PANES

    # One frame

    def prepare(self, frame: Frame, *, side_by_side: bool) -> Frame:
        """Return the frame undistorted and turned; the bare detector looks at it from now on if it will have to.

        side_by_side: whether the next frame is prepared before this one is processed.

        Raises: CalibrationError if the camera's profile does not fit the very first frame.
        """
        now = self._panel.now
        clean = self._moved.move(self.lens.flat(frame), Move(now.turn, now.farther))
        self.inference.side_by_side = side_by_side
        worn = self.wearing.worn is not None and not self.wearing.warm_start.running
        self.inference.prepare(clean, worn=worn, compare=self._compares(now))
        if not worn and self._shared.watched:
            self.inference.begin_beside(clean)
        return clean

    def process(self, clean: Frame, number: int) -> Shown | None:
        """Return the result for the `number`th frame shown; None where a defence was switched off over it."""
        controls = self.update()
        # While the detector looks at the frame.
        cut = self._cut(clean)
        given, placed, stage = clean, None, dict[str, float]()
        on = self.wearing.is_on(clean.pts_s, cut=cut)
        try:
            if on:
                # Found in the clean frame: a pattern that works would hide its own place.
                placed = self.inference.place(clean, stage)
                controls = self._follow(placed, clean)
                # None where it was taken off this very moment.
                if (worn := self.wearing.worn) is not None:
                    with timed(stage, "wear"):
                        given = clean.with_pixels(worn.apply(clean.pixels, placed, at_s=clean.pts_s))
            # A pass is not spent on what nobody sees.
            if self._shared.watched:
                self.inference.begin_beside(given)
            people, bare = self.inference.answers(given, compare=self._compares(controls), stage_ms=stage)
        except SwitchedOff as failure:
            self.defending.take_off(failure)
            # The rest is put on again with the next frame.
            self._controls = None
            return None
        beside = self.inference.beside(given, stage) if self._shared.watched else []
        return self._shown(
            given, clean, people, bare, beside,
            number=number, controls=controls, cut=cut, placed=placed, stage_ms=stage,
        )  # fmt: skip

    def _cut(self, frame: Frame) -> bool:
        """Return whether another scene begins with this frame; what came from earlier ones is then forgotten."""
        step = self._cuts.step(frame.pixels)
        cut, self._elsewhere = self._elsewhere or step == "cut", False
        if cut:
            self.wearing.cut()
            self.inference.reset()
            self._prints.reset()
        elif step == "blank":
            self.wearing.blank()
        return cut

    def _follow(self, people: Detections, frame: Frame) -> Controls:
        """Change to what is recommended for the people of a clean frame where that is asked for; return the controls."""
        self.wearing.see(people, frame, self.inference.detector.imgsz)
        best = self.wearing.recommended
        if best is not None:
            self._panel.follow(best.name, best.width_cm)
        return self.update()

    def _shown(
        self,
        given: Frame,
        clean: Frame,
        people: Detections,
        bare: Detections | None,
        beside: Sequence[Detections],
        *,
        number: int,
        controls: Controls,
        cut: bool,
        placed: Detections | None,
        stage_ms: dict[str, float],
    ) -> Shown:
        """Return the result of a frame: people above the threshold, the state of each wearer, how it was made."""
        inference, defended = self.inference, self.inference.defended
        worn = self.wearing.worn if placed is not None else None
        conf = max(controls.conf, inference.detector.min_conf)
        sure = reported(people, conf)
        self._notices.alerts(people.alerts)
        self.wearing.warm_start.saw(len(sure), clean.pts_s)
        if worn is None:
            self.wearing.see(people, clean, inference.detector.imgsz)
        if worn is not None and worn.unworn:
            self._notices.add("info", "unworn", _unworn(worn.unworn))
        on, move = None if worn is None else (worn.on, worn.found), self._moved.of(clean)
        pose, found, condition = self._prints.look(given, worn, wanted=controls.find_print)

        def states(answer: Detections) -> tuple[Wearer, ...] | None:
            return None if on is None else judged(*on, answer, conf)

        return Shown(
            number=number,
            frame=given,
            clean=clean,
            people=sure,
            bare=None if bare is None else reported(bare, conf),
            top=float(people.score.max(initial=0.0)),
            bare_top=None if bare is None else float(bare.score.max(initial=0.0)),
            controls=controls,
            defences=tuple(d.name for d in defended.pipeline.defences) if defended is not None else (),
            **({} if worn is None else _worn_as(controls.wear, worn)),
            turned=move.turned,
            farther=move.farther,
            worn_pose=pose,
            print_found=found,
            condition=condition,
            detector=self.choice.name,
            cut=cut,
            placed=placed,
            wearers=states(people),
            bare_wearers=None if bare is None else states(bare),
            unworn=0 if worn is None else worn.unworn,
            beside=tuple(
                Beside(name, reported(other, conf), float(other.score.max(initial=0.0)), states(other))
                for name, other in zip(self.beside, beside, strict=False)
            ),
            stage_ms=stage_ms,
            lines=_lines(inference.detector, controls, worn, move),
            claims=defended.claims if defended is not None else (),
            sizes=self.lens.sizes(sure),
        )

    # For screens and records, from any thread

    def ask(self, pixels: UInt8Array) -> Detections:
        """Return the people that the bare detector finds in an image (h, w, 3) uint8 RGB of no source."""
        return self.inference.bare(Frame(pixels, 0, 0, 0.0)).above(self._panel.now.conf)

    def state(self, shown: Shown | None) -> dict[str, Any]:
        """Return what a screen shows of detectors, defences and pattern. shown: the frame shown last."""
        inference = self.inference
        return {
            "detector": {**self._detector(), "spec": self.choice.name, "about": self.about},
            "beside": list(self.beside),
            "defence_ms": round(inference.defence_ms, 1) if inference.defended is not None else None,
            "defence_costs": dict(self.defending.costs),
            **self.wearing.state(self._panel.now.wear, shown),
        }

    def record(self) -> dict[str, Any]:
        """Return how the frames are made, for a recording's session."""
        now, trigger = self._panel.now, self._library.trigger
        how = {"angle": now.wear_angle, "fold": now.wear_fold, "lit": now.wear_lit}
        others = zip(self.beside, self.inference.others, strict=True)
        return {
            "camera": self.lens.record(),
            "detector": {**self._detector(), "sha256": self.inference.detector.sha256, "about": self.about},
            "beside": [{"name": name, "sha256": detector.sha256} for name, detector in others],
            "trigger": None if trigger is None else trigger_said(trigger, self._library.trigger_print),
            "worn": {"name": now.wear, "sha256": self._library.get(now.wear).sha256, **how} if now.wear else None,
        }

    def _detector(self) -> dict[str, Any]:
        detector = self.inference.detector
        return {
            "name": detector.name,
            "backend": detector.backend,
            "precision": detector.precision,
            "imgsz": self.choice.imgsz,
        }

    def close(self) -> None:
        """End the detector's thread. Safe to call twice."""
        self.inference.close()
        self._prints.close()


def _worn_as(name: str, worn: Overlay) -> dict[str, Any]:
    """Return what `Shown` says of the pattern that is on. name: as a viewer chose it."""
    return {
        "worn": name,
        "worn_cm": round(worn.size_cm[0], 1),
        "worn_angle": worn.angle,
        "worn_fold": worn.fold,
        "worn_lit": worn.lit,
    }


def _unworn(count: int) -> str:
    """Return what is said of people who are surely there and wear nothing."""
    some = "1 person shows" if count == 1 else f"{count} people show"
    return f"{some} no chest: nothing is worn there; step back, or tilt the camera down"


def _costing(controls: Controls) -> tuple[bool, float, float]:
    """Return what changes how long a frame takes, apart from pattern and defences."""
    return controls.compare, controls.turn, controls.farther


def _lines(detector: Detector, controls: Controls, worn: Overlay | None, move: Move) -> tuple[str, ...]:
    """Return what is written into the image: how it was made, so that a recording cannot be taken for another."""
    lines = [detector_line(detector.name, detector.backend, detector.precision, controls.conf)]
    if move.turned:
        lines.append(f"image turned {move.turned:g} deg by software")
    if move.farther > 1:
        lines.append(f"image made {move.farther:g} times smaller by software")
    if controls.defend:
        lines.append(f"defence {controls.defend}")
    if worn is not None:
        size = "" if worn.patch.tiles else f", {worn.size_cm[0]:.0f} cm"
        angle = f", turned {worn.angle:g} deg" if worn.angle else ""
        fold = f", {abs(worn.fold):.0%} folded away" if worn.fold else ""
        lines.append(
            f"pattern added by software: {worn.patch.name}{size}{angle}{fold}, {'lit' if worn.lit else 'flat'}"
        )
    return tuple(lines)
