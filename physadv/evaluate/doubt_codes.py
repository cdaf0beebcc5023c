"""What an evaluation doubts of itself: one list of codes, which stay as they are, and a sentence that carries its code."""

from __future__ import annotations

# By code: what is meant. Codes are read by scripts and never change their meaning; sentences may.
CODES = {
    "few-people": "so few people that the interval is wide",
    "one-image": "one image alone: there is nothing to draw an interval from",
    "few-frames": "so few frames that one more or less changes the figure",
    "few-clips": "so few clips that the interval is over seconds, not over other clips or places",
    "own-labels": "the clean embedded detector labelled the people, nobody by hand: who it never finds is not counted",
    "files-left-out": "images could not be read and are left out",
    "videos-left-out": "videos of the manifest are not scored, or belong to a clip of which one is not",
    "trained-on": "people of the evaluation were trained on, by the hashes of their images, or by their names",
    "near-duplicates": "images look like ones that were trained on: cut, scaled or saved anew",
    "training-unknown": "nobody can say whether people of the evaluation were trained on",
    "float-patch": "what is drawn on people is not the eight bits of the saved pattern",
    "saved-differs": "the pattern's file was changed after it was saved",
    "control-as-good": "a control of the same size does as well",
    "control-missing": "no control was scored or recorded",
    "no-effect": "nothing is lost beside the clean images",
    "not-shown": "the interval of the difference to another arm contains 0",
    "weak-detector": "the clean detector misses many people itself",
    "worn-otherwise": "the pattern is not worn as it was made to be",
    "other-framing": "people stand nearer or farther than those of the training",
    "no-joints": "it is worn by the boxes, since nobody's joints are known",
    "part-worn": "some people wear a part of it",
    "no-chest": "some people show no chest on which a print could be seen: they wear nothing",
    "threshold-differs": "arms were not judged at one threshold",
    "clean-recall-lost": "the defence loses people who wear nothing",
    "not-attacked-adaptively": "nobody who knows the defence attacked it",
    "few-restarts": "an adaptive attack of fewer restarts than three",
    "weak-adaptive-attack": "the adaptive attack is weaker than one that does not know the defence",
    "zero-gradients": "an attack saw no gradient, so it attacked nothing",
    "masked-gradients": "an attack that may change every pixel does not succeed: its gradients mislead",
    "detector-changed": "the detector is not the one that its name, its record or a pattern's record says",
    "batchnorm-changed": "the statistics of BatchNorm alone differ from those of the detector it comes from",
    "detector-unknown": "the detector does not say what its weights are: a change in them goes unseen",
    "frames-lost": "frames are missing: who was hidden in them is not known",
    "frames-repeated": "the camera stood still for a while",
    "frames-not-scored": "frames in which the clean detector finds nobody are not scored",
    "order-unknown": "nobody knows in which order the arms were recorded",
    "order-not-random": "the arms did not come in random order",
    "exposure-changed": "light or exposure changed between the arms",
    "same-file": "two arms are one recording",
    "few-detectors": "so few detectors that nothing is said of detectors in general",
    "one-training": "a white-box figure of one short training, not of the strongest attack",
    "chosen-on-test": "the strongest of several patterns is chosen on the people it is scored on",
    "proxy": "a trial in which software or a screen stood for the printed sheets",
    "few-blocks": "so few blocks of a trial that the interval is wide",
    "blocks-alike": "blocks of a trial on a film show the same images",
    "blocks-done-again": "blocks of a trial were done again, as the person was not found with nothing on",
    "windows-done-again": "windows of a trial were done again because somebody wished it",
    "trial-unfinished": "a trial ended neither decided nor whole",
    "exposure-not-locked": "exposure and white balance were measured, not locked",
}


class Doubt(str):
    """A sentence that should make a reader hesitate, and its code, one of `CODES`."""

    code: str

    def __new__(cls, code: str, text: str) -> Doubt:
        """Raises: KeyError for a code that is not in the list."""
        if code not in CODES:
            raise KeyError(code)
        out = super().__new__(cls, text)
        out.code = code
        return out

    def __getnewargs__(self) -> tuple[str, str]:  # type: ignore[override]
        return self.code, str(self)


def codes_of(doubts: list[Doubt]) -> list[str]:
    """Return the codes of doubts, each once, in order."""
    return list(dict.fromkeys(doubt.code for doubt in doubts))
