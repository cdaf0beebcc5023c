"""The loop: it lowers the loss, repeats itself, resumes to the same bytes, and stops when something is wrong."""

import json
from collections.abc import Callable
from functools import reduce
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import tiny_detector, tiny_gradient

from physadv.attack import attack
from physadv.attack.checkpoint import ADDED, Checkpoint
from physadv.attack.crops import Batch
from physadv.attack.gradients import Batches, drawn, noise_of
from physadv.attack.losses import vanish
from physadv.attack.optimise import optimise, spread
from physadv.attack.parallel import Processes
from physadv.attack.recipe import Recipe
from physadv.attack.run import CHECKPOINT, TrainData, TrainRun, as_patch, new_pattern
from physadv.attack.score import HeldOutPeople, Score
from physadv.dataset import LabelledImage
from physadv.defend import parse_pipeline
from physadv.detect.gradients import WrappedGradient
from physadv.errors import TrainingError
from physadv.files import atomic_write
from physadv.patch import Patch, load_patch
from physadv.simulate.ink import Ink, InkDraw
from physadv.simulate.light import Light, LightDraw
from physadv.simulate.placement import Placement
from physadv.simulate.world import World, WorldDraw
from physadv.types import Candidates, GradientDetector
from tests.attack.running import ran


def data(people: list[LabelledImage], **more: object) -> TrainData:
    scorer = HeldOutPeople(people[:2], tiny_detector(imgsz=64), Placement("poster", scale=0.35))
    return TrainData(people[2:], [tiny_gradient()], scorers={"street": scorer.score}, **more)  # type: ignore[arg-type]


def test_the_loss_falls(people: list[LabelledImage], small: Recipe) -> None:
    longer = small.model_copy(update={"steps": 40, "world": World.of(0.2), "tv": 0.0, "nps": 0.0})
    losses = [progress.loss for progress in optimise(TrainRun(longer, TrainData(people, [tiny_gradient()])))]
    assert np.mean(losses[-8:]) < np.mean(losses[:8]) - 0.02


def test_a_spread_gradient_keeps_its_sum_and_goes_on_across_a_seam() -> None:
    point = torch.zeros(3, 32, 32)
    point[:, 0, 16] = 1.0
    tiled, plain = spread(point, 2.0, tiles=True), spread(point, 2.0, tiles=False)
    assert float(tiled.sum()) == pytest.approx(3.0, rel=1e-4)
    assert float(tiled[0, -1, 16]) == pytest.approx(float(tiled[0, 1, 16]), rel=1e-4)
    assert float(plain[0, -1, 16]) == 0
    assert torch.equal(spread(point, 0.1, tiles=True), point)


def test_noise_is_on_colours_alone_new_in_each_step_and_gone_at_the_end(people: list[LabelledImage]) -> None:
    settings = Recipe(steps=100, texels=8, noise=0.2)
    pattern = new_pattern(settings, TrainData(people, []))
    first, again, second, late = (noise_of(settings, pattern, at, 0) for at in (0, 0, 1, 60))
    assert float(first[:3].std()) == pytest.approx(0.2, rel=0.2)
    assert float(late[:3].std()) == pytest.approx(0.05, rel=0.3)
    assert not first[3].any()
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not noise_of(settings, pattern, 85, 0).any()
    assert not noise_of(settings.model_copy(update={"noise": 0.0}), pattern, 0, 0).any()


@pytest.mark.parametrize(
    ("target", "framing", "size_mm", "texels", "noise"),
    [
        ("chest", "street", None, 48, 0.15),
        ("chest", "webcam", None, 64, 0.0),
        ("tshirt", "webcam", None, 32, 0.15),
        ("tshirt", "street", (400.0, 400.0), 64, 0.15),
    ],
)
def test_texels_and_noise_follow_what_is_trained_and_where(
    target: str, framing: str, size_mm: tuple[float, float] | None, texels: int, noise: float
) -> None:
    settings = Recipe.model_validate({"target": target, "framing": framing, "size_mm": size_mm})
    assert (settings.texels, settings.noise) == (texels, noise)
    assert Recipe.model_validate({"framing": framing, "noise": 0.3}).noise == 0.3


def test_people_trained_on_help_to_choose_and_are_not_reported(people: list[LabelledImage], small: Recipe) -> None:
    def scores(recalls: list[float], n: int) -> Callable[[Patch], Score]:
        rest = iter(recalls)
        return lambda _: Score(1, n, next(rest), 0.0, 0.0, 0.0, 0.0, 1.0)

    settings = small.model_copy(update={"steps": 6, "score_every": 2})
    held_out = {"street": scores([0.9, 0.5, 0.6], 10)}
    alone = ran(settings, TrainData(people, [tiny_gradient()], scorers=held_out))
    assert (alone.checkpoint.best_step, alone.patch().record["held_out"]["street"]["recall25"]) == (4, 0.5)
    held_out = {"street": scores([0.9, 0.5, 0.6], 10)}
    helped = ran(settings, TrainData(people, [tiny_gradient()], scorers=held_out, also=[scores([0.9, 0.6, 0.5], 30)]))
    chosen = helped.patch().record["held_out"]
    assert (helped.checkpoint.best_step, chosen["street"]["recall25"]) == (6, 0.6)
    assert list(chosen) == ["street"]


def test_the_same_seed_gives_the_same_bytes(people: list[LabelledImage], small: Recipe, tmp_path: Path) -> None:
    for name in ("a", "b"):
        ran(small, data(people), folder=tmp_path / name)
    ran(small.model_copy(update={"seed": 4}), data(people), folder=tmp_path / "c")
    files = [(tmp_path / n / "patch.safetensors").read_bytes() for n in "abc"]
    assert files[0] == files[1]
    assert files[0] != files[2]


@pytest.mark.parametrize(
    "change", [{}, {"starts": 3, "start_steps": 3}, {"pyramid": True}], ids=["plain", "starts", "pyramid"]
)
def test_a_run_stopped_and_resumed_ends_in_the_same_bytes(
    people: list[LabelledImage], small: Recipe, tmp_path: Path, change: dict[str, object]
) -> None:
    settings = small.model_copy(update=change)
    whole = ran(settings, data(people), folder=tmp_path / "whole").patch()
    for stop_after in (3, 5, 6):
        folder = tmp_path / f"stopped-{stop_after}"
        stopped = ran(settings, data(people), folder=folder, steps=stop_after)
        assert stopped.checkpoint.step == stop_after
        resumed = ran(settings, data(people), folder=folder, resume=True)
        assert resumed.patch().sha256 == whole.sha256
        assert resumed.patch().record == whole.record
        assert resumed.checkpoint.step == settings.total_steps
        ends = [(tmp_path / name / CHECKPOINT).read_bytes() for name in ("whole", folder.name)]
        assert ends[0] == ends[1], "what the optimiser holds is the same, too"


@pytest.mark.parametrize("defence", ["noise,resize-pad", "probes", "consistency", "objectseeker"])
def test_a_run_through_a_random_defence_resumes_to_the_same_bytes(
    people: list[LabelledImage], small: Recipe, tmp_path: Path, defence: str
) -> None:
    settings = small.model_copy(update={"steps": 4, "batch": 2, "worst_of": 2})

    def through() -> TrainData:
        return TrainData(people, [parse_pipeline(defence).twin(tiny_gradient())])

    whole = ran(settings, through()).patch()
    ran(settings, through(), folder=tmp_path, steps=2)
    resumed = ran(settings, through(), folder=tmp_path, resume=True).patch()
    assert resumed.sha256 == whole.sha256


class Strict(WrappedGradient):
    """A detector of stride 64, as P6 models are."""

    def __init__(self) -> None:
        super().__init__(tiny_gradient())
        self.stride = 64
        self.seen: list[int] = []

    def candidates(self, images: torch.Tensor) -> Candidates:
        self.seen.append(images.shape[-1])
        assert not any(side % 64 for side in images.shape[2:])
        return self.inner.candidates(images)


@pytest.mark.parametrize("through", ["none", "rotate", "vote"])
def test_views_are_as_large_as_every_detector_takes_them(
    people: list[LabelledImage], small: Recipe, through: str
) -> None:
    strict = Strict()
    settings = small.model_copy(update={"steps": 3, "batch": 2, "crops": (96, 64), "warm": 0.0})
    ran(settings, TrainData(people, [tiny_gradient(), parse_pipeline(through).twin(strict)]))
    assert min(strict.seen) == 64 and 128 in strict.seen


def test_what_is_kept_is_what_was_scored(people: list[LabelledImage], small: Recipe, tmp_path: Path) -> None:
    run = ran(small, data(people), folder=tmp_path)
    at = run.checkpoint
    saved = load_patch(tmp_path / "patch.safetensors")
    assert saved.sha256 == run.patch().sha256
    assert run.data.scorers["street"](saved).plain() == at.best_score["street"]
    assert min(h["badness"] for h in at.history) == round(at.best_badness, 4)


def test_resuming_with_other_settings_names_them(people: list[LabelledImage], small: Recipe, tmp_path: Path) -> None:
    ran(small, data(people, identity={"settings": small.model_dump(mode="json")}), folder=tmp_path)
    other = small.model_copy(update={"lr": 0.01})
    with pytest.raises(TrainingError, match=r"settings\.lr: was 0\.05, now 0\.01"):
        ran(other, data(people, identity={"settings": other.model_dump(mode="json")}), folder=tmp_path, resume=True)


def test_a_run_goes_on_that_began_before_a_setting_was_there(
    people: list[LabelledImage], small: Recipe, tmp_path: Path
) -> None:
    before = small.model_dump(mode="json")
    for place, value in ADDED.items():
        *path, name = place.split(".")[1:]
        assert reduce(dict.__getitem__, path, before).pop(name) == value, "as a run does that says nothing of it"
    ran(small, data(people, identity={"settings": before}), folder=tmp_path, steps=2)
    now = data(people, identity={"settings": small.model_dump(mode="json")})
    assert ran(small, now, folder=tmp_path, resume=True, steps=1).checkpoint.step == 3
    other = small.model_copy(update={"large": 0.5})
    with pytest.raises(TrainingError, match=r"settings\.large: was 0\.0, now 0\.5"):
        ran(other, data(people, identity={"settings": other.model_dump(mode="json")}), folder=tmp_path, resume=True)


def test_a_damaged_checkpoint_is_refused(people: list[LabelledImage], small: Recipe, tmp_path: Path) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"\0" * 40)
    with pytest.raises(TrainingError, match="not a checkpoint"):
        ran(small, data(people), folder=tmp_path, resume=True)


class BrokenLight(Light):
    """Light that divides by nothing."""

    def apply(self, images: torch.Tensor, params: LightDraw) -> torch.Tensor:
        return images / 0.0


class BrokenInk(Ink):
    """Ink whose values are right and whose gradient is none."""

    def apply(self, images: torch.Tensor, params: InkDraw) -> torch.Tensor:
        return images + 0 * (images - images.detach()).sqrt()


@pytest.mark.parametrize(("part", "broken"), [("light", BrokenLight()), ("ink", BrokenInk())])
def test_a_loss_that_is_no_number_names_the_transform_and_keeps_the_last_good(
    people: list[LabelledImage], small: Recipe, tmp_path: Path, part: str, broken: Light | Ink
) -> None:
    ran(small, data(people), folder=tmp_path)
    kept = (tmp_path / "patch.safetensors").read_bytes(), (tmp_path / CHECKPOINT).read_bytes()
    bad = small.model_copy(update={"steps": 12, "world": small.world.model_copy(update={part: broken})})
    with pytest.raises(TrainingError, match=f"no number; first at {part}"):
        ran(bad, data(people), folder=tmp_path)
    assert kept == ((tmp_path / "patch.safetensors").read_bytes(), (tmp_path / CHECKPOINT).read_bytes())


class Drifting(WrappedGradient):
    """A detector whose weights change while it is attacked."""

    def __init__(self) -> None:
        tiny = tiny_gradient()
        super().__init__(tiny)
        self.net = tiny.net

    def candidates(self, images: torch.Tensor) -> Candidates:
        with torch.no_grad():
            next(iter(self.net.parameters())).add_(1e-3)
        return self.inner.candidates(images)


def test_a_victim_that_changes_is_an_error(people: list[LabelledImage], small: Recipe) -> None:
    with pytest.raises(TrainingError, match="weights or buffers changed"):
        ran(small, TrainData(people, [Drifting()]))


def test_no_people_is_an_error(small: Recipe) -> None:
    with pytest.raises(TrainingError, match="people"):
        ran(small, TrainData([], [tiny_gradient()]))


def test_a_full_disk_keeps_the_last_checkpoint(
    people: list[LabelledImage], small: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = atomic_write, [0]

    def full(path: Path) -> object:
        calls[0] += 1
        if calls[0] > 2:
            raise OSError(28, "No space left on device", str(path))
        return real(path)

    monkeypatch.setattr("physadv.attack.checkpoint.atomic_write", full)
    with pytest.raises(OSError, match="No space left"):
        ran(small, data(people), folder=tmp_path)
    monkeypatch.undo()
    assert ran(small, data(people), folder=tmp_path, resume=True).checkpoint.step == small.steps


def test_processes_share_the_parts_of_a_batch() -> None:
    assert Processes(0, 2).shards(2) == [0]
    assert Processes(1, 2).shards(2) == [1]
    assert Processes().shards(2) == [0, 1]


class Surer(WrappedGradient):
    """A detector that is by some logits surer of everybody."""

    def __init__(self, by: float) -> None:
        super().__init__(tiny_gradient())
        self.by, self.name = by, f"surer by {by}"

    def candidates(self, images: torch.Tensor) -> Candidates:
        found = self.inner.candidates(images)
        return Candidates(found.logit + self.by, found.xyxy)


def test_of_several_detectors_the_hardest_counts_alone_or_more_or_all_alike(
    people: list[LabelledImage], small: Recipe
) -> None:
    def trained(mix: str, *detectors: GradientDetector, parts: int = 1) -> tuple[Patch, Checkpoint, list[float]]:
        settings = small.model_copy(update={"mix": mix, "steps": 4, "batch": 4, "accumulate": parts, "tv": 0, "nps": 0})
        run = ran(settings, TrainData(people, detectors))
        return run.patch(), run.checkpoint, run.checkpoint.losses

    hard, easy = tiny_gradient(), Surer(-4)
    alone, _, losses = trained("mean", hard)
    _, _, low = trained("mean", easy)
    # The parts of a batch have other hardest detectors; the batch has one.
    for parts in (1, 2):
        of_one = trained("mean", hard, parts=parts)[0]
        assert trained("max", easy, hard, parts=parts)[0].sha256 == of_one.sha256
    _, _, both = trained("mean", hard, easy)
    assert both[0] == pytest.approx((losses[0] + low[0]) / 2, rel=1e-4)
    assert trained("mean", hard, easy)[0].sha256 != alone.sha256
    _, state, _ = trained("minmax", hard, easy)
    assert float(state.mixing.exp().sum()) == pytest.approx(1, abs=1e-4)
    assert float(state.mixing[0]) > float(state.mixing[1])


def test_the_draw_that_hurts_the_pattern_most_is_taken_for_each_view(
    people: list[LabelledImage], small: Recipe
) -> None:
    settings = small.model_copy(update={"worst_of": 4, "batch": 6, "world": World.of(2.0)})
    run = TrainRun(settings, TrainData(people, [tiny_gradient()]))
    pattern, batches = run.pattern, Batches(settings, run.data)

    def harm(batch: Batch, draw: WorldDraw) -> torch.Tensor:
        images = settings.world.apply(pattern.rgba(), batch.images, batch.prints, draw)
        loss = vanish(run.data.detectors[0].candidates(images), batch.owner, batch.boxes, margin=settings.margin)
        return torch.zeros(len(images)).index_add(0, batch.owner, loss)

    with torch.no_grad():
        batch, worst = drawn(run, batches, 0, 1)
        _, draws = batches.of(0, 0, 1)
        each = torch.stack([harm(batch, d) for d in draws])
        torch.testing.assert_close(harm(batch, worst), each.max(0).values)
    assert len(set(each.argmax(0).tolist())) > 1


KINDS = [{"worst_of": 3}, {"goal": "missize"}, {"target": "tshirt"}, {"target": "poster"}, {"framing": "webcam"}]


@pytest.mark.parametrize("change", [*KINDS, {"framing": "mixed"}, {"smooth": 0.1}])
def test_every_kind_of_run_moves_the_pattern(
    people: list[LabelledImage], small: Recipe, change: dict[str, object]
) -> None:
    settings = small.model_copy(update={**change, "steps": 3})
    run = ran(settings, TrainData(people, [tiny_gradient()]))
    before = as_patch(settings, run.data, new_pattern(settings, run.data).colours().detach())
    assert run.patch().sha256 != before.sha256


def test_a_palette_is_kept_to(people: list[LabelledImage], small: Recipe) -> None:
    palette = torch.tensor([[0.1, 0.1, 0.1], [0.9, 0.2, 0.2], [0.9, 0.9, 0.9]])
    patch = ran(small, TrainData(people, [tiny_gradient()], palette=palette)).patch()
    used = np.unique(patch.pixels.reshape(-1, 3), axis=0) / 255
    distance = np.abs(used[:, None] - palette.numpy()[None]).max(2).min(1)
    assert distance.max() <= 1 / 255


def test_a_look_pulls_the_pattern(people: list[LabelledImage], small: Recipe) -> None:
    red = torch.tensor([0.9, 0.1, 0.1]).view(3, 1, 1).expand(3, 16, 16)
    settings = small.model_copy(update={"look_weight": 50.0, "steps": 30})
    patch = ran(settings, TrainData(people, [tiny_gradient()], look=red)).patch()
    mean = patch.pixels.reshape(-1, 3).mean(0) / 255
    assert mean[0] > 0.65
    assert mean[1] < 0.35


def test_a_texture_tiles_without_a_seam(people: list[LabelledImage], small: Recipe) -> None:
    settings = small.model_copy(update={"target": "tshirt", "steps": 20, "tv": 0.5})
    patch = ran(settings, TrainData(people, [tiny_gradient()])).patch()
    pixels = patch.pixels.astype(float)
    across = np.abs(pixels[:, 0] - pixels[:, -1]).mean()
    within = np.abs(np.diff(pixels, axis=1)).mean()
    assert across < 1.6 * within


def test_attack_takes_images_and_boxes(people: list[LabelledImage], small: Recipe) -> None:
    patch = attack(
        tiny_gradient(), [p.pixels for p in people], [p.boxes for p in people], recipe=small, steps=4, seed=9
    )
    assert patch.record["steps"] == 4
    assert patch.record["seed"] == 9
    json.dumps(patch.record)
