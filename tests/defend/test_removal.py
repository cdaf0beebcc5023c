"""Locate and remove: what stands out is found, filled and said; what does not is left alone; twins agree."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny import BlobDetector, draw_person, tiny_detector, tiny_gradient

from physadv.arrays import read_image, to_image, to_tensor
from physadv.defend import parse_pipeline
from physadv.defend.blocks import SIDE, BlockNet, BlockTraining, _aside, _where, blocks_of, surprise_map, train_blocks
from physadv.defend.entropy import local_entropy
from physadv.defend.erase import PatternEraser
from physadv.defend.erase_training import scene
from physadv.defend.hostile import hostile_textures
from physadv.defend.learned import draw_weights, load_weights, save_weights
from physadv.defend.lgs import LocalGradientSmoothing
from physadv.defend.pixel_deflection import PixelDeflection, attention_map, denoised
from physadv.defend.removal import GIVEN_AWAY, Fill, RemovalDefence, filled, marks
from physadv.defend.textures import texture, varied
from physadv.defend.total_variation import TotalVariation, flattening
from physadv.defend.transforms import Noise, ResizePad
from physadv.errors import DefenceError, TrainingError
from physadv.types import Frame, UInt8Array

NOBODY = np.zeros((0, 4), np.float32)


def smooth(width: int = 320, height: int = 256) -> UInt8Array:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([80 + x // 8, 90 + y // 8, 120 - x // 16], -1).astype(np.uint8)


def with_noise(image: UInt8Array, xyxy: tuple[int, int, int, int], seed: int = 0) -> UInt8Array:
    x0, y0, x1, y1 = xyxy
    out = image.copy()
    out[y0:y1, x0:x1] = np.random.default_rng(seed).integers(0, 256, (y1 - y0, x1 - x0, 3))
    return out


class Known(RemovalDefence):
    """Marks a fixed square."""

    name = "known"
    title = "known"
    paper = "none"

    def locate(self, image: UInt8Array) -> UInt8Array:
        mask = np.zeros(image.shape[:2], np.uint8)
        mask[96:160, 128:192] = 255
        return mask


@pytest.mark.parametrize("how", ["inpaint", "mean", "blur", "grey"])
def test_fills_replace_what_is_masked_and_nothing_else(how: Fill) -> None:
    clean = smooth()
    spoilt = with_noise(clean, (128, 96, 192, 160))
    mask = Known().locate(spoilt)
    out = filled(spoilt, mask, how)
    assert np.array_equal(out[mask == 0], spoilt[mask == 0])
    error = np.abs(out[mask > 0].astype(int) - clean[mask > 0]).mean()
    assert error < {"inpaint": 6, "mean": 12, "blur": 60, "grey": 60}[how]


def test_removal_says_where_and_why() -> None:
    frame = Frame(with_noise(smooth(640, 512), (128, 96, 192, 160)), 0, 0, 0.0)
    out = Known(grow=0).guard(BlobDetector()).detect(frame)
    assert [a.kind for a in out.alerts] == ["removed"]
    assert out.alerts[0].xyxy == pytest.approx((128, 96, 192, 160), abs=1)
    assert "known removed a region" in out.alerts[0].text


def test_too_large_a_region_is_left_and_said() -> None:
    frame = Frame(smooth(), 0, 0, 0.0)
    out = Known(most=0.01).guard(BlobDetector()).detect(frame)
    assert [a.kind for a in out.alerts] == ["suspicious"]
    assert out.seen is not None and np.abs(out.seen.astype(int).mean() - frame.pixels.mean()) < 1


def test_a_removals_twin_shows_the_filled_image_and_hides_the_rest_from_the_attacker() -> None:
    image = with_noise(smooth(), (128, 96, 192, 160))
    images = to_tensor(image)[None].requires_grad_()
    defence = Known(grow=0)
    out = defence.differentiable(images, np.random.default_rng(0))
    expected = filled(image, defence.locate(image), "inpaint")
    assert float((out.detach()[0] * 255 - to_tensor(expected) * 255).abs().max()) < 0.51
    out.sum().backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None
    assert images.grad[0, :, 100:150, 140:180].abs().max() == 0
    assert (images.grad[0, :, :90] == 1).all()


def test_lgs_calms_noise_and_leaves_smooth_images_alone() -> None:
    clean = smooth()
    spoilt = with_noise(clean, (100, 80, 180, 160))
    rng = np.random.default_rng(0)
    assert np.array_equal(LocalGradientSmoothing().view(clean, rng, BlobDetector()).pixels, clean)
    out = LocalGradientSmoothing().view(spoilt, rng, BlobDetector()).pixels
    assert out[85:155, 105:175].mean() < 0.7 * spoilt[85:155, 105:175].mean()
    assert np.array_equal(out[:60], spoilt[:60])


@pytest.mark.parametrize("defence", [LocalGradientSmoothing(), TotalVariation()], ids=lambda d: d.name)
def test_exact_twins_give_the_guards_image(defence: LocalGradientSmoothing | TotalVariation) -> None:
    image = with_noise(smooth(), (100, 80, 180, 160))
    guard = defence.view(image, np.random.default_rng(0), BlobDetector()).pixels.astype(float)
    twin = defence.differentiable(to_tensor(image)[None], np.random.default_rng(0))[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(guard - twin).mean() < 1.0


@pytest.mark.parametrize("defence", [LocalGradientSmoothing(), TotalVariation(rounds=4)], ids=lambda d: d.name)
def test_exact_twins_have_the_right_gradient(defence: LocalGradientSmoothing | TotalVariation) -> None:
    generator = torch.Generator().manual_seed(1)
    # Well inside (0, 1), where nothing is clipped and no block changes sides.
    image = (0.3 + 0.4 * torch.rand(1, 3, 24, 24, generator=generator)).double().requires_grad_()
    weight = torch.rand(1, 3, 24, 24, generator=generator).double()
    (defence.differentiable(image, np.random.default_rng(0)) * weight).sum().backward()  # type: ignore[no-untyped-call]
    step = torch.randn(1, 3, 24, 24, generator=generator).double() * 1e-6
    with torch.no_grad():
        up = (defence.differentiable(image + step, np.random.default_rng(0)) * weight).sum()
        down = (defence.differentiable(image - step, np.random.default_rng(0)) * weight).sum()
    assert image.grad is not None
    assert float((up - down) / 2) == pytest.approx(float((image.grad * step).sum()), rel=0.05, abs=1e-9)


def test_total_variation_flattens_grain_and_keeps_an_edge() -> None:
    plane = np.full((1, 64, 64), 60, np.float32)
    plane[:, :, 32:] = 180
    noisy = plane + np.random.default_rng(0).normal(0, 12, plane.shape).astype(np.float32)
    out = noisy - flattening(noisy, 20, 60)
    assert out[:, :, 4:28].std() < 0.4 * noisy[:, :, 4:28].std()
    assert out[:, :, 40:].mean() - out[:, :, :24].mean() > 110


def test_entropy_is_one_for_noise_and_zero_for_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (80, 80)).astype(np.uint8)
    assert local_entropy(noise, 24)[30:50, 30:50].min() > 0.95
    assert local_entropy(np.full((40, 40), 77, np.uint8), 12).max() < 1e-3


def test_entropy_finds_a_patch_of_noise() -> None:
    # Grains of two pixels: entropy is taken at half size, where finer ones have been averaged away.
    half = with_noise(smooth(), (150, 100, 186, 136))
    frame = Frame(np.ascontiguousarray(half.repeat(2, 0).repeat(2, 1)), 0, 0, 0.0)
    out = parse_pipeline("entropy").guard(BlobDetector()).detect(frame)
    boxes = [a.xyxy for a in out.alerts if a.kind == "removed"]
    assert len(boxes) == 1 and boxes[0] is not None
    assert boxes[0] == pytest.approx((300, 200, 372, 272), abs=24)


def test_blocks_overlap_by_half_and_cover_the_image() -> None:
    blocks, shape = blocks_of(smooth(320, 256))
    assert shape == (2 * 256 // SIDE - 1, 2 * 320 // SIDE - 1)
    assert blocks.shape == (shape[0] * shape[1], 3 * SIDE * SIDE)


@pytest.mark.parametrize("size", [(416, 312), (100, 70), (33, 200)])
def test_blocks_surprise_is_that_of_redrawn_blocks(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    net = BlockNet().eval()
    image = with_noise(smooth(*size), (8, 8, 30, 30))
    blocks, shape = blocks_of(image)
    with torch.inference_mode():
        expected = net.surprise(blocks).numpy().reshape(shape)
    assert surprise_map(net, image) == pytest.approx(expected, abs=1e-5)


def test_blocks_learn_clean_images_and_are_surprised_by_noise(tmp_path: Path) -> None:
    net = train_blocks([smooth(640, 480), smooth(400, 300)], BlockTraining(steps=80, batch=128, imgsz=320))
    save_weights(tmp_path / "mine.safetensors", net, kind="blocks", record={"images": 2})
    frame = Frame(with_noise(smooth(640, 480), (320, 224, 416, 320)), 0, 0, 0.0)
    guard = parse_pipeline(f"blocks:weights={tmp_path / 'mine.safetensors'};threshold=3").guard(BlobDetector())
    boxes = [a.xyxy for a in guard.detect(frame).alerts if a.kind == "removed"]
    assert len(boxes) == 1 and boxes[0] is not None
    assert boxes[0] == pytest.approx((320, 224, 416, 320), abs=26)
    assert guard.detect(Frame(smooth(640, 480), 1, 0, 0.0)).alerts == ()


@pytest.mark.parametrize("size", [(416, 234), (234, 416), (250, 187), (64, 64)])
def test_no_block_trained_on_shows_a_pixel_of_what_is_kept_aside(size: tuple[int, int]) -> None:
    aside = _aside(size, 0)
    for scale in (1.0, 0.6):
        to = (round(size[0] * scale), round(size[1] * scale))
        kept, trained = _where(aside, to).T
        rows, columns = blocks_of(np.zeros((to[1], to[0], 3), np.uint8))[1]
        shown = np.zeros((2, rows * 8 + 8, columns * 8 + 8), bool)
        for n, mask in enumerate((kept, trained)):
            for row, column in np.argwhere(mask.reshape(rows, columns)):
                shown[n, row * 8 : row * 8 + SIDE, column * 8 : column * 8 + SIDE] = True
        assert not (shown[0] & shown[1]).any() and trained.mean() > 0.3
        assert kept.mean() > 0.03 or scale < 1


def test_training_leaves_the_callers_chance_alone() -> None:
    torch.manual_seed(7)
    nets = []
    for _ in range(2):
        nets.append(train_blocks([smooth(640, 480)], BlockTraining(steps=2, batch=16, imgsz=320)))
        torch.rand(3)
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True))
    same = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    plain, drawn = BlockNet(), BlockNet()
    draw_weights(drawn, same)
    for a, b in zip(plain.parameters(), drawn.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_too_few_clean_blocks_are_refused() -> None:
    with pytest.raises(TrainingError, match="1,000 blocks"):
        train_blocks([smooth(64, 64)], BlockTraining(imgsz=64))


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    save_weights(tmp_path / "a.safetensors", BlockNet(), kind="blocks", record={})
    with pytest.raises(DefenceError, match="kind 'erase'"):
        load_weights(tmp_path / "a.safetensors", BlockNet(), kind="erase")
    (tmp_path / "b.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0garbage!")
    with pytest.raises(DefenceError, match="not readable"):
        load_weights(tmp_path / "b.safetensors", BlockNet(), kind="blocks")
    assert surprise_map(BlockNet().eval(), smooth(64, 48)).shape == (5, 7)


def test_attention_is_the_networks_own_activation_where_it_shows_any() -> None:
    image = np.random.default_rng(3).integers(0, 256, (96, 160, 3), dtype=np.uint8)
    detector = tiny_detector()
    coarse = detector.activation(image)
    assert coarse.shape == (10, 16) and coarse.min() == 0 and coarse.max() == 1
    # It is what the network computed: what was reported of it plays no part.
    blind = tiny_detector(min_conf=0.999)
    assert len(blind.detect_batch([image])[0]) == 0 and np.array_equal(blind.activation(image), coarse)
    behind = parse_pipeline("median").guard(detector)
    assert attention_map(behind, image).shape == (96, 160)
    assert not np.array_equal(attention_map(behind, image) > 0.9, attention_map(BlobDetector(), image) > 0.9)


def test_attention_spares_people() -> None:
    image = smooth(640, 480)
    draw_person(image, (100, 100, 200, 400))
    attention = attention_map(BlobDetector(), image)
    assert attention[250, 150] > 0.9 and attention[250, 400] == 0
    out = PixelDeflection(deflections=100_000, sigma=0).view(image, np.random.default_rng(0), BlobDetector()).pixels
    changed = (out != image).any(-1)
    assert changed[:, 300:].mean() > 0.1 and changed[110:390, 110:190].mean() < 0.01


def test_wavelets_take_grain_out() -> None:
    clean = smooth()
    grain = np.random.default_rng(0).normal(0, 8, clean.shape)
    noisy = np.clip(clean + grain, 0, 255).astype(np.uint8)
    assert np.abs(denoised(noisy, 0.04).astype(int) - clean).mean() < 0.7 * np.abs(noisy.astype(int) - clean).mean()
    assert denoised(noisy[:75, :101], 0.04).shape == (75, 101, 3)


@pytest.mark.parametrize("defence", [Noise(), ResizePad(), PixelDeflection(attention=False)], ids=lambda d: d.name)
def test_chance_comes_from_the_seed(defence: Noise | ResizePad | PixelDeflection) -> None:
    frame = Frame(with_noise(smooth(), (40, 40, 280, 216)), 0, 0, 0.0)
    guard = defence.guard(BlobDetector())
    first, second = guard.detect(frame).seen, guard.detect(frame).seen
    guard.reset()
    again = guard.detect(frame).seen
    assert first is not None and second is not None and again is not None
    assert np.array_equal(first, again)
    assert not np.array_equal(first, second)


def test_erase_finds_a_pasted_pattern_on_a_photograph_and_leaves_the_rest(bus: Path) -> None:
    image = np.asarray(cv2.resize(read_image(bus), (416, 544), interpolation=cv2.INTER_AREA), np.uint8)
    erase = PatternEraser()
    assert np.count_nonzero(erase.locate(image)) < 0.04 * image.shape[0] * image.shape[1]
    box = np.s_[280:360, 20:100]
    pasted = image.copy()
    rng = np.random.default_rng(3)
    cells = rng.integers(0, 256, (10, 10, 3), np.uint8)
    pasted[box] = cv2.resize(cells, (80, 80), interpolation=cv2.INTER_CUBIC)
    mask = erase.locate(pasted)
    assert np.count_nonzero(mask[box]) > 0.6 * 80 * 80
    mask[box] = 0
    assert np.count_nonzero(mask) < 0.05 * mask.size


def test_textures_and_scenes_are_varied_and_replayable() -> None:
    photographs = [(smooth(), NOBODY)]
    a = [texture(64, np.random.default_rng(i), [smooth()]) for i in range(20)]
    assert all(t.shape == (64, 64, 3) and t.dtype == np.uint8 for t in a)
    assert sum(float(t.std()) > 20 for t in a) >= 14
    one = scene(photographs[0], lambda: a[5], 160, np.random.default_rng(3))
    two = scene(photographs[0], lambda: a[5], 160, np.random.default_rng(3))
    assert np.array_equal(one[0], two[0]) and np.array_equal(one[1], two[1])


def test_hostile_textures_are_trained_and_replayable() -> None:
    person = smooth(200, 320)
    draw_person(person, (60, 40, 140, 300))
    photographs = [(person, np.array([[60, 40, 140, 300]], np.float32))]
    made = [hostile_textures(photographs, 8, np.random.default_rng(2), side=32, steps=n) for n in (1, 1, 3)]
    assert all(t.shape == (32, 32, 3) and t.dtype == np.uint8 for t in made[0])
    assert all(np.array_equal(a, b) for a, b in zip(made[0], made[1], strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(made[0], made[2], strict=True))
    turned = varied(made[0][0], np.random.default_rng(0))
    assert turned.shape == (32, 32, 3) and turned.dtype == np.uint8
    with pytest.raises(TrainingError, match="show none"):
        hostile_textures([(person, NOBODY)], 1, np.random.default_rng(0))


@pytest.mark.parametrize("text", ["entropy", "tv", "noise", "lgs"])
def test_twins_run_on_batches(text: str) -> None:
    images = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = parse_pipeline(text).twin(tiny_gradient()).candidates(images)
    found.logit.sum().backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None and torch.isfinite(images.grad).all()


def test_the_eraser_can_be_attacked_after_it_has_defended() -> None:
    from physadv.defend.erase_network import CPU, backbone

    backbone.cache_clear()
    with torch.inference_mode():
        backbone(CPU)
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    grid = PatternEraser().suspicion(image)
    PatternEraser().slope(grid, image).sum().backward()  # type: ignore[no-untyped-call]
    assert image.grad is not None
    assert float(image.grad.abs().sum()) > 0


def test_an_attacker_of_a_removal_sees_the_marks_and_both_views() -> None:
    images = torch.rand(2, 3, 96, 128, generator=torch.Generator().manual_seed(0)).requires_grad_()
    bare = tiny_gradient().candidates(images).logit.shape[1]
    defence = PatternEraser()
    found = defence.twin(tiny_gradient()).candidates(images)
    grid = defence.suspicion(images)
    logit, boxes = marks(grid, 128, 96)
    assert found.logit.shape[1] == 2 * bare + logit.shape[1] and found.xyxy.shape[:2] == found.logit.shape
    assert torch.allclose(logit.amax(1), grid.amax((1, 2, 3)) + GIVEN_AWAY), "the surest place is among them"
    assert boxes[..., :2].min() == 0 and boxes[..., 2].max() >= 128 and boxes[..., 3].max() >= 96
    (gradient,) = torch.autograd.grad(found.logit[:, 2 * bare :].amax(), images)
    assert float(gradient.abs().sum()) > 0, "a marked pattern learns not to be marked"


def test_the_erasers_twin_removes_what_the_eraser_removes() -> None:
    rng = np.random.default_rng(3)
    image = smooth()
    image[60:140, 80:160] = texture(80, rng)
    defence = PatternEraser(threshold=0.1)
    with torch.no_grad():
        twin = to_image(defence.differentiable(to_tensor(image)[None], rng)[0])
    guard = defence.view(image, rng, BlobDetector()).pixels
    assert (np.abs(twin.astype(int) - guard).max(2) > 8).mean() < 0.02
