"""Every transform: all chance in `sample`, none in `apply`, gradients right, strength 0 harmless."""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from pytest import approx, mark, raises

from physadv.camera.colour import ColourMap
from physadv.simulate.cloth import Cloth
from physadv.simulate.geometry import Geometry, homography, project
from physadv.simulate.ink import BLACK, LUMA, SATURATION, WHITE, Ink, MeasuredInk, default_palette
from physadv.simulate.jpeg import jpeg
from physadv.simulate.light import Light
from physadv.simulate.occlusion import Occlusion
from physadv.simulate.placement import Placement, people_of
from physadv.simulate.sensor import Sensor, SensorDraw, blur, kernels, lose_resolution
from physadv.simulate.spline import spline_basis
from physadv.simulate.transform import Transform
from physadv.simulate.world import World

# A printer in whose prints colours mix and dark ones are lost.
LINE = torch.linspace(0, 1, 5)
MUDDY = ColourMap(
    (0.2 + 0.6 * LINE).repeat(3, 1),
    ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)),
    torch.tensor([[0.0, 0.8, 0.1, 0.1], [0, 0.1, 0.8, 0.1], [0, 0.1, 0.1, 0.8]]),
    LINE.repeat(3, 1),
    0.002 * torch.eye(3),
    torch.zeros(3, 3),
)
Kind = Callable[..., Transform]  # type: ignore[type-arg]
KINDS: dict[str, Kind] = {
    "ink": Ink,
    "measured": partial(MeasuredInk, colours=MUDDY.to_dict()),
    "cloth": Cloth,
    "geometry": Geometry,
    "light": Light,
    "erase": Occlusion,
    "sensor": Sensor,
}
EVERY = mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(channels: int = 3, side: int = 24, *, seed: int = 1) -> torch.Tensor:
    return 0.2 + 0.6 * torch.rand(3, channels, side, side, generator=generator(seed))


@EVERY
def test_the_same_draw_gives_the_same_images(kind: Kind) -> None:
    one, again = kind(strength=1).sample(3, generator()), kind(strength=1).sample(3, generator())
    x = images()
    first = kind(strength=1).apply(x, one)
    assert torch.equal(first, kind(strength=1).apply(x, one))
    assert torch.equal(first, kind(strength=1).apply(x, again))
    assert first.shape == x.shape
    assert not torch.equal(first, kind(strength=1).apply(x, kind(strength=1).sample(3, generator(5))))


@EVERY
def test_strength_nought_changes_nothing(kind: Kind) -> None:
    off = kind(strength=0)
    x = images()
    assert torch.allclose(off.apply(x, off.sample(3, generator())), x, atol=1e-6)


@EVERY
def test_more_strength_changes_more(kind: Kind) -> None:
    x = images()

    def change(strength: float) -> float:
        turned = [kind(strength=strength) for _ in range(8)]
        return sum(float((t.apply(x, t.sample(3, generator(s))) - x).abs().mean()) for s, t in enumerate(turned))

    assert change(0.2) < change(1.0)


@EVERY
def test_gradients_are_those_of_the_output(kind: Kind) -> None:
    x = images(side=16).double()[:1].requires_grad_()
    effect = kind(strength=0.7)
    draw = effect.sample(1, generator(2))
    assert torch.autograd.gradcheck(lambda v: effect.apply(v, draw), (x,), eps=1e-6, atol=1e-4, fast_mode=True)


@EVERY
def test_a_row_of_a_batch_is_as_alone(kind: Kind) -> None:
    effect = kind(strength=1)
    draw, x = effect.sample(3, generator(4)), images()
    row = torch.tensor([1])
    assert torch.allclose(effect.apply(x, draw)[1:2], effect.apply(x[1:2], draw.pick(row)), atol=1e-5)


def test_mixing_draws_takes_each_row_from_its_own() -> None:
    light = Light(strength=1)
    draws = [light.sample(3, generator(s)) for s in (0, 1)]
    mixed = type(draws[0]).mix(draws, torch.tensor([0, 1, 0]))
    assert torch.equal(mixed.gain[0], draws[0].gain[0])
    assert torch.equal(mixed.gain[1], draws[1].gain[1])


def test_ink_darkens_white_and_brightens_black() -> None:
    flat = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)])
    ink = Ink(strength=1, error=0)
    out = ink.apply(flat, ink.sample(2, generator()))
    assert 0.05 < out[0].mean() < 0.2
    assert 0.85 < out[1].mean() < 1


def test_measured_ink_is_the_colour_map_and_its_spread() -> None:
    table = ColourMap.identity().to_dict() | {"covariance": [[0.01, 0, 0], [0, 0.01, 0], [0, 0, 0.01]]}
    ink = MeasuredInk(strength=1, colours=table)
    draw = ink.sample(400, generator())
    assert abs(float(draw.offset.std()) - 0.1) < 0.02
    flat = torch.full((400, 3, 2, 2), 0.5)
    assert torch.allclose(ink.apply(flat, draw), 0.5 + draw.offset.expand(-1, -1, 2, 2), atol=1e-5)


def test_a_measured_printer_is_blended_in_by_its_strength() -> None:
    x = images(side=4)
    pattern = x[0]
    whole = MUDDY.apply(x)
    for strength, share in ((0.0, 0.0), (0.5, 0.5), (1.0, 1.0), (2.0, 1.0)):
        ink = MeasuredInk(strength=strength, colours=MUDDY.to_dict())
        draw = ink.sample(3, generator())
        draw.offset.zero_()
        assert torch.allclose(ink.apply(x, draw), x + share * (whole - x), atol=1e-6)
        assert torch.allclose(ink.printed(pattern), (x + share * (whole - x))[0], atol=1e-6)


def test_the_palette_is_sent_to_the_printer_and_spans_what_it_prints() -> None:
    palette = default_palette(3)
    assert palette.shape == (27, 3)
    assert float(palette.min()) == 0 and float(palette.max()) == 1, "digital colours"
    ink = Ink(strength=1, error=0)
    draw = ink.sample(27, generator())
    draw.saturation.fill_(SATURATION)
    printed = ink.apply(palette[..., None, None], draw)[..., 0, 0]
    line = torch.linspace(BLACK, WHITE, 3)
    cube = torch.cartesian_prod(line, line, line)
    luma = (cube * LUMA).sum(1, keepdim=True)
    assert torch.allclose(printed, luma + SATURATION * (cube - luma), atol=1e-5)


def test_wrinkles_move_by_what_the_control_points_move() -> None:
    cloth = Cloth(strength=1)
    draw = cloth.sample(1, generator())
    draw.control.fill_(0.2)
    draw.folds[..., 3:].zero_()
    draw.stretch.fill_(1)
    grid, shade = cloth.fields(draw, (16, 16))
    flat = Cloth(strength=1)
    draw.control.zero_()
    still, _ = flat.fields(draw, (16, 16))
    assert torch.allclose(grid - still, torch.full_like(grid, 0.2), atol=1e-4)
    assert torch.allclose(shade, torch.ones_like(shade))


@mark.parametrize("size", [(48, 48), (224, 224), (31, 77)])
def test_cloth_without_a_wrinkle_is_the_print_itself(size: tuple[int, int]) -> None:
    cloth = Cloth(strength=1)
    draw = cloth.sample(1, generator())
    for still in (draw.control, draw.folds[..., 3:]):
        still.zero_()
    draw.stretch.fill_(1)
    x = torch.rand(1, 3, *size, generator=generator(1)).requires_grad_()
    out = cloth.apply(x, draw)
    assert torch.allclose(out, x, atol=1e-4)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    assert torch.allclose(gradient, torch.ones_like(gradient), atol=1e-4), "of the rim as of the inside"


def test_a_stretched_print_is_the_analytic_one() -> None:
    cloth = Cloth(strength=1)
    draw = cloth.sample(1, generator())
    for still in (draw.control, draw.folds[..., 3:]):
        still.zero_()
    draw.stretch.copy_(torch.tensor([[0.9, 1.0]]))
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    middle = (torch.arange(64) + 0.5) / 64 * 2 - 1
    want = (middle * 0.9 * 64 - 1 + 64) / 2 / 63
    assert torch.allclose(cloth.apply(ramp, draw)[0, 0], want.expand(64, 64), atol=1e-4)


def test_a_spline_goes_through_its_points_and_keeps_straight_lines() -> None:
    control = torch.rand(9, 2, generator=generator(), dtype=torch.float64)
    points = torch.rand(20, 2, generator=generator(1), dtype=torch.float64)
    assert torch.allclose(spline_basis(control, control), torch.eye(9, dtype=torch.float64), atol=1e-9)
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    assert torch.allclose(spline_basis(control, points) @ (control @ turn + 3), points @ turn + 3, atol=1e-9)


def test_geometry_without_a_pose_keeps_the_quad() -> None:
    quads = torch.tensor([[[10.0, 5], [40, 8], [38, 60], [12, 55]]])
    still = Geometry(strength=0)
    draw = still.sample(1, generator())
    assert torch.allclose(still.quads(quads, draw), quads, atol=1e-3)
    middle = project(homography(quads), torch.zeros(1, 1, 2))
    assert 20 < float(middle[0, 0, 0]) < 30


def test_a_turned_banner_stays_a_rectangle() -> None:
    quads = torch.tensor([[[10.0, 10], [90, 10], [90, 30], [10, 30]]])
    turning = Geometry(strength=1)
    draw = turning.sample(1, generator())
    for still in (draw.yaw, draw.pitch, draw.shift):
        still.zero_()
    draw.scale.fill_(1)
    draw.turn.fill_(math.radians(30))
    a, b, c, d = turning.quads(quads, draw)[0]
    assert (b - a).norm() == approx(80, abs=0.01) and (d - a).norm() == approx(20, abs=0.01)
    across = b - a
    assert math.degrees(math.atan2(float(across[1]), float(across[0]))) == approx(30, abs=0.1)
    assert float(across @ (c - b)) == approx(0, abs=0.1)


def test_a_kernel_sums_to_one_and_a_longer_one_blurs_more() -> None:
    draw = Sensor(strength=2, often=0.5).sample(16, generator())
    kernel = kernels(draw)
    assert torch.allclose(kernel.sum((1, 2)), torch.ones(16), atol=1e-5)
    assert bool((kernel >= 0).all())
    sharp = images()
    assert blur(sharp, kernel[:3]).var() < sharp.var()


def camera(defocus: float, motion: float, angle: float) -> SensorDraw:
    """A camera that blurs and does nothing else."""
    zero, one = torch.zeros(1), torch.ones(1)
    return SensorDraw(
        torch.tensor([defocus]), torch.tensor([motion]), torch.tensor([angle]), zero, one, zero, zero.long(), zero, zero
    )


def deviations(kernel: torch.Tensor, angle: float) -> tuple[float, float]:
    """Standard deviations of a kernel (k, k) along a direction and across it, in pixels."""
    radius = kernel.shape[-1] // 2
    line = torch.arange(-radius, radius + 1).float()
    y, x = torch.meshgrid(line, line, indexing="ij")
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    return float((kernel * along**2).sum().sqrt()), float((kernel * across**2).sum().sqrt())


@mark.parametrize("defocus", [0.5, 0.6, 0.8, 1.0, 1.2, 2.4, 6.0])
@mark.parametrize("motion", [0.0, 1.5, 4.0, 7.0])
def test_blur_is_as_wide_as_it_is_asked_for(defocus: float, motion: float) -> None:
    for angle in (0.0, 0.3, math.pi / 4, 1.3, math.pi / 2):
        along, across = deviations(kernels(camera(defocus, motion, angle))[0], angle)
        assert along == approx(math.sqrt(defocus**2 + motion**2 / 12), rel=0.05)
        assert across == approx(defocus, rel=0.05)


@mark.parametrize("motion", [1.5, 3.0, 4.0, 7.0])
def test_motion_alone_is_a_line_of_its_length(motion: float) -> None:
    for angle in (0.0, 0.3, math.pi / 4, 1.3):
        along, across = deviations(kernels(camera(0, motion, angle))[0], angle)
        assert along == approx(motion / math.sqrt(12), rel=0.15)
        assert across < 0.45


def test_kernels_stay_small_where_that_suffices_and_bounded_at_most() -> None:
    assert kernels(camera(1.2, 0, 0)).shape == (1, 7, 7)
    assert kernels(camera(0.4, 4, 0)).shape == (1, 7, 7)
    harsh = Sensor(strength=3, blur=6, motion=7, often=1).sample(64, generator())
    assert float(harsh.defocus.max()) <= 6 and float(harsh.motion.max()) <= 7
    assert 35 <= kernels(harsh).shape[-1] <= 41


def test_lost_resolution_keeps_the_mean() -> None:
    x = images(side=32)
    out = lose_resolution(x, torch.tensor([2.0, 3.0, 1.5]))
    assert torch.allclose(out.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=0.02)
    assert out.var() < x.var()


def test_jpeg_is_close_to_a_real_encoder() -> None:
    import cv2
    import numpy as np

    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    image = torch.stack([x, y, (8 * x).sin() / 2 + 0.5])[None]
    ours = jpeg(image, torch.tensor([60.0]))[0]
    bgr = (image[0].permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)
    coded = cv2.imdecode(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    assert coded is not None
    real = torch.from_numpy(coded[..., ::-1].copy()).permute(2, 0, 1).float() / 255
    assert (ours - real).abs().mean() < 0.012
    assert (ours - image[0]).abs().mean() < 2.5 * (real - image[0]).abs().mean()


def test_dials_are_bounded() -> None:
    with raises(ValueError):
        Light(strength=4)
    assert World.of(0.3).light.strength == 0.3


def test_a_measured_print_is_shrunk_after_its_colours_have_changed() -> None:
    line = torch.linspace(0, 1, 5)
    squared = ColourMap(
        line.square().repeat(3, 1),
        ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)),
        torch.eye(4)[1:],
        torch.linspace(0, 1, 2).repeat(3, 1),
        torch.zeros(3, 3),
        torch.zeros(3, 3),
    )
    world = World.of(0).model_copy(update={"ink": MeasuredInk(strength=1, colours=squared.to_dict())})
    stripes = torch.zeros(4, 64, 64)
    stripes[:3, :, ::2] = 1
    stripes[3] = 1
    box = np.array([[4, 4, 20, 20]], np.float32)
    prints = Placement("poster", scale=1.0, at=0.5).prints(people_of(box))
    out = world.apply(stripes, torch.zeros(1, 3, 24, 24), prints, world.sample(1, 1, generator()))
    # Half of the print is 1 and half is 0; their mean squared would be a quarter.
    assert torch.allclose(out[0, :, 8:16, 8:16], torch.tensor(0.5), atol=0.02)
