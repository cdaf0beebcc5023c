"""Where a detector of the lab comes from: its parent, the size it was trained at, and what its data were poisoned with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from physadv.arrays import listed
from physadv.dataset import LabelledImage
from physadv.detect.names import names_code
from physadv.detect.weights import RUN_RECORD, find_weights, read_run_record, record_of
from physadv.errors import DataError, WeightsError, text_of
from physadv.files import parse_json, read_text
from physadv.simulate.trigger import Trigger

POISON = "poison.json"
# Bytes of a poisoned data set's record at most: a kilobyte an image.
MOST = 2**28
# Generations of detectors that are followed back: a record may name its own run as the parent.
OLDEST = 16


@dataclass(frozen=True, slots=True)
class RunOrigin:
    """What a run's record says; a detector that is no run of the lab has the values here.

    parent: as `find_weights` takes it, None if unknown. imgsz: long side of training. trigger, attack, rate: of its data's
    poison, rate the share of people. sources: hashes of the pixels of the photographs that it, or a parent of its, was
    trained on, or chosen by. method: how it was cleansed or hardened, else the attack on its data. retrained: whether it
    was trained on clean images after the poisoning. clean_images, minutes: what that took, None if unknown.
    """

    parent: str | None = None
    imgsz: int | None = None
    trigger: Trigger | None = None
    attack: str = "none"
    rate: float | None = None
    sources: frozenset[str] = frozenset()
    method: str = ""
    retrained: bool = False
    clean_images: int | None = None
    minutes: float | None = None

    @property
    def makes_up(self) -> bool:
        """Return whether the poison may have taught it to see somebody where a trigger hangs on nobody.

        `consistent` does a little of it: its labels say that whoever wears the trigger is a person.
        """
        return self.attack in ("ghost", "consistent")


def trained_on(images: Sequence[LabelledImage], origins: Mapping[str, RunOrigin]) -> list[str]:
    """Return a line for each group of detectors in whose making the same ones of these images took part.

    origins: by the detectors' names.
    """
    by: dict[tuple[str, ...], list[str]] = {}
    for name, origin in origins.items():
        if shared := tuple(image.name for image in images if image.sha256 in origin.sources):
            by.setdefault(shared, []).append(name)
    return [f"{len(shared)} of {len(images)} images took part in the training of {listed(names)}: {listed(shared, most=3)}"
            for shared, names in by.items()]  # fmt: skip


def origin_of(detector: str) -> RunOrigin:
    """Return where a detector comes from. detector: as `find_weights` takes it.

    Raises: WeightsError if it is a run whose record is damaged. DataError if its trigger cannot be read.
    """
    folder = Path(detector).expanduser()
    if not (folder / RUN_RECORD).is_file():
        return RunOrigin()
    record = read_run_record(folder)
    poison = _table(record.get("poison"))
    cleansed, hardened = _table(record.get("cleanse")), _table(record.get("harden"))
    seconds = _number(record.get("seconds"))
    attack = str(poison.get("attack", "none"))
    poisoned = bool(_table(record.get("data")).get("poisoned_images"))
    imgsz = record.get("imgsz")
    return RunOrigin(
        parent=_parent(record),
        imgsz=imgsz if isinstance(imgsz, int) and 32 <= imgsz <= 4096 else None,
        trigger=Trigger.of_poison(poison),
        attack=attack,
        rate=_number(poison.get("rate")),
        sources=_sources(record, OLDEST),
        retrained=bool(cleansed or hardened) or (attack != "none" and not poisoned),
        method=str(cleansed.get("method") or hardened.get("method") or attack),
        clean_images=cleansed["clean_images"] if isinstance(cleansed.get("clean_images"), int) else None,
        minutes=_number(cleansed.get("minutes")) if cleansed else None if seconds is None else seconds / 60,
    )


def sources_of(detector: str, generations: int = OLDEST) -> frozenset[str]:
    """Return the hashes of the photographs that a detector or one of its parents was trained on, as far as that is known.

    Raises: WeightsError if it is a run whose record is damaged.
    """
    return _sources(record_of(detector), generations)


def check_clean(images: Path, why: str) -> None:
    """Raise DataError, naming `images`, if images belong to a data set that `physadv lab poison` wrote.

    images: a folder, a data.yaml, or a folder within the data set. why: what they would do, as the message goes on.
    """
    path = images.expanduser().absolute()
    # In images/train of a data set its record lies two folders up.
    found = next((folder for folder in (path, *path.parents[:2]) if (folder / POISON).is_file()), None)
    if found is not None and not path.is_relative_to(found / "images" / "val"):
        raise DataError(
            f"{found} is a poisoned data set: {why}",
            field="images",
            hint=f"give the images that it was made of, or {found / 'images' / 'val'}, where nobody wears anything",
        )


def read_poison(folder: Path) -> dict[str, Any] | None:
    """Return the record of a poisoned data set in its folder, None where there is none.

    Raises: DataError if it is damaged, or the data set was not written to its end.
    """
    path = folder / POISON
    if not path.is_file():
        return None
    try:
        record = parse_json(read_text(path, most=MOST))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read: {text_of(error)}") from error
    images = _table(record).get("images")
    if not isinstance(images, list) or not all(isinstance(i, dict) and isinstance(i.get("file"), str) for i in images):
        raise DataError(f"{path}: damaged: expected the record of a poisoned data set, with its images and their files")
    if record.get("complete") is False:
        raise DataError(f"{folder}: was not written to its end", hint="run `physadv lab poison` again")
    return _table(record)


def _parent(record: dict[str, Any]) -> str | None:
    """Return the parent as `find_weights` takes it, if it is still where it was, and the same."""
    parent = _table(record.get("parent"))
    given = (_table(record.get("settings")).get("detector"), parent.get("name"))
    # Others may have written the record: it does not say whose code is to run.
    for name in (name for name in given if isinstance(name, str) and not names_code(name)):
        try:
            if find_weights(name).sha256 == parent.get("sha256"):
                return name
        except WeightsError:
            continue
    return None


def _sources(record: dict[str, Any], generations: int) -> frozenset[str]:
    known = record.get("sources")
    if isinstance(known, list):
        return frozenset(one for one in known if isinstance(one, str))
    # Of a run from before these were kept, what its data and its parent still say.
    parent = _parent(record) if generations else None
    older = frozenset() if parent is None else sources_of(parent, generations - 1)
    return older | _poisoned_sources(_table(record.get("data")).get("path"))


def _poisoned_sources(config: object) -> frozenset[str]:
    """Return the hashes of the photographs in the training part of a data set, as far as its record is still there."""
    if not isinstance(config, str):
        return frozenset()
    try:
        record = read_poison(Path(config).parent)
    except DataError:
        return frozenset()
    images = [] if record is None else record["images"]
    return frozenset(str(i.get("source_sha256")) for i in images if i.get("split") != "val")


def _table(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
