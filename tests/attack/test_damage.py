"""Files of a run that something has damaged: one line each, never a traceback, whatever was changed in them."""

import json
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tiny import tiny_detector, tiny_gradient

from physadv.attack.checkpoint import Checkpoint
from physadv.attack.data import split
from physadv.attack.recipe import Recipe
from physadv.attack.run import CHECKPOINT, TrainData
from physadv.attack.score import HeldOutPeople
from physadv.attack.timing import made_up
from physadv.attack.training import stored_pace
from physadv.cli.begun import BEGUN
from physadv.cli.train import TrainVerb, as_begun
from physadv.dataset import Dataset, LabelledImage
from physadv.errors import PhysadvError, TrainingError
from physadv.files import write_json
from physadv.simulate.placement import Placement
from tests.attack.running import ran
from tests.mutations import damaged, mistyped

LONGEST = 500
# Besides what damage puts in elsewhere: nesting without end, long texts, and half of a character.
NESTED = (b":[", b":[" * 100_000)
OTHERS: tuple[Any, ...] = (2**70, "\ud800", "é" * 5000, [[1]], {"a": {"b": []}})


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a checkpoint of a tiny run that was stopped in its second random start."""
    folder = tmp_path_factory.mktemp("run")
    settings = Recipe(steps=4, starts=2, start_steps=2, batch=2, crops=(64,), texels=8, score_every=2)
    people = made_up(3)
    scorer = HeldOutPeople(people[:1], tiny_detector(imgsz=64), Placement("poster", scale=0.35))
    data = TrainData(people[1:], [tiny_gradient()], scorers={"street": scorer.score}, identity={"a": {"b": [1]}})
    ran(settings, data, folder=folder, steps=3)
    return folder


def fresh() -> Checkpoint:
    return Checkpoint([torch.zeros(3, 8, 8)], 1)


def refused(read: Callable[[], object]) -> bool:
    """Return whether reading ended in one short line; anything else but success fails the test."""
    try:
        read()
    except PhysadvError as error:
        assert "\n" not in str(error) and len(str(error)) < LONGEST
        return True
    return False


def test_no_damage_to_a_checkpoint_is_more_than_a_line(saved: Path, tmp_path: Path) -> None:
    whole = (saved / CHECKPOINT).read_bytes()
    with safe_open(saved / CHECKPOINT, framework="pt") as stream:
        plain = json.loads(stream.metadata()["physadv"])
        tensors = {k: stream.get_tensor(k) for k in stream.keys()}  # noqa: SIM118
    path = tmp_path / CHECKPOINT
    identity = {"a": {"b": [1]}}
    fresh().load(saved / CHECKPOINT, identity=identity)

    def files() -> Iterator[None]:
        for data in damaged(whole, 250, seed=7, words=NESTED):
            path.write_bytes(data)
            yield
        for table in mistyped(plain, 250, seed=7, others=OTHERS):
            save_file(tensors, path, {"physadv": json.dumps(table)})
            yield
        for name in tensors:
            for change in (torch.nan_to_num(tensors[name]) + float("nan"), tensors[name].double(), torch.zeros(2)):
                save_file({**tensors, name: change}, path, {"physadv": json.dumps(plain)})
                yield

    results = []
    for _ in files():
        results.append(refused(lambda: fresh().load(path, identity=identity)))
        Checkpoint.identity(path)
        stored_pace(tmp_path)
    assert len(results) >= 500 and sum(results) > 0.6 * len(results)
    assert all(results[-3 * len(tensors) :]), "a tensor of another shape or type, or that is no number, never goes on"


def test_no_damage_to_a_split_or_to_flags_is_more_than_a_line(tmp_path: Path) -> None:
    image = made_up(1)[0]
    found = Dataset([LabelledImage(f"{i}.png", image.pixels, image.boxes, image.keypoints) for i in range(4)])
    settings = Recipe()
    split(found, settings, tmp_path, resume=False)
    flags = {"images": ["photos"], "steps": 3, "out": str(tmp_path), "crops": [224], "world": {"a": [1]}}
    write_json(tmp_path / BEGUN, {k: v for k, v in flags.items() if k != "world"})
    assert as_begun(TrainVerb(resume=True, out=tmp_path)).images == ["photos"]
    seen = 0
    for name, read in (
        ("split.json", lambda: split(found, settings, tmp_path, resume=True)),
        (BEGUN, lambda: as_begun(TrainVerb(resume=True, out=tmp_path))),
    ):
        whole = (tmp_path / name).read_bytes()
        tables = (json.dumps(table).encode() for table in mistyped(json.loads(whole), 75, seed=8, others=OTHERS))
        for changed in chain(damaged(whole, 75, seed=8, words=NESTED), tables):
            (tmp_path / name).write_bytes(changed)
            seen += refused(read)
        (tmp_path / name).write_bytes(whole)
    assert seen > 100


def test_a_checkpoint_beyond_the_runs_end_is_damaged(saved: Path, tmp_path: Path) -> None:
    with safe_open(saved / CHECKPOINT, framework="pt") as stream:
        plain = json.loads(stream.metadata()["physadv"])
        tensors = {k: stream.get_tensor(k) for k in stream.keys()}  # noqa: SIM118
    save_file(tensors, tmp_path / CHECKPOINT, {"physadv": json.dumps({**plain, "step": 99})})
    settings = Recipe(steps=4, starts=2, start_steps=2, batch=2, crops=(64,), texels=8, score_every=2)
    data = TrainData(made_up(2), [tiny_gradient()], identity={"a": {"b": [1]}})
    with pytest.raises(TrainingError, match="it is at step 99 of 8"):
        ran(settings, data, folder=tmp_path, resume=True)
