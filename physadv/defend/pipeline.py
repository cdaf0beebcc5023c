"""Several defences as one: read from text (`lgs:threshold=.1+smoothing=2,persistence`), ordered, wrapped."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from physadv.defend.base import Defence
from physadv.defend.learned import SHIPPED, missing_weights
from physadv.defend.plugin import CheckedGuard, CheckedTwin, is_plugin
from physadv.errors import DefenceError, SettingsError
from physadv.files import sha256_of
from physadv.plugins import code_of
from physadv.settings import parse
from physadv.types import Detector, GradientDetector

# Between parameters stands a plus, which means nothing to a shell, or a semicolon as in older files. No `name=` follows a
# plus within a value (`1e+3`, `views=plain+flip`).
BETWEEN = re.compile(r";|\+(?=\s*[A-Za-z_][\w-]*\s*=)")


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Defences in the order of their names; an empty pipeline guards nothing.

    Defences that change images run in this order, the first on the camera's image. Those that compare answers come outside
    all of them. The pipeline keeps no state: the guarded detector does.
    """

    defences: tuple[Defence, ...] = ()
    preset: str = ""

    def __post_init__(self) -> None:
        names = [d.name for d in self.defences]
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice is not None:
            raise DefenceError(f"{twice} is named twice", hint="name each defence once")

    def guard(self, detector: Detector) -> Detector:
        """Return the detector behind all defences; the detector itself if there are none.

        Raises: DefenceError if a defence cannot work with this detector or with its neighbours.
        """
        for defence in self._inside_out():
            guarded = defence.guard(detector)
            detector = CheckedGuard(defence, guarded) if is_plugin(defence) else guarded
        return detector

    def twin(self, detector: GradientDetector) -> GradientDetector:
        """Return the differentiable twin of `guard`, for an attack through all defences but those `over_time`."""
        for defence in self._inside_out():
            twin = defence.twin(detector)
            detector = CheckedTwin(defence.name, twin) if is_plugin(defence) and twin is not detector else twin
        return detector

    @property
    def over_time(self) -> tuple[str, ...]:
        """Return the names of the defences without a twin: they need a sequence, and attacks train on single images."""
        return tuple(d.name for d in self.defences if d.over_time)

    def _inside_out(self) -> list[Defence]:
        changing = [d for d in self.defences if d.order < 1]
        watching = sorted((d for d in self.defences if d.order >= 1), key=lambda d: d.order)
        return changing[::-1] + watching

    def weights(self) -> dict[str, str]:
        """Return the SHA-256 of each defence's weights file, by the defence's name.

        Raises: DefenceError if a file cannot be read.
        """
        out = {}
        for defence in self.defences:
            path = defence.weights_path()
            if path is not None:
                if not path.is_file():
                    raise DefenceError(f"{defence.name}: {missing_weights(path, defence.name)}")
                try:
                    out[defence.name] = sha256_of(path)
                except OSError as error:
                    raise DefenceError(f"{path}: cannot be read: {error.strerror}") from error
        return out

    def code(self) -> tuple[str, ...]:
        """Return the SHA-256 of the code of each defence that another package declares: its answers change with it."""
        kinds = [type(d) for d in self.defences if is_plugin(d)]
        return tuple(code_of(f"{kind.__module__}:{kind.__name__}", field="defend")[1] for kind in kinds)

    def at_size(self, imgsz: int) -> Pipeline:
        """Return the pipeline as it works on a detector's input of that long side.

        For the twin, whose images may be parts of such an input; a guard asks its detector.
        """
        return replace(self, defences=tuple(defence.at_size(imgsz) for defence in self.defences))

    def resolved(self) -> Pipeline:
        """Return the pipeline with the given weights files by absolute paths, to be used from another folder."""
        files = [defence.weights_path() for defence in self.defences]
        defences = tuple(
            defence.model_copy(update={"weights": str(path.resolve())}) if path and path.parent != SHIPPED else defence
            for defence, path in zip(self.defences, files, strict=True)
        )
        return replace(self, defences=defences)

    @property
    def text(self) -> str:
        """Return the pipeline as `parse_pipeline` reads it, with each parameter that is not at its default."""
        return ",".join(_text(d) for d in self.defences)

    @property
    def description(self) -> str:
        """Return one line about what is done, in the order it is done."""
        words = "; then ".join(f"{d.name}: {d.title}" for d in reversed(self._inside_out())) or "no defence"
        return f"{self.preset}: {words}" if self.preset else words

    def __str__(self) -> str:
        return self.preset or self.text or "none"


def parse_pipeline(
    text: str, registry: Mapping[str, type[Defence]], presets: Mapping[str, str] | None = None
) -> Pipeline:
    """Return the pipeline for `name[:parameter=value+parameter=value...],...`, a preset's name, or `none`.

    `;` between parameters is accepted too.

    Raises: DefenceError naming the defence or preset that is not known, or a parameter that is impossible.
    """
    presets = presets or {}
    text = text.strip()
    if text in ("", "none"):
        return Pipeline()
    defences: list[Defence] = []
    for word in text.split(","):
        name, _, values = word.strip().partition(":")
        if name in presets:
            if values:
                raise DefenceError(f"the preset {name} takes no parameters", hint=f"write it out: {presets[name]}")
            defences.extend(parse_pipeline(presets[name], registry).defences)
            continue
        if name not in registry:
            names = ", ".join([*presets, *registry])
            raise DefenceError(expected=f"one of {names}", got=repr(name))
        chosen = _values(name, values)
        known = registry[name].model_fields
        unknown = next((k for k in chosen if k not in known), None)
        if unknown is not None:
            raise DefenceError(name, expected=f"one of the parameters {', '.join(known)}", got=repr(unknown))
        try:
            defences.append(parse(registry[name], chosen, what=name))
        except SettingsError as error:
            raise DefenceError(str(error)) from error
    return Pipeline(tuple(defences), text if text in presets else "")


def _values(name: str, text: str) -> dict[str, str]:
    out = {}
    for word in filter(None, (w.strip() for w in BETWEEN.split(text))):
        key, equals, value = word.partition("=")
        if not equals:
            raise DefenceError(name, expected="parameter=value+parameter=value...", got=repr(word))
        out[key.strip().replace("-", "_")] = value.strip()
    return out


def _text(defence: Defence) -> str:
    values = "+".join(f"{k}={v}" for k, v in defence.model_dump(exclude_defaults=True).items())
    return f"{defence.name}:{values}" if values else defence.name
