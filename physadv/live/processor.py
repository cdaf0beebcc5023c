"""One frame of the live demo: the pattern put on, looked at by the bare and the defended detector, every wearer judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from physadv.camera.lens import Lens, size_cm
from physadv.camera.profile import CameraProfile
from physadv.capture.cuts import Cuts
from physadv.defend import Pipeline, parse_pipeline
from physadv.errors import CalibrationError, PhysadvError
from physadv.live.inference import DefendedDetector, Inference, SwitchedOff, timed
from physadv.live.overlay import Overlay
from physadv.live.settings import Backend, Controls
from physadv.live.shared import SharedState
from physadv.live.shown import Shown, detector_line
from physadv.live.turned import TurnedFrames
from physadv.live.wearers import judged, reported
from physadv.live.wearing import Wearing
from physadv.simulate.joints import LEFT_SHOULDER, RIGHT_SHOULDER, SHOULDER_CM, shoulders_visible
from physadv.types import Detections, Detector, Frame, UInt8Array


class DetectorChoice(NamedTuple):
    """A detector as it is asked for: name or path, backend, and long side of its input."""

    name: str
    backend: Backend
    imgsz: int


class CalibratedCamera(Lens):
    """What a camera's profile adds: undistorted frames, and people's sizes in centimetres."""

    def __init__(self, where: str | Path) -> None:
        """where: a camera profile by name or path.

        Raises: CalibrationError if it is missing, damaged, changed or stale.
        """
        profile = CameraProfile.load(where)
        profile.check_age()
        super().__init__(profile)

    def sizes(self, people: Detections) -> tuple[str, ...]:
        """Return width, height and distance of each person as text.

        The scale is that of an adult's shoulders where both are seen, else of a whole adult: see `size_cm`.
        """
        shoulders = None
        if people.keypoints is not None:
            across = people.keypoints[:, LEFT_SHOULDER, :2] - people.keypoints[:, RIGHT_SHOULDER, :2]
            seen = shoulders_visible(people.keypoints, len(people))
            shoulders = np.where(seen, np.linalg.norm(across, axis=1), np.nan).astype(np.float32)
        sizes, scale = size_cm(people.xyxy, shoulders_px=shoulders, shoulders_cm=SHOULDER_CM)
        metres = self.profile.focal_px / scale / 100
        return tuple(f"{w:.0f} x {h:.0f} cm, {m:.1f} m" for (w, h), m in zip(sizes, metres, strict=True))

    def record(self) -> dict[str, Any]:
        """Return the profile's name and hash, for a recording's session."""
        return {"name": self.profile.name, "sha256": self.profile.sha256}


class LiveProcessor:
    """Pattern, detector and defences as they stand; `process` takes a frame through them. See `loop.Processor`.

    camera: the calibrated camera, or None. choice: the detector that is running, as it was asked for.
    """

    def __init__(
        self,
        inference: Inference,
        wearing: Wearing,
        shared: SharedState,
        *,
        choice: DetectorChoice,
        camera: CalibratedCamera | None,
    ) -> None:
        self.choice, self.camera = choice, camera
        self.inference, self.wearing = inference, wearing
        self._panel, self._library = shared.panel, shared.library
        self._figures, self._notices = shared.figures, shared.notices
        self._shared = shared
        self._controls: Controls | None = None
        self._cuts, self._turned = Cuts(), TurnedFrames()
        self._elsewhere = True
        self._none_yet = True
        self._costs: dict[str, float] = {}

    # Changes, between two frames

    def update(self) -> Controls:
        """Take over what the controls ask for, and return them."""
        while (controls := self._panel.now) is not self._controls:
            before, self._controls = self._controls, controls
            self._defend(controls.defend, self.inference.detector)
            if self.wearing.choose(controls.wear, controls.wear_size, angle=controls.wear_angle, lit=controls.wear_lit):
                self._figures.clear_recent()
            if before is not None and (before.compare, before.turn) != (controls.compare, controls.turn):
                self._figures.clear_recent()
        return controls

    def adopt_detector(self, choice: DetectorChoice, detector: Detector) -> None:
        """Change to another detector; what defences cost with the old one is forgotten. For the loop's thread."""
        self.choice, self._costs = choice, {}
        self._defend(self._panel.now.defend, detector)

    def adopt_costs(self, costs: dict[str, float]) -> None:
        """Add what defences cost on this machine. For the loop's thread."""
        self._costs |= costs

    def new_scene(self) -> None:
        """Forget what came from earlier frames before the next one: it is of another source."""
        self._elsewhere = True
        self.wearing.new_source()

    def _defend(self, text: str, detector: Detector) -> None:
        """Put the defences of a pipeline's text around a detector; where that fails they are off, with a notice."""
        inference, defended = self.inference, self.inference.defended
        before = "" if defended is None else defended.pipeline.text
        if text == before and detector is inference.detector:
            return
        try:
            pipeline = parse_pipeline(text)
            inference.use(detector, DefendedDetector(pipeline, detector) if pipeline.defences else None)
        except PhysadvError as error:
            inference.use(detector, None)
            self._panel.replace_defences(text, "")
            self._notices.add("error", "defence", f"{text} is off: {error.text}")
        self._figures.clear_recent()

    def _switch_off(self, failure: SwitchedOff) -> None:
        for name, reason in failure.reasons.items():
            self._notices.add("error", "defence", f"{name} was switched off: {reason}")
        defended = self.inference.defended
        if defended is not None:
            left = tuple(d for d in defended.pipeline.defences if d.name not in failure.reasons)
            self._panel.replace_defences(defended.pipeline.text, Pipeline(left).text)
        self.inference.use(self.inference.detector, None)
        # The rest is put on again with the next frame.
        self._controls = None

    # One frame

    def prepare(self, frame: Frame, *, side_by_side: bool) -> Frame:
        """Return the frame undistorted and turned; the bare detector looks at it from now on if it will have to.

        side_by_side: whether the next frame is prepared before this one is processed.

        Raises: CalibrationError if the camera's profile does not fit the very first frame.
        """
        clean = self._turned.turn(self._undistorted(frame), self._panel.now.turn)
        self.inference.side_by_side = side_by_side
        worn = self.wearing.worn is not None and not self.wearing.warm_start.running
        self.inference.prepare(clean, worn=worn, compare=self._panel.now.compare and self._shared.watched)
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
                placed = self.inference.bare(clean, stage, "place")
                controls = self._follow(placed, clean)
                # None where it was taken off this very moment.
                if (worn := self.wearing.worn) is not None:
                    with timed(stage, "wear"):
                        given = clean.with_pixels(worn.apply(clean.pixels, placed, at_s=clean.pts_s))
            people, bare = self.inference.answers(
                given, compare=controls.compare and self._shared.watched, stage_ms=stage
            )
        except SwitchedOff as failure:
            self._switch_off(failure)
            return None
        return self._shown(
            given, clean, people, bare, number=number, controls=controls, cut=cut, placed=placed, stage_ms=stage
        )

    def _undistorted(self, frame: Frame) -> Frame:
        first, self._none_yet = self._none_yet, False
        if self.camera is None:
            return frame
        try:
            return self.camera.flat(frame)
        except CalibrationError as error:
            # Chosen at the start it is a mistake; a source that came later goes on without it.
            if first:
                raise
            self.camera = None
            self._notices.add("error", "camera", error.marked)
            return frame

    def _cut(self, frame: Frame) -> bool:
        """Return whether another scene begins with this frame; what came from earlier ones is then forgotten."""
        step = self._cuts.step(frame.pixels)
        cut, self._elsewhere = self._elsewhere or step == "cut", False
        if cut:
            self.wearing.cut()
            self.inference.reset()
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
        on, turned = None if worn is None else (worn.on, worn.found), self._turned.angle_of(clean)
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
            worn=controls.wear if worn is not None else "",
            worn_cm=round(worn.size_cm[0], 1) if worn is not None else None,
            worn_angle=worn.angle if worn is not None else None,
            worn_lit=worn.lit if worn is not None else None,
            turned=turned,
            cut=cut,
            placed=placed,
            wearers=None if on is None else judged(*on, people, conf),
            bare_wearers=None if on is None or bare is None else judged(*on, bare, conf),
            stage_ms=stage_ms,
            lines=_lines(inference.detector, controls, worn, turned),
            claims=defended.claims if defended is not None else (),
            sizes=self.camera.sizes(sure) if self.camera is not None else (),
        )

    # For screens and records, from any thread

    def ask(self, pixels: UInt8Array) -> Detections:
        """Return the people that the bare detector finds in an image (h, w, 3) uint8 RGB of no source."""
        return self.inference.bare(Frame(pixels, 0, 0, 0.0)).above(self._panel.now.conf)

    def cost(self, name: str, frame: Frame) -> float:
        """Return how many times as long as the bare detector a pipeline of that name takes for a frame.

        Raises: DefenceError if there is no such defence or it cannot work with this detector. NoAnswer if it is too slow.
        """
        return round(self.inference.cost(parse_pipeline(name), frame).ratio, 2)

    def state(self, shown: Shown | None) -> dict[str, Any]:
        """Return what a screen shows of detector, defences and pattern. shown: the frame shown last."""
        inference = self.inference
        return {
            "detector": {
                "name": inference.detector.name,
                "spec": self.choice.name,
                "backend": inference.detector.backend,
                "precision": inference.detector.precision,
                "imgsz": self.choice.imgsz,
            },
            "defence_ms": round(inference.defence_ms, 1) if inference.defended is not None else None,
            "defence_costs": dict(self._costs),
            **self.wearing.state(self._panel.now.wear, shown),
        }

    def record(self) -> dict[str, Any]:
        """Return how the frames are made, for a recording's session."""
        detector, now = self.inference.detector, self._panel.now
        how = {"angle": now.wear_angle, "lit": now.wear_lit}
        return {
            "camera": self.camera.record() if self.camera is not None else None,
            "detector": {
                "name": detector.name,
                "backend": detector.backend,
                "precision": detector.precision,
                "imgsz": self.choice.imgsz,
                "sha256": detector.sha256,
            },
            "worn": {"name": now.wear, "sha256": self._library.get(now.wear).sha256, **how} if now.wear else None,
        }

    def close(self) -> None:
        """End the detector's thread. Safe to call twice."""
        self.inference.close()


def _lines(detector: Detector, controls: Controls, worn: Overlay | None, turned: float) -> tuple[str, ...]:
    """Return what is written into the image: how it was made, so that a recording cannot be taken for another."""
    lines = [detector_line(detector.name, detector.backend, detector.precision, controls.conf)]
    if turned:
        lines.append(f"image turned {turned:g} deg by software")
    if controls.defend:
        lines.append(f"defence {controls.defend}")
    if worn is not None:
        size = "" if worn.patch.tiles else f", {worn.size_cm[0]:.0f} cm"
        angle = f", turned {worn.angle:g} deg" if worn.angle else ""
        lines.append(f"pattern added by software: {worn.patch.name}{size}{angle}, {'lit' if worn.lit else 'flat'}")
    return tuple(lines)
