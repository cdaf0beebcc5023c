"""Several processes: the same pattern in each, every view once, one word on when to stop."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_gradient

from physadv.attack.parallel import Processes
from physadv.attack.recipe import Recipe
from physadv.attack.run import TrainData
from physadv.attack.settings import TrainSettings
from physadv.attack.training import paced
from physadv.dataset import LabelledImage
from physadv.detect.gradients import WrappedGradient
from physadv.types import Candidates
from tests.attack.running import ran

ROOT = Path(__file__).parents[2]
# Rank 0 alone scores, and here it likes the first random start best or the last, whatever its loss; rank 1 alone is asked
# to stop.
RUN = """
import sys, time
from pathlib import Path
import numpy as np
import torch
torch.set_num_threads(1)
from physadv.attack.optimise import optimise
from physadv.attack.parallel import Processes
from physadv.attack.run import TrainRun, TrainData
from physadv.attack.score import Score
from physadv.attack.recipe import Recipe
from physadv.attack.settings import TrainSettings
from physadv.attack.timing import made_up
from physadv.attack.training import paced
from tiny import tiny_gradient
folder = Path(sys.argv[1])
processes = Processes.join()
assert processes.local == processes.rank
settings = Recipe(steps=9, batch=3, crops=(64, 96), texels=16, starts=2, start_steps=3, warm=0.0)
if processes.first:
    time.sleep(1)
    (folder / "waited").touch()
processes.wait()
assert (folder / "waited").exists()
minutes = TrainSettings(minutes=0.1 if processes.first else 9.0, out=folder)
timed = paced(settings, minutes, [tiny_gradient()], processes=processes)
for best, sign in (("first", 1), ("last", -1)):
    asked = [0]
    def scorer(_):
        asked[0] += 1
        return Score(1, 1, sign * asked[0], 0.0, 0.0, 0.0, 0.0, 1.0)
    data = TrainData(made_up(6), [tiny_gradient()], scorers={"street": scorer} if processes.first else {})
    run = TrainRun(settings, data, processes=processes)
    for progress in optimise(run):
        if processes.any(processes.rank == 1 and progress.step == 11):
            break
    at = run.checkpoint
    name = f"{best}{processes.rank}.npz"
    np.savez(folder / name, mean=at.mean[0].numpy(), step=at.step, timed=timed.steps, losses=at.losses)
processes.leave()
"""


def torchrun(script: Path, *words: str) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", str(script), *words]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'scripts'}"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=120)
    assert done.returncode == 0, done.stderr


def test_processes_hold_the_same_pattern_after_random_starts_and_stop_together(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(RUN)
    torchrun(script, str(tmp_path))
    for best in ("first", "last"):
        zero, one = (np.load(tmp_path / f"{best}{rank}.npz") for rank in range(2))
        assert np.array_equal(zero["mean"], one["mean"])
        assert int(zero["step"]) == int(one["step"]) == 11
        assert int(zero["timed"]) == int(one["timed"])
        assert np.array_equal(zero["losses"], one["losses"])
    first, last = (np.load(tmp_path / f"{best}0.npz") for best in ("first", "last"))
    assert not np.array_equal(first["mean"], last["mean"]), "another start went on"


class Counting(WrappedGradient):
    """A detector that counts the images it is shown."""

    def __init__(self) -> None:
        super().__init__(tiny_gradient())
        self.shown = 0

    def candidates(self, images: torch.Tensor) -> Candidates:
        self.shown += len(images)
        return self.inner.candidates(images)


@pytest.mark.parametrize("accumulate", [1, 2, 3, 8])
def test_parts_hold_every_view_once(people: list[LabelledImage], small: Recipe, accumulate: int) -> None:
    settings = small.model_copy(update={"batch": 3, "steps": 2, "crops": (64,), "accumulate": accumulate})
    detector = Counting()
    ran(settings, TrainData(people, [detector]))
    assert detector.shown == 2 * 3


def test_the_mean_is_over_people_however_they_are_split(people: list[LabelledImage], small: Recipe) -> None:
    """A part of two people counts twice as much as a part of one."""
    from physadv.attack import gradients as module

    settings = small.model_copy(update={"batch": 3, "steps": 1, "crops": (64,), "accumulate": 2, "noise": 0.0})
    each: list[tuple[int, float]] = []
    real = module._part

    def watched(*args: object) -> object:
        out = real(*args)  # type: ignore[arg-type]
        each.append((out[0], float(out[1])))
        return out

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_part", watched)
        losses = ran(settings, TrainData(people, [tiny_gradient()])).checkpoint.losses
    assert len(each) == 2 and each[0][0] != each[1][0]
    assert losses[0] == pytest.approx(sum(loss for _, loss in each) / sum(count for count, _ in each))


def test_each_process_on_a_machine_has_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("physadv.attack.parallel.pick_device", lambda asked: "cuda" if asked == "auto" else asked)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [Processes(rank, 3, rank).device("auto") for rank in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert Processes().device("auto") == "cuda"
    assert Processes(1, 2, 1).device("cuda:0") == "cuda:0"
    assert Processes(1, 2, 1).device("cpu") == "cpu"


def test_one_process_agrees_with_itself(small: Recipe, tmp_path: Path) -> None:
    assert (Processes().agree(7), Processes().any(True), Processes().any(False)) == (7, True, False)
    Processes().wait()
    settings = small.model_copy(update={"batch": 1})
    asked = TrainSettings(minutes=0.05, out=tmp_path)
    assert paced(settings, asked, [tiny_gradient()], processes=Processes()).steps >= 1


def test_minutes_are_measured_once_and_steps_that_are_given_are_never_replaced(
    people: list[LabelledImage], small: Recipe, tmp_path: Path
) -> None:
    ran(
        small,
        TrainData(people, [tiny_gradient()], identity={"settings": small.model_dump(mode="json")}),
        folder=tmp_path,
    )
    other = small.model_copy(update={"steps": 99})
    again = TrainSettings(minutes=9, out=tmp_path, resume=True)
    assert paced(other, again, [], processes=Processes()).steps == small.steps
    assert paced(other, TrainSettings(out=tmp_path, resume=True), [], processes=Processes()).steps == 99
