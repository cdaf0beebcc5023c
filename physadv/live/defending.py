"""Which defences stand around the detector: put on as the controls ask, taken off where they fail, measured."""

from __future__ import annotations

from physadv.defend import Pipeline, parse_pipeline
from physadv.errors import PhysadvError
from physadv.live.figures import LiveFigures
from physadv.live.inference import DefendedDetector, Inference, SwitchedOff
from physadv.live.notices import Notices
from physadv.live.shared import ControlPanel
from physadv.types import Detector, Frame


class Defending:
    """Puts defences on and off between two frames. costs: how many times as long as bare each takes here, as measured."""

    def __init__(self, inference: Inference, panel: ControlPanel, figures: LiveFigures, notices: Notices) -> None:
        self.costs: dict[str, float] = {}
        self._inference, self._panel = inference, panel
        self._figures, self._notices = figures, notices

    def put_on(self, text: str, detector: Detector) -> None:
        """Put the defences of a pipeline's text around a detector; where that fails they are off, with a notice."""
        inference, defended = self._inference, self._inference.defended
        before = "" if defended is None else defended.pipeline.text
        if text == before and detector is inference.detector:
            return
        if detector is not inference.detector:
            self.costs = {}
        try:
            pipeline = parse_pipeline(text)
            inference.use(detector, DefendedDetector(pipeline, detector) if pipeline.defences else None)
        except PhysadvError as error:
            inference.use(detector, None)
            self._panel.replace_defences(text, "")
            self._notices.add("error", "defence", f"{text} is off: {error.text}")
        self._figures.clear_recent()

    def take_off(self, failure: SwitchedOff) -> None:
        """Take every defence off after some have failed; the others are asked for again, with a notice on each failed."""
        for name, reason in failure.reasons.items():
            self._notices.add("error", "defence", f"{name} was switched off: {reason}")
        defended = self._inference.defended
        if defended is not None:
            left = tuple(d for d in defended.pipeline.defences if d.name not in failure.reasons)
            self._panel.replace_defences(defended.pipeline.text, Pipeline(left).text)
        self._inference.use(self._inference.detector, None)

    def cost(self, name: str, frame: Frame) -> float:
        """Return how many times as long as the bare detector a pipeline of that name takes for a frame.

        Raises: DefenceError if there is no such defence or it cannot work with this detector. NoAnswer if it is too slow.
        """
        return round(self._inference.cost(parse_pipeline(name), frame).ratio, 2)
