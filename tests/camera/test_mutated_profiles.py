"""Damaged and forged profiles: each is refused in one short line, or everything that uses it works."""

import copy
import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from physadv.camera.lens import Undistorter
from physadv.camera.profile import CameraProfile, PrinterProfile, Profile
from physadv.errors import CalibrationError
from physadv.simulate.ink import MeasuredInk
from tests.camera.test_profile import camera, printer

MUTATIONS = 600
ODD: list[Any] = [
    None, True, False, 0, -1, 1, 1e308, -1e308, 1e-320, 10**30, 10**400, float("nan"), float("inf"), "", "x", "NaN", "1e5",
    "\x00", "\ud800", "../x", "é" * 40, "a" * 5000, [], {}, [[]], [None], [0.5] * 3, [[0.5] * 3] * 3, {"a": {"b": []}},
    "2026-01-01", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "2026-02-30T00:00:00Z",
]  # fmt: skip


def spots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in nested lists and tables: what holds it, and its key there."""
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from spots(value[key])


def mutate(table: dict[str, Any], rng: random.Random) -> None:
    where, key = rng.choice(list(spots(table)))
    kind = rng.randrange(6)
    if kind == 0:
        where[key] = copy.deepcopy(rng.choice(ODD))
    elif kind == 1:
        del where[key]
    elif kind == 2 and isinstance(where, list):
        where.extend(copy.deepcopy(where[: rng.randrange(1, 9)]))
    elif kind == 3:
        deep: Any = 0
        for _ in range(rng.choice([3, 30, 300])):
            deep = [deep] if rng.random() < 0.5 else {"a": deep}
        where[key] = deep
    elif kind == 4 and isinstance(where[key], float):
        where[key] *= rng.choice([0, -1, 1e3, 1e9, 1e-9, 0.5])
    else:
        table[rng.choice(["width", "distortion", "matrix", "map", "inverse", "surplus"])] = copy.deepcopy(
            rng.choice(ODD)
        )


def mutated(profile: Profile, seed: int) -> bytes:
    """Return a profile's file with a few mutations: of values, the hash made to fit, or of bytes."""
    rng = random.Random(seed)
    table = profile.model_dump(mode="json")
    if seed % 4:
        for _ in range(rng.choice([1, 1, 1, 2, 5])):
            mutate(table, rng)
        try:
            canonical = json.dumps(table, sort_keys=True, separators=(",", ":")).encode()
        except ValueError:
            canonical = b""
        return json.dumps({**table, "sha256": hashlib.sha256(canonical).hexdigest()}).encode()
    data = bytearray(json.dumps({**table, "sha256": profile.sha256}).encode())
    for _ in range(rng.choice([1, 3, 20])):
        at = rng.randrange(len(data))
        data[at : at + rng.choice([0, 1, 8])] = rng.choice([rng.randbytes(rng.choice([0, 1, 4])), b"[" * 3000])
    return bytes(data[: rng.choice([len(data), len(data), rng.randrange(len(data))])])


def use(profile: Profile, path: Path) -> None:
    """Do with a profile that was accepted what the program does with one."""
    profile.save(path)
    assert type(profile).load(path).sha256 == profile.sha256
    try:
        profile.check_age()
    except CalibrationError as error:
        assert len(str(error)) < 500
    if isinstance(profile, CameraProfile):
        assert all(np.isfinite(profile.field_of_view_deg)) and profile.focal_px > 0
        if profile.width * profile.height < 1_000_000:
            out = Undistorter(profile, (profile.width, profile.height))
            out.apply(np.zeros((profile.height, profile.width, 3), np.uint8))
            out.points(np.array([[1, 1], [profile.width / 2, 5]], np.float32))
    if isinstance(profile, PrinterProfile):
        image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
        assert profile.precompensate_image(image).shape == profile.colour_map().image(image).shape == (4, 5, 3)
        assert len(profile.printable()) == len(profile.printable_digital())
        MeasuredInk(strength=1, colours=profile.map.model_dump())


@pytest.mark.parametrize("profile", [camera(), printer()], ids=lambda p: p.kind)
def test_a_mutated_profile_is_refused_in_one_line_or_serves(profile: Profile, tmp_path: Path) -> None:
    path, saved = tmp_path / "profile.json", tmp_path / "saved.json"
    refused = 0
    for seed in range(MUTATIONS):
        path.write_bytes(mutated(profile, seed))
        try:
            loaded = type(profile).load(path)
        except CalibrationError as error:
            refused += 1
            text = str(error).replace(str(path), "profile.json")
            assert text.startswith("profile.json") and len(text) < 500, (seed, text)
            assert text.isprintable(), (seed, text)
        else:
            use(loaded, saved)
    assert 0.5 * MUTATIONS < refused < MUTATIONS, "most are refused, and some mutations do no harm"
