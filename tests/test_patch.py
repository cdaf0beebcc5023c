"""The patch file: what is loaded is what was saved, and nothing foreign gets through."""

import json
import warnings
import zlib
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from physadv.arrays import decode_image_rgba
from physadv.cli import main
from physadv.errors import PatchError, PatternReplaced
from physadv.live.library import PatchLibrary
from physadv.patch import MAX_SIDE, REPLACED, Patch, load_patch, patch_from_image, png_bytes, save_patch, shipped_names


def a_patch(**changes: object) -> Patch:
    rng = np.random.default_rng(0)
    values: dict[str, object] = {
        "name": "p",
        "pixels": rng.integers(0, 256, (40, 30, 3), dtype=np.uint8),
        "mask": np.full((40, 30), 255, np.uint8),
        "size_mm": (300.0, 400.0),
        "target": "poster",
        "record": {"seed": 7, "held_out": {"asr": 0.5}},
    }
    return Patch(**(values | changes))  # type: ignore[arg-type]


def test_both_files_give_the_same_pattern_back(tmp_path: Path) -> None:
    patch = a_patch()
    for path in save_patch(patch, tmp_path):
        again = load_patch(path)
        assert again.sha256 == patch.sha256
        assert again.size_mm == patch.size_mm
        assert again.target == "poster"
    assert load_patch(tmp_path).record == patch.record


def test_the_same_patch_gives_the_same_bytes(tmp_path: Path) -> None:
    first = [p.read_bytes() for p in save_patch(a_patch(), tmp_path / "a")]
    assert first == [p.read_bytes() for p in save_patch(a_patch(), tmp_path / "b")]


def test_png_says_how_large_to_print_and_which_colours(tmp_path: Path) -> None:
    save_patch(a_patch(), tmp_path)
    image = Image.open(tmp_path / "patch.png")
    assert image.info["dpi"][0] == pytest.approx(30 / (300 / 25.4), rel=1e-3)
    assert b"acsp" in image.info["icc_profile"]


def test_a_transparent_shape_keeps_its_mask() -> None:
    mask = np.zeros((40, 30), np.uint8)
    mask[5:20] = 255
    patch = a_patch(mask=mask)
    assert np.array_equal(patch_from_image(png_bytes(patch), name="x").mask, mask)


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_photograph_is_turned_upright(mode: str) -> None:
    pixels = np.zeros((40, 60), np.uint8)
    pixels[:, 30:] = 200
    exif = Image.Exif()
    exif[0x0112] = 6
    out = BytesIO()
    Image.fromarray(pixels).convert(mode).save(out, "JPEG", exif=exif, quality=95)
    patch = patch_from_image(out.getvalue(), name="x")
    assert patch.pixels.shape == (60, 40, 3) and patch.size_mm == (360.0, 540.0)
    assert patch.pixels[:25].max() < 20 and patch.pixels[35:].min() > 180


def test_sixteen_bits_and_transparency_are_kept() -> None:
    rng = np.random.default_rng(0)
    for channels in (1, 3, 4):
        deep = rng.integers(0, 256, (8, 6, channels), np.uint16) * 257
        deep[..., -1] = 65535
        _, data = cv2.imencode(".png", deep)
        rgba = decode_image_rgba(data.tobytes(), name="x")
        assert (rgba[..., 3] == 255).all()
        expected = (deep // 257).astype(np.uint8)
        assert np.array_equal(rgba[..., 2::-1], np.repeat(expected, 3, 2) if channels == 1 else expected[..., :3])


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"mask": np.zeros((40, 30), np.uint8)}, "no area"),
        ({"size_mm": (float("nan"), 10.0)}, "size_mm"),
        ({"size_mm": (0.0, 10.0)}, "size_mm"),
        ({"pixels": np.zeros((40, 30), np.uint8)}, "pixels"),
        ({"mask": np.zeros((4, 4), np.uint8)}, "mask"),
    ],
)
def test_a_patch_that_could_not_be_worn_is_refused(changes: dict[str, object], word: str) -> None:
    with pytest.raises((PatchError, ValueError), match=word):
        a_patch(**changes)


def test_huge_images_are_refused_before_decoding() -> None:
    # A PNG header that claims 20,000 x 20,000 pixels, with no pixel behind it.
    said = b"IHDR" + (20_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    head = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + said + zlib.crc32(said).to_bytes(4, "big")
    head += bytes(4) + b"IDAT" + zlib.crc32(b"IDAT").to_bytes(4, "big")
    with pytest.raises(PatchError, match="20000 x 20000"):
        patch_from_image(head, name="huge")


def test_foreign_files_are_named(tmp_path: Path) -> None:
    empty, text, foreign, old = (
        tmp_path / n for n in ("empty.png", "text.png", "foreign.safetensors", "old.safetensors")
    )
    empty.touch()
    text.write_text("hello")
    save_file({"pixels": np.zeros((4, 4, 3), np.uint8)}, str(foreign))
    pixels = {"pixels": np.zeros((4, 4, 3), np.uint8), "mask": np.ones((4, 4), np.uint8)}
    save_file(pixels, str(old), metadata={"physadv": json.dumps({"schema": 99})})
    for path in (empty, text, foreign, old, tmp_path / "nothing.png"):
        with pytest.raises(PatchError, match=path.stem):
            load_patch(path)
    with pytest.raises(PatchError, match="expected the name or file of a pattern, got none"):
        load_patch("")
    with pytest.raises(PatchError, match="expected a finished run, got a folder without"):
        load_patch(tmp_path)


def test_metadata_in_a_png_cannot_harm() -> None:
    for value in ("[1,", '"text"', '{"size_mm": "big"}', '{"size_mm": [1e99, 1]}'):
        info = PngInfo()
        info.add_text("physadv", value)
        out = BytesIO()
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(out, "PNG", pnginfo=info)
        try:
            assert patch_from_image(out.getvalue(), name="x").size_mm == (360.0, 360.0)
        except PatchError as error:
            assert "size_mm" in str(error)


SIZES = ["[1" + "0" * 400 + ", 1]", "[true, 100]", "[100, null]", '"100"', "[100, 100, 100]", "[Infinity, 1]"]


def with_metadata(text: str) -> bytes:
    """A PNG that carries this as physadv's own metadata."""
    info = PngInfo()
    info.add_text("physadv", text)
    out = BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(out, "PNG", pnginfo=info)
    return out.getvalue()


@pytest.mark.parametrize("size", SIZES)
def test_a_size_that_is_none_is_refused_whatever_brings_it(tmp_path: Path, size: str) -> None:
    tensors = {"pixels": np.zeros((4, 4, 3), np.uint8), "mask": np.ones((4, 4), np.uint8)}
    head = f'{{"schema": 1, "target": "chest", "record": {{}}, "size_mm": {size}}}'
    save_file(tensors, str(tmp_path / "a.safetensors"), metadata={"physadv": head})
    with pytest.raises(PatchError, match="size_mm: expected"):
        load_patch(tmp_path / "a.safetensors")
    image = with_metadata(f'{{"size_mm": {size}}}')
    (tmp_path / "a.png").write_bytes(image)
    with pytest.raises(PatchError, match="size_mm: expected"):
        load_patch(tmp_path / "a.png")
    with pytest.raises(PatchError, match="size_mm: expected"):
        PatchLibrary([]).upload(image, name="a")


def test_metadata_nested_without_end_is_none(tmp_path: Path) -> None:
    deep = "[" * 100_000
    assert patch_from_image(with_metadata(deep), name="x").size_mm == (360.0, 360.0)
    tensors = {"pixels": np.zeros((4, 4, 3), np.uint8), "mask": np.ones((4, 4), np.uint8)}
    save_file(tensors, str(tmp_path / "a.safetensors"), metadata={"physadv": deep})
    with pytest.raises(PatchError, match="not a readable patch file"):
        load_patch(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"pixels": torch.zeros(4, 4, 3, dtype=torch.bfloat16)},
            r"pixels: expected \[4, 4, 3\] of type U8, got .* BF16",
        ),
        ({"pixels": torch.zeros(4, 4, 4, dtype=torch.uint8)}, r"pixels: expected \[4, 4, 3\]"),
        ({"mask": torch.zeros(4, 4)}, r"mask: expected \[4, 4\] of type U8, got .* F32"),
        ({"mask": torch.ones(64, 64, dtype=torch.uint8)}, r"mask: expected \[4, 4\]"),
    ],
)
def test_tensors_of_another_kind_are_refused_by_the_header(
    tmp_path: Path, changes: dict[str, torch.Tensor], message: str
) -> None:
    tensors = {"pixels": torch.zeros(4, 4, 3, dtype=torch.uint8), "mask": torch.ones(4, 4, dtype=torch.uint8)}
    head = json.dumps({"schema": 1, "target": "chest", "record": {}, "size_mm": [100, 100]})
    save_torch(tensors | changes, str(tmp_path / "a.safetensors"), metadata={"physadv": head})
    with pytest.raises(PatchError, match=message):
        load_patch(tmp_path / "a.safetensors")


def test_sides_are_bounded() -> None:
    side = MAX_SIDE + 1
    with pytest.raises(PatchError, match=str(MAX_SIDE)):
        a_patch(pixels=np.zeros((2, side, 3), np.uint8), mask=np.full((2, side), 255, np.uint8))


@pytest.mark.parametrize("name", ["../../../escaped", "[/v1]", "", "a" * 65, "a/b", ".hidden"])
def test_a_name_that_is_no_file_name_is_refused_on_load(tmp_path: Path, name: str) -> None:
    for path in save_patch(a_patch(name=name), tmp_path):
        with pytest.raises(PatchError, match="name: expected up to 64 letters"):
            load_patch(path)


def test_a_image_is_called_after_its_file_as_far_as_a_name_may_be(tmp_path: Path) -> None:
    data = BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(data, "PNG")
    for stem, expected in (("tsea_v5-demo", "tsea_v5-demo"), ("[bold] größe", "bold- gr-e"), ("äö", "unnamed")):
        path = tmp_path / f"{stem}.png"
        path.write_bytes(data.getvalue())
        assert load_patch(path).name == expected


def test_a_newcomer_chooses_from_a_few_patterns_and_old_names_still_load(capsys: pytest.CaptureFixture[str]) -> None:
    assert len(shipped_names()) <= 8 and set(REPLACED.values()) <= set(shipped_names())
    for old, name in REPLACED.items():
        with pytest.warns(PatternReplaced, match=f"^the pattern {old} is no longer shipped: {name} took its place$"):
            assert load_patch(old).name == name
    for name in shipped_names():
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert load_patch(name).name == name
    assert main(["advise", "chest-v3"]) == 0
    said = capsys.readouterr().err
    assert said == "physadv advise: the pattern chest-v3 is no longer shipped: webcam took its place\n"


@pytest.mark.parametrize(
    ("name", "hint"), [("webcm", "did you mean webcam"), ("chest-v5", "did you mean chest-v"), ("moon", "shipped are")]
)
def test_an_unknown_name_is_one_line(name: str, hint: str) -> None:
    with pytest.raises(PatchError, match=f"^{name}: no such file, and no shipped pattern of that name; {hint}"):
        load_patch(name)
