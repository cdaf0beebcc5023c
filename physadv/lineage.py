"""What a pattern, and those that it goes back to, were trained on; and whether an image is among that."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from physadv.arrays import alike, look_of
from physadv.dataset import known_as, stretch_of
from physadv.files import normal
from physadv.patch import Patch, load_patch
from physadv.types import UInt8Array


class Seen:
    """Images that were trained on.

    names: of all of them, a video's by stretches, as `film.mp4#3`. complete: False where a pattern that it goes back to
    does not say what it was trained on.
    """

    def __init__(
        self,
        listed: Iterable[tuple[str, Iterable[str]]] = (),
        *,
        complete: bool = True,
        looks: Iterable[str] = (),
    ) -> None:
        """Keep names, each with the SHA-256 of the pixels of all images called so, none where that is not known.

        looks: of the images as `arrays.look_of` gives them, none where those are not known.
        """
        self.complete = complete
        self.looks = frozenset(looks)
        self._listed = [(normal(name), frozenset(hashes)) for name, hashes in listed]
        self.names = {name for name, _ in self._listed}
        # A record may list hashes in place of names.
        self._hashes = self.names.union(*(hashes for _, hashes in self._listed))
        self._known: dict[str, list[tuple[str, frozenset[str]]]] = {}
        for entry in self._listed:
            for other in known_as(entry[0]):
                self._known.setdefault(other, []).append(entry)

    def __or__(self, other: Seen) -> Seen:
        """Return what either has seen."""
        complete = self.complete and other.complete
        return Seen([*self._listed, *other._listed], complete=complete, looks=self.looks | other.looks)

    def resembles(self, pixels: UInt8Array) -> bool:
        """Return whether an image looks like one of these: cut a little, scaled, or saved anew. pixels: (h, w, 3) RGB."""
        return bool(self.looks) and alike(look_of(pixels), self.looks)

    def saw(self, name: str, sha256: str = "") -> bool:
        """Return whether an image is among these: by the hash of its pixels, whatever it is called, or by its name.

        sha256: of the image's pixels; "" if unknown. One called exactly like an image of other pixels is another. Only
        where either hash is unknown do names decide, and where an image was perhaps saved anew in another format.
        """
        if sha256 and sha256 in self._hashes:
            return True
        name = normal(name)
        alike = [entry for known in known_as(name) for entry in self._known.get(known, ())]
        return any(not (sha256 and hashes) or own not in (name, stretch_of(name)) for own, hashes in alike)


def seen_by(patch: Patch) -> Seen | None:
    """Return what a pattern and all that it goes back to were trained on; None if its own record does not say."""
    parts = [_listed(part) for part in _parts(patch.record)]
    if parts[0] is None:
        return None
    known = [entry for part in parts if part is not None for entry in part]
    looks = (look for part in _parts(patch.record) if isinstance(part, dict) for look in part.get("looks") or ())
    return Seen(known, complete=None not in parts, looks=filter(lambda look: isinstance(look, str), looks))


def start_record(start: Patch) -> dict[str, Any]:
    """Return what the record of a pattern that begins from `start` says of that one: name, hash, what it was trained on.

    "train" is None where its record does not say; "start" is what that says of the pattern it began from itself.
    """
    split = start.record.get("split")
    known = split if isinstance(split, dict) else {}
    return {
        "name": start.name,
        "sha256": start.sha256,
        "train": known.get("train"),
        "pixels": known.get("pixels"),
        "looks": known.get("looks"),
        "start": start.record.get("start"),
    }


def split_record(
    train: Mapping[str, Iterable[str]], held_out: Iterable[str], looks: Iterable[str] = ()
) -> dict[str, Any]:
    """Return a split as a pattern's record lists it, in order.

    train: the names trained on, each with the hashes of the pixels of the images called so. looks: of these images.
    """
    known = {name: sorted(hashes) for name, hashes in sorted(train.items())}
    pixels = {name: hashes for name, hashes in known.items() if hashes}
    return {"train": list(known), "held_out": sorted(set(held_out)), "pixels": pixels, "looks": sorted(set(looks))}


def load_start(where: str) -> Patch:
    """Return the pattern to begin from as `load_patch` does; a run's image with the record that lies beside it.

    Raises: PatchError if nothing is there, or it cannot be used.
    """
    patch = load_patch(where)
    beside = Path(where).with_suffix(".safetensors")
    if not patch.record and beside.is_file() and (kept := load_patch(beside)).sha256 == patch.sha256:
        return kept
    return patch


def _parts(record: dict[str, Any]) -> Iterator[Any]:
    """Yield what a record says of its own training, then of each pattern's that it goes back to."""
    yield record.get("split")
    start = record.get("start")
    while start is not None:
        yield start
        start = start.get("start") if isinstance(start, dict) else None


def _listed(table: Any) -> list[tuple[str, list[str]]] | None:
    """Return the images that a part of a record lists, or None where it does not."""
    train = table.get("train") if isinstance(table, dict) else None
    if not isinstance(train, list):
        return None
    pixels = table.get("pixels")
    known = pixels if isinstance(pixels, dict) else {}
    hashes = ((name, known.get(name)) for name in map(str, train))
    return [(name, [str(h) for h in these] if isinstance(these, list) else []) for name, these in hashes]
