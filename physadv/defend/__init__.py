"""Detector in, detector out: every defence that can be switched on, and pipelines of them."""

from __future__ import annotations

from physadv import plugins
from physadv.defend.base import Defence, Guarded
from physadv.defend.blocks import BlockAutoencoder
from physadv.defend.consistency import Consistency
from physadv.defend.entropy import LocalEntropy
from physadv.defend.erase import PatternEraser
from physadv.defend.lgs import LocalGradientSmoothing
from physadv.defend.objectseeker import ObjectSeeker
from physadv.defend.patchcleanser import PatchCleanser
from physadv.defend.persistence import Persistence
from physadv.defend.pipeline import Pipeline
from physadv.defend.pipeline import parse_pipeline as _parse
from physadv.defend.pixel_deflection import PixelDeflection
from physadv.defend.plugin import plugin_defences
from physadv.defend.probes import Probes
from physadv.defend.total_variation import TotalVariation
from physadv.defend.transforms import BitDepth, Brightness, Flip, Jpeg, Median, Noise, ResizePad, Rotate, Stretch
from physadv.defend.vote import Vote
from physadv.errors import PluginError, naming

__all__ = ["DEFENCES", "PRESETS", "Defence", "Guarded", "Pipeline", "known_defences", "parse_pipeline"]

DEFENCES: dict[str, type[Defence]] = {
    "stretch": Stretch,
    "rotate": Rotate,
    "flip": Flip,
    "brightness": Brightness,
    "jpeg": Jpeg,
    "median": Median,
    "bit-depth": BitDepth,
    "vote": Vote,
    "tv": TotalVariation,
    "pixel-deflection": PixelDeflection,
    "resize-pad": ResizePad,
    "noise": Noise,
    "lgs": LocalGradientSmoothing,
    "entropy": LocalEntropy,
    "blocks": BlockAutoencoder,
    "erase": PatternEraser,
    "persistence": Persistence,
    "objectseeker": ObjectSeeker,
    "patchcleanser": PatchCleanser,
    "consistency": Consistency,
    "probes": Probes,
}

# `fast` looks once: at a threshold of .15 the smoothed image alone keeps 100 of 101 people of a clean video, at .1 97.
PRESETS: dict[str, str] = {
    "fast": "lgs:threshold=.15+plain=false,persistence",
    "balanced": "erase,persistence",
    "certified": "objectseeker",
}


def parse_pipeline(text: str, *, field: str = "defend") -> Pipeline:
    """Return the pipeline for `lgs:block=15+overlap=3,persistence`, a preset (`fast`, `balanced`, `certified`) or `none`.

    field: what errors call the text.

    Defences that installed packages declare are known too.

    Raises: DefenceError naming the defence or preset that is not known, or a parameter that is impossible. PluginError for
    a defence of others that cannot be loaded.
    """
    named = {word.partition(":")[0].strip() for word in text.split(",")} - {"", "none", *DEFENCES, *PRESETS}
    with naming(field):
        # Only where a name is not ours: asking installed packages takes as long as loading a fast command.
        return _parse(text, {**DEFENCES, **plugin_defences(named)} if named else DEFENCES, PRESETS)


def known_defences() -> tuple[dict[str, type[Defence]], list[str]]:
    """Return every defence by name, those of installed packages too, and a line for each of these that cannot be loaded."""
    found, broken = dict(DEFENCES), []
    for name in plugins.declared(plugins.DEFENCES):
        if name in {**DEFENCES, **PRESETS}:
            broken.append(
                f"a package declares {name}, which is one of physadv's own: it cannot be reached by that name"
            )
            continue
        try:
            found.update(plugin_defences([name]))
        except PluginError as error:
            broken.append(error.text)
    return found, broken
