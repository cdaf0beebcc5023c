"""What is lowered and what is counted: losses, average precision, strict success, and the views both rest on."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from bench_train import in_proportion
from tiny import tiny_detector, tiny_gradient

from physadv.attack import data as module
from physadv.attack.crops import LARGE_SHARE, CropSampler, PlacementRange
from physadv.attack.losses import (
    concerned,
    curvature,
    likeness,
    missize,
    non_printability,
    overlap,
    total_variation,
    vanish,
)
from physadv.attack.pattern import enlarge, mask_from, nearest, pick_palette
from physadv.attack.preview import contact_sheet
from physadv.attack.recipe import Recipe
from physadv.attack.score import HeldOutPeople, Score
from physadv.attack.settings import PRESETS, Preset, TrainSettings, preset
from physadv.attack.timing import made_up
from physadv.dataset import LabelledImage
from physadv.detect.gradients import joined
from physadv.detect.weights import DEFAULT_DETECTOR
from physadv.errors import DataError, PhysadvError
from physadv.patch import Patch, load_patch
from physadv.simulate.conditions import apply_patch
from physadv.simulate.garment import FRONT_CM, SLEEVE_CM
from physadv.simulate.placement import Placement, people_of
from physadv.simulate.world import World
from physadv.types import Candidates, Detections, Frame, UInt8Array
from tests.detectors import FakeDetector

BOX = torch.tensor([[10.0, 10, 50, 90]])


def candidates(*rows: tuple[float, float, float, float, float]) -> Candidates:
    """Candidates of one image as (logit, x0, y0, x1, y1)."""
    table = torch.tensor(rows, dtype=torch.float32)
    return Candidates(table[None, :, 0].clone().requires_grad_(), table[None, :, 1:].clone().requires_grad_())


def test_candidates_within_a_person_concern_it_and_strangers_do_not() -> None:
    boxes = torch.tensor([[[10.0, 10, 50, 90], [20, 30, 35, 50], [200, 10, 240, 90], [0, 0, 300, 300]]])
    assert concerned(BOX, boxes).tolist() == [[True, True, False, False]]
    assert abs(float(overlap(BOX, boxes)[0, 0]) - 1) < 1e-6


def test_vanish_looks_at_the_persons_own_candidates_alone() -> None:
    seen = candidates((2, 10, 10, 50, 90), (9, 200, 10, 240, 90))
    loss = vanish(seen, torch.tensor([0]), BOX)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert seen.logit.grad is not None
    assert seen.logit.grad[0, 0] > 0
    assert seen.logit.grad[0, 1] == 0
    hidden = vanish(candidates((-6, 10, 10, 50, 90)), torch.tensor([0]), BOX)
    assert float(hidden.detach()) < 0.1 < 1 < float(loss.detach())


def test_vanish_leaves_the_gradient_to_those_who_are_still_seen() -> None:
    rows = candidates((3, 10, 10, 50, 90)), candidates((-4, 10, 10, 50, 90)), candidates((3, 25, 40, 33, 50))
    pull = []
    for seen in rows:
        vanish(seen, torch.tensor([0]), BOX).sum().backward()  # type: ignore[no-untyped-call]
        assert seen.logit.grad is not None
        pull.append(float(seen.logit.grad[0, 0]))
    found, hidden, scrap = pull
    assert found > 100 * hidden > 0
    # A box on a scrap of a person is pushed down as well, but the box around the person costs more.
    assert scrap > 0.5
    losses = [float(vanish(seen, torch.tensor([0]), BOX).detach()) for seen in rows]
    assert losses[0] > losses[2] + 1
    whole = vanish(rows[2], torch.tensor([0]), BOX, alone=torch.tensor([True]))
    assert float(whole.detach()) == pytest.approx(losses[0], abs=1e-4)
    # To a print that covers most of the body every box counts whole.
    losses = [float(vanish(seen, torch.tensor([0]), BOX, parts=1.0).detach()) for seen in rows]
    assert losses[2] == pytest.approx(losses[0], abs=1e-4)


def test_vanish_lowers_every_box_that_shows_a_person_where_parts_count() -> None:
    head, legs = (1.0, 10, 10, 50, 30), (-1.5, 12, 50, 48, 90)

    def least(parts: float) -> float:
        seen = candidates((4, 10, 10, 50, 90), head, legs)
        vanish(seen, torch.tensor([0]), BOX, parts=parts).sum().backward()  # type: ignore[no-untyped-call]
        assert seen.logit.grad is not None
        return float(seen.logit.grad.min())

    assert least(1.0) > 0.2 > 0.05 > least(0.0)


@pytest.mark.parametrize("goal", [vanish, missize])
def test_a_head_that_is_quieter_than_the_other_is_trained_against_too(goal: Callable[..., torch.Tensor]) -> None:
    used = (0.5, 10, 10, 50, 90)
    seen = candidates(used, *[(3, 10, 10, 50, 90)] * 20)
    seen = replace(seen, head=torch.tensor([0] + [1] * 20))
    goal(seen, torch.tensor([0]), BOX).sum().backward()  # type: ignore[no-untyped-call]
    assert seen.logit.grad is not None
    assert seen.logit.grad[0, 0] > 0.05


def test_candidates_of_several_looks_keep_their_heads() -> None:
    two = replace(candidates((1, 0, 0, 9, 9), (2, 0, 0, 9, 9)), head=torch.tensor([0, 1]))
    both = joined([two, candidates((3, 0, 0, 9, 9))])
    assert both.head is not None
    assert both.head.tolist() == [0, 1, 0]
    assert joined([candidates((3, 0, 0, 9, 9))] * 2).head is None


def test_missize_is_content_once_no_box_fits() -> None:
    fits = missize(candidates((2, 10, 10, 50, 90)), torch.tensor([0]), BOX)
    off = missize(candidates((2, 10, 10, 30, 40)), torch.tensor([0]), BOX)
    assert float(fits.detach()) > 0.3
    assert float(off.detach()) == 0


class Says(FakeDetector):
    """A detector that answers with the boxes it was given."""

    name, min_conf = "says", 0.001

    def __init__(self, *answers: Detections) -> None:
        self.answers = list(answers)

    def detect(self, frame: Frame) -> Detections:
        return self.answers.pop(0)

    def detect_batch(self, images: Sequence[UInt8Array]) -> list[Detections]:
        return [self.answers.pop(0) for _ in images]


def answer(*rows: tuple[float, float, float, float, float]) -> Detections:
    table = np.array(rows, np.float32).reshape(-1, 5)
    return Detections(table[:, 1:], table[:, 0])


def grey() -> Patch:
    """A plain grey square."""
    return Patch("grey", np.full((64, 64, 3), 128, np.uint8), np.full((64, 64), 255, np.uint8), (360.0, 360.0))


def test_patterns_are_compared_by_what_they_are_trained_for() -> None:
    """A pattern that makes boxes misfit shows everybody, and is the better one if that is the goal."""
    hidden = Score(4, 9, 0.3, ap50=0.4, asr_strict25=0.7, mean_max_conf=0.2, mean_max_conf_within=0.2, hidden25=0.7)
    misfit = Score(4, 9, 0.1, ap50=0.1, asr_strict25=0.0, mean_max_conf=0.9, mean_max_conf_within=0.9, hidden25=0.0)
    assert hidden.badness("vanish") < misfit.badness("vanish")
    assert misfit.badness("missize") < hidden.badness("missize")


def test_a_score_counts_strictly_and_ignores_the_small() -> None:
    boxes = np.array([[10, 10, 60, 110], [100, 10, 150, 110], [180, 10, 184, 16]], np.float32)
    image = LabelledImage("a", np.zeros((120, 200, 3), np.uint8), boxes, np.zeros((3, 17, 3), np.float32))
    clean = answer((0.9, 10, 10, 60, 110), (0.8, 100, 10, 150, 110), (0.7, 180, 10, 184, 16))
    # One is gone, of the other a box of the wrong size stays; the small one's box counts for nothing.
    worn = answer((0.6, 100, 10, 150, 40), (0.7, 180, 10, 184, 16))
    scorer = HeldOutPeople([image], Says(clean, worn), Placement("poster", scale=0.35))
    before, after = scorer.score(None), scorer.score(grey())
    assert (before.n_people, before.recall25, before.ap50, before.asr_strict25) == (2, 1.0, 1.0, 0.0)
    assert (after.recall25, after.ap50, after.asr_strict25) == (0.0, 0.0, 0.5)
    assert after.hidden25 == 0.5


def test_a_box_within_a_person_counts_against_a_pattern() -> None:
    boxes = np.array([[10, 10, 60, 110]], np.float32)
    image = LabelledImage("a", np.zeros((120, 200, 3), np.uint8), boxes, np.zeros((1, 17, 3), np.float32))
    clean, head = answer((0.9, 10, 10, 60, 110)), answer((0.6, 30, 12, 45, 30))
    scorer = HeldOutPeople([image], Says(clean, head, answer()), Placement("poster", scale=0.35))
    part, nothing = scorer.score(grey()), scorer.score(grey())
    assert (part.asr_strict25, part.mean_max_conf) == (1.0, 0.0), "too small a box to say so by IoU"
    assert part.mean_max_conf_within == pytest.approx(0.6) and part.hidden25 == 0.0
    assert nothing.hidden25 == 1.0 and nothing.badness() == 0.0 < part.badness()


def test_images_of_small_people_are_scored_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "load_detector", lambda *_, **__: tiny_detector(imgsz=64))
    images = made_up(4)
    far = [replace(p, name=f"far {p.name}", boxes=p.boxes * 0.05) for p in made_up(2)]
    (scorer,) = module.scorers_of(Recipe(), [DEFAULT_DETECTOR], [*far, *images]).values()
    assert [p.name for p in scorer.images] == ["0", "1", "2", "3", "far 0", "far 1"] and scorer.people == 4
    monkeypatch.setattr(module, "SCORED_AT_MOST", 2)
    (scorer,) = module.scorers_of(Recipe(), [DEFAULT_DETECTOR], [*far, *images]).values()
    assert [p.name for p in scorer.images] == ["0", "3", "far 0"]
    assert module.scorers_of(Recipe(), [DEFAULT_DETECTOR], far) == {}


def test_wearing_covers_the_rule_and_leaves_the_rest() -> None:
    boxes = np.array([[20, 20, 80, 180]], np.float32)
    image = LabelledImage("a", np.zeros((200, 200, 3), np.uint8), boxes, np.zeros((1, 17, 3), np.float32))
    out = apply_patch(
        image.pixels, people_of(image.targets), grey(), Placement("poster", scale=0.35), rng=None, imgsz=416
    )
    side = 0.35 * np.sqrt(60 * 160)
    assert abs((out[..., 0] > 64).sum() - side**2) < 2 * side
    rows = np.flatnonzero((out[..., 0] > 64).any(1))
    assert abs(rows.mean() - (20 + 0.42 * 160)) < 1


def test_views_depend_on_the_generator_alone_and_everyone_wears_the_pattern(people: list[LabelledImage]) -> None:
    views = CropSampler(people, framing="mixed", placements=PlacementRange())
    one, again = (views.batch(6, 96, np.random.default_rng(5)) for _ in range(2))
    assert torch.equal(one.images, again.images)
    assert np.array_equal(one.prints.quads, again.prints.quads)
    assert len(one.prints) == len(one.boxes)
    assert one.images.is_contiguous(memory_format=torch.channels_last)
    assert float(one.boxes.min()) >= 0
    assert float(one.boxes.max()) <= 96


@pytest.mark.parametrize("size", [128, 320])
def test_a_box_lies_where_its_person_does_mirrored_and_at_every_size(size: int) -> None:
    pixels = np.zeros((400, 400, 3), np.uint8)
    pixels[120:280, 150:230] = 255
    box = np.array([[150, 120, 230, 280]], np.float32)
    views = CropSampler([LabelledImage("p", pixels, box)], framing="street", placements=PlacementRange())
    places = (np.arange(size) + 0.5)[:, None]
    for seed in range(12):
        drawn = views.batch(1, size, np.random.default_rng(seed))
        bright = drawn.images[0].amax(0).numpy() > 0.5
        person = np.concatenate([bright.any(0) @ places, bright.any(1) @ places])
        middle = person / [bright.any(0).sum(), bright.any(1).sum()]
        x0, y0, x1, y1 = drawn.boxes[0].numpy()
        assert middle == pytest.approx([(x0 + x1) / 2, (y0 + y1) / 2], abs=0.6)


def test_webcam_views_show_larger_people(people: list[LabelledImage]) -> None:
    def side(framing: str) -> float:
        views = CropSampler(people, framing=framing, placements=PlacementRange())  # type: ignore[arg-type]
        boxes = views.batch(40, 128, np.random.default_rng(0)).boxes
        return float((boxes[:, 2:] - boxes[:, :2]).prod(1).sqrt().mean())

    assert side("webcam") > 1.3 * side("street")


@pytest.mark.parametrize(("large", "least", "most"), [(0.0, 0.2, 0.45), (0.7, 0.6, 0.8), (1.0, 1.0, 1.0)])
def test_as_many_views_as_asked_for_show_somebody_large(large: float, least: float, most: float) -> None:
    pixels, box = np.zeros((800, 800, 3), np.uint8), np.array([[300, 300, 500, 500]], np.float32)
    views = CropSampler([LabelledImage("p", pixels, box)], framing="street", placements=PlacementRange(), large=large)
    rng = np.random.default_rng(0)
    # A square box of 200 pixels: the view ends where its person's share says.
    shares = [200 * views._frame(views.images[0], 0, False, 224, rng)[0] / 224 for _ in range(200)]
    assert least <= np.mean(np.array(shares) >= LARGE_SHARE - 1e-6) <= most


def test_a_shirt_has_a_front_and_sleeves_of_cloth_that_is_as_fine_on_a_body_turned_away() -> None:
    person = made_up(1)[0]
    shirt = Placement("tshirt", size_cm=(40.0, 20.0))
    prints = shirt.prints(people_of(person.boxes, person.keypoints), np.random.default_rng(0))
    assert prints.person.tolist() == [0] * len(prints) and len(prints) > 1
    sizes = np.array([FRONT_CM] + [SLEEVE_CM] * (len(prints) - 1), np.float32)
    # A texture's scale is centimetres of cloth, never the width at which a turned torso happens to be seen.
    np.testing.assert_allclose(prints.window[:, 2:], sizes / (40.0, 20.0))
    bare = shirt.prints(people_of(person.boxes, np.zeros((1, 17, 3), np.float32)))
    assert len(bare) == 1, "without keypoints there is a front by the box, and no sleeve"


def test_priors_are_small_where_they_should_be() -> None:
    flat = torch.full((3, 8, 8), 0.5)
    board = (torch.arange(8)[:, None] + torch.arange(8)[None]).remainder(2).float().expand(3, 8, 8)
    for tiles in (False, True):
        assert float(total_variation(flat, tiles=tiles)) == 0 < float(total_variation(board, tiles=tiles))
        assert float(curvature(flat, tiles=tiles)) == 0 < float(curvature(board, tiles=tiles))
    palette = torch.tensor([[0.5, 0.5, 0.5], [1.0, 0, 0]])
    assert float(non_printability(flat, palette)) < 0.01 < float(non_printability(board, palette))
    assert float(likeness(flat, flat, torch.ones(1, 8, 8))) == 0


def test_patterns_enlarge_over_the_seam_and_find_their_colours() -> None:
    texels = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    big = enlarge(texels, 4, tiles=True)
    moved = enlarge(texels.roll((3, 2), (1, 2)), 4, tiles=True)
    assert torch.allclose(big.roll((12, 8), (1, 2)), moved, atol=1e-5)
    palette = pick_palette(3, torch.rand(20, 3, generator=torch.Generator().manual_seed(1)), None)
    assert torch.unique(nearest(texels, palette).flatten(1).T, dim=0).shape[0] <= 3
    with pytest.raises(DataError, match="white area"):
        mask_from(
            np.dstack([np.zeros((8, 8, 3), np.uint8), np.full((8, 8), 255, np.uint8)]), (8, 8), aspect=1, name="mask"
        )


def test_a_sheet_shows_views_and_every_transform(people: list[LabelledImage]) -> None:
    patch = Patch("p", np.full((32, 32, 3), 200, np.uint8), np.full((32, 32), 255, np.uint8), (360.0, 360.0))
    sheet = contact_sheet(
        patch, people, world=World.of(0.5), framing="mixed", placements=PlacementRange(), columns=3, rows=2, size=64,
        detector=tiny_gradient(),
    )  # fmt: skip
    assert sheet.shape[1] == 3 * 68
    assert sheet.shape[0] == 2 * 68 + 6 * (68 + 18)
    with pytest.raises(DataError):
        contact_sheet(patch, [], world=World.of(0), framing="street", placements=PlacementRange())


def test_presets_and_placings() -> None:
    steps = [Recipe(**PRESETS[p]).total_steps for p in ("quick", "standard", "strong")]
    assert steps == sorted(steps)
    assert {name: sizes for name, (_, sizes) in Recipe(framing="mixed").placements().items()} == {
        "street": (416,),
        "webcam": (320, 640),
    }
    same = Recipe()
    counts = [count * side**2 for count, side in map(same.views, range(same.steps - 6, same.steps))]
    assert max(counts) < 1.3 * min(counts), "steps cost the same whatever the size of their views"


@pytest.mark.parametrize(
    ("name", "total", "starts", "start_steps"),
    [("strong", 4240, 4, 60), ("strong", 1000, 1, None), ("quick", 90, 1, None)],
)
def test_a_run_that_is_given_minutes_has_that_many_steps_in_all(
    name: Preset, total: int, starts: int, start_steps: int | None
) -> None:
    paced = Recipe(**preset(name, "street")).paced(total)
    assert paced.total_steps == total
    assert (paced.starts, paced.start_steps if starts > 1 else None) == (starts, start_steps)
    assert total // paced.score_every <= 20


def test_a_print_is_trained_as_large_as_it_is_on_a_body() -> None:
    wear = Recipe().placement_range
    assert (*wear.street, *wear.webcam) == pytest.approx((0.30, 0.42, 0.4125, 0.54))
    assert Recipe(framing="webcam").placement_range.webcam == pytest.approx((0.55, 0.72))
    half = Recipe(size_mm=(180, 180))
    assert half.placement_range.street == pytest.approx((0.15, 0.21))
    assert half.placements()["street"][0].scale == pytest.approx(0.175)
    near = Recipe(framing="webcam", webcam_scale=0.45)
    assert near.print_size() == pytest.approx((332.3, 332.3))
    assert near.placements()["webcam"][0].scale == 0.45
    by_height = Recipe(rule="height", scale=0.2)
    assert by_height.print_size() == (340.0, 340.0)
    boxes = np.array([[0, 0, 60, 200]], np.float32)
    people = [LabelledImage("tall", np.zeros((300, 300, 3), np.uint8), boxes, np.zeros((1, 17, 3), np.float32))]
    views = CropSampler(people, framing="street", placements=by_height.placement_range)
    drawn = views.batch(1, 224, np.random.default_rng(0))
    height = float(drawn.boxes[0, 3] - drawn.boxes[0, 1])
    assert 0.2 * 0.85 < float(drawn.prints.quads[0, 1, 0] - drawn.prints.quads[0, 0, 0]) / height < 0.2 * 1.21


def test_a_portrait_is_as_large_and_where_it_is_scored_in_each_framing() -> None:
    street, webcam = (Recipe(target="portrait", framing=framing) for framing in ("street", "webcam"))
    ((placement, _),) = street.placements().values()
    assert (placement.target, placement.scale, placement.at) == ("poster", 0.495, 0.5)
    ((near, _),) = webcam.placements().values()
    assert (near.target, near.at, webcam.print_size()) == ("portrait", 0.5, (400.0, 600.0))
    assert near.scale == pytest.approx((400 * 600) ** 0.5 * 0.65 / 480, abs=1e-3)
    assert Recipe(target="portrait", scale=0.3).print_size() == pytest.approx((218.2, 436.4))
    wide = Recipe.of(TrainSettings(images=["a"], target="portrait", width_mm=300))
    assert wide.print_size() == (300.0, 600.0)
    for size, said in (
        ((720, 360), "expected .*higher than wide"),
        ((500, 1600), "a print 160 cm high is longer than"),
    ):
        asked = {"images": ["a"], "target": "portrait", "width_mm": size[0], "height_mm": size[1]}
        with pytest.raises(PhysadvError, match=f"height_mm: {said}"):
            Recipe.of(TrainSettings.model_validate(asked))
    for name, value in (("width_mm", 1000), ("scale", 2)):
        with pytest.raises(PhysadvError, match=f"^{name}: a print .* cm high is longer than a person of 170 cm"):
            Recipe.of(TrainSettings.model_validate({"images": ["a"], "target": "portrait", name: value}))


def test_a_preview_draws_what_the_pattern_was_trained_on() -> None:
    portrait, street = (Recipe.of_patch(load_patch(name)) for name in ("street-portrait", "street"))
    assert (portrait.framing, portrait.large, portrait.print_size()) == ("street", 0.3, (360.0, 720.0))
    assert (street.framing, street.large, street.placement_range.street) == ("street", 0.0, (0.3, 0.42))
    foreign = replace(load_patch("street"), record={}, size_mm=(480.0, 240.0))
    for patch in (foreign, replace(foreign, record={"settings": {"framing": "street", "large": 7}})):
        usual = Recipe.of_patch(patch)
        assert (usual.framing, usual.large, usual.print_size()) == ("mixed", 0.0, (480.0, 240.0))


def test_a_poster_is_scored_where_it_was_trained() -> None:
    poster, chest = (Recipe(target=target, framing="webcam") for target in ("poster", "chest"))
    assert (poster.placements()["webcam"][0].target, chest.placements()["webcam"][0].target) == ("poster", "chest")


def test_long_runs_see_people_as_large_as_their_framing_shows_them() -> None:
    assert Recipe(**preset("strong", "street")).crops[-1] == 416
    assert Recipe(**preset("strong", "webcam"), framing="webcam").crops[-1] == 448
    tall = Recipe(**preset("standard", "street", "portrait"), target="portrait")
    assert tall.crops[-1] == 416 and tall.large == 0.3


def test_a_timed_round_sees_every_size_as_often_as_the_preset_does() -> None:
    quick = Recipe(**preset("quick", "street"))
    short = in_proportion(quick)
    assert short.crops == (160, 160, 160, 224, 320)
    shapes = [short.views(step) for step in range(len(short.crops))]
    whole = Counter(quick.views(step) for step in range(quick.total_steps))
    for shape in whole:
        assert shapes.count(shape) / len(shapes) == pytest.approx(whole[shape] / quick.total_steps, abs=0.01)
