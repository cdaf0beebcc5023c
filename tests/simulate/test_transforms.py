"""Every transform: all chance in `sample`, none in `apply`, gradients right, strength 0 harmless."""

import torch
from pytest import mark, raises

from physadv.camera.colour import ColourMap
from physadv.simulate.cloth import Cloth
from physadv.simulate.erase import Erase
from physadv.simulate.geometry import Geometry, homography, project
from physadv.simulate.ink import Ink, MeasuredInk, default_palette
from physadv.simulate.jpeg import jpeg
from physadv.simulate.light import Light
from physadv.simulate.paste import Prints
from physadv.simulate.sensor import Sensor, blur, kernels, lose_resolution
from physadv.simulate.transform import Transform
from physadv.simulate.world import World

KINDS: dict[str, type[Transform]] = {  # type: ignore[type-arg]
    "ink": Ink,
    "cloth": Cloth,
    "geometry": Geometry,
    "light": Light,
    "erase": Erase,
    "sensor": Sensor,
}
EVERY = mark.parametrize("kind", KINDS.values(), ids=KINDS.keys())


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(channels: int = 3, side: int = 24, *, seed: int = 1) -> torch.Tensor:
    return 0.2 + 0.6 * torch.rand(3, channels, side, side, generator=generator(seed))


@EVERY
def test_the_same_draw_gives_the_same_pictures(kind: type[Transform]) -> None:  # type: ignore[type-arg]
    one, again = kind(strength=1).sample(3, generator()), kind(strength=1).sample(3, generator())
    x = images()
    first = kind(strength=1).apply(x, one)
    assert torch.equal(first, kind(strength=1).apply(x, one))
    assert torch.equal(first, kind(strength=1).apply(x, again))
    assert first.shape == x.shape
    assert not torch.equal(first, kind(strength=1).apply(x, kind(strength=1).sample(3, generator(5))))


@EVERY
def test_strength_nought_changes_nothing(kind: type[Transform]) -> None:  # type: ignore[type-arg]
    off = kind(strength=0)
    x = images()
    assert torch.allclose(off.apply(x, off.sample(3, generator())), x, atol=1e-6)


@EVERY
def test_more_strength_changes_more(kind: type[Transform]) -> None:  # type: ignore[type-arg]
    x = images()

    def change(strength: float) -> float:
        turned = [kind(strength=strength) for _ in range(8)]
        return sum(float((t.apply(x, t.sample(3, generator(s))) - x).abs().mean()) for s, t in enumerate(turned))

    assert change(0.2) < change(1.0)


@EVERY
def test_gradients_are_those_of_the_output(kind: type[Transform]) -> None:  # type: ignore[type-arg]
    x = images(side=16).double()[:1].requires_grad_()
    effect = kind(strength=0.7)
    draw = effect.sample(1, generator(2))
    assert torch.autograd.gradcheck(lambda v: effect.apply(v, draw), (x,), eps=1e-6, atol=1e-4, fast_mode=True)


@EVERY
def test_a_row_of_a_batch_is_as_alone(kind: type[Transform]) -> None:  # type: ignore[type-arg]
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


def test_the_palette_lies_within_the_inks_range() -> None:
    palette = default_palette()
    assert palette.shape[1] == 3
    assert float(palette.min()) >= 0.05
    assert float(palette.max()) <= 0.97


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


def test_geometry_without_a_pose_keeps_the_quad() -> None:
    quads = torch.tensor([[[10.0, 5], [40, 8], [38, 60], [12, 55]]])
    still = Geometry(strength=0)
    draw = still.sample(1, generator())
    assert torch.allclose(still.quads(quads, draw), quads, atol=1e-3)
    middle = project(homography(quads), torch.zeros(1, 1, 2))
    assert 20 < float(middle[0, 0, 0]) < 30


def test_a_kernel_sums_to_one_and_a_longer_one_blurs_more() -> None:
    draw = Sensor(strength=2, often=0.5).sample(16, generator())
    kernel = kernels(draw)
    assert torch.allclose(kernel.sum((1, 2)), torch.ones(16), atol=1e-5)
    assert bool((kernel >= 0).all())
    sharp = images()
    assert blur(sharp, kernel[:3]).var() < sharp.var()


def test_lost_resolution_keeps_the_mean() -> None:
    x = images(side=32)
    out = lose_resolution(x, torch.tensor([2.0, 3.0, 1.5]))
    assert torch.allclose(out.mean((1, 2, 3)), x.mean((1, 2, 3)), atol=0.02)
    assert out.var() < x.var()


def test_jpeg_is_close_to_a_real_encoder() -> None:
    import cv2
    import numpy as np

    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    picture = torch.stack([x, y, (8 * x).sin() / 2 + 0.5])[None]
    ours = jpeg(picture, torch.tensor([60.0]))[0]
    bgr = (picture[0].permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)
    coded = cv2.imdecode(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    assert coded is not None
    real = torch.from_numpy(coded[..., ::-1].copy()).permute(2, 0, 1).float() / 255
    assert (ours - real).abs().mean() < 0.012
    assert (ours - picture[0]).abs().mean() < 2.5 * (real - picture[0]).abs().mean()


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
    quads = torch.tensor([[[4.0, 4], [20, 4], [20, 20], [4, 20]]])
    window, arms = torch.tensor([[0.0, 0, 1, 1]]), torch.zeros(1, 2, 5)
    prints = Prints(torch.zeros(1, dtype=torch.long), quads, torch.zeros(1, dtype=torch.long), arms, window)
    out = world.apply(stripes, torch.zeros(1, 3, 24, 24), prints, world.sample(1, 1, generator()))
    # Half of the print is 1 and half is 0; their mean squared would be a quarter.
    assert torch.allclose(out[0, :, 8:16, 8:16], torch.tensor(0.5), atol=0.02)
