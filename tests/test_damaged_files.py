"""Damaged files of every kind that data sets and patterns bring: one clear error each, and little memory and time."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from physadv.arrays import LeftOut, decode_image, decode_image_rgba, image_size
from physadv.dataset import labelled_images, read_images, read_yolo_label
from physadv.errors import DataError, PatchError, PhysadvError
from physadv.fabricate.advise import SizeCurve, has_curve
from physadv.lineage import seen_by
from physadv.patch import Patch, load_patch, save_patch
from tests.mutations import damaged, peak_kb
from tests.test_dataset import one_person
from tests.test_images import encoded

pillow_heif.register_heif_opener()
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
COUNT = 500
# What a fuzz of thousands of each kind stays far below: megabytes more than before.
MOST_MB = 800


def try_all(run: Callable[[bytes], None], seeds: Sequence[bytes], words: Sequence[bytes] = ()) -> None:
    """Run on damaged copies: nothing but errors of physadv comes out, and each tells on one line."""
    before = peak_kb()
    refused = 0
    for data in of_each(seeds, words):
        try:
            run(data)
        except PhysadvError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > COUNT // 20, "the mutations damage nothing"
    assert peak_kb() - before < MOST_MB * 1024


def of_each(seeds: Sequence[bytes], words: Sequence[bytes]) -> Iterator[bytes]:
    """Damaged copies of files, half of them in their first bytes, which decide most."""
    for seed, data in enumerate(seeds):
        count = -(-COUNT // (2 * len(seeds)))
        yield from damaged(data, count, seed, words)
        yield from (head + data[64:] for head in damaged(data[:64], count, seed, words))


def images() -> list[bytes]:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :64]
    image = Image.fromarray(np.stack([x * 4, y * 5, x * y % 256], -1).astype(np.uint8))
    clear = image.convert("RGBA")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = rng.integers(0, 65536, (16, 16, 3), np.uint16)
    return [
        encoded(image, "JPEG", exif=exif, icc_profile=profile),
        encoded(image, "JPEG", progressive=True),
        encoded(image.convert("CMYK"), "JPEG", icc_profile=profile),
        encoded(image, "PNG", exif=exif, icc_profile=profile),
        encoded(clear, "PNG"),
        encoded(image.quantize(16), "PNG", transparency=3),
        cv2.imencode(".png", deep)[1].tobytes(),
        encoded(image, "WEBP", exif=exif),
        encoded(clear, "WEBP", lossless=True),
        encoded(image, "WEBP", save_all=True, append_images=[image.rotate(90)]),
        encoded(image, "TIFF", compression="tiff_lzw"),
        encoded(image, "TIFF", compression="jpeg"),
        encoded(image.convert("1"), "TIFF", compression="group4"),
        cv2.imencode(".tif", deep)[1].tobytes(),
        encoded(image, "BMP"),
        encoded(image, "PPM"),
        b"P3 4 4 255\n" + b"1 2 3 " * 16,
        encoded(image, "GIF"),
        encoded(image, "AVIF"),
        encoded(clear, "HEIF", icc_profile=profile),
    ]


def test_images() -> None:
    def run(data: bytes) -> None:
        size = image_size(data)
        pixels = decode_image(data, name="x", upright=False)
        assert size is None or pixels.shape[:2] in (size, size[::-1])
        assert decode_image_rgba(data, name="x").shape[2] == 4

    try_all(run, images(), [b"\xff\xd0", b"\xff\xda", b"\xff\xd9", b"acTL", b"fcTL", b"IDAT"])


def test_patterns(tmp_path: Path) -> None:
    cell = {"visible_px": 100, "shown": 1.0, "relative": 0.2, "n": 5, "asr": 0.4, "ci95": [0.2, 0.6]}
    record = {
        "settings": {"framing": "street"},
        "split": {"train": ["a.jpg"], "pixels": {"a.jpg": ["00"]}},
        "start": {"train": ["b"], "start": None},
        "size_curve": {"cells": [cell]},
    }
    pixels = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)
    patch = Patch("p", pixels, np.full((12, 10), 255, np.uint8), (300.0, 360.0), "poster", record)
    png, tensors = save_patch(patch, tmp_path)

    def run(data: bytes) -> None:
        path = tmp_path / ("x.png" if data[1:4] == b"PNG" else "x.safetensors")
        path.write_bytes(data)
        found = load_patch(path)
        seen_by(found)
        if has_curve(found):
            SizeCurve(found.record["size_curve"])
        assert found.framing in ("", "street")
        save_patch(found, tmp_path / "again")

    words = [b"null", b"NaN", b"1e999", b"[", b"{", b'"record":[]', b"\\ud800", b"-1", b'"U8"', b'"F32"']
    try_all(run, [tensors.read_bytes(), tensors.read_bytes(), png.read_bytes()], words)


ROWS = b"0 0.5 0.5 0.5 1.0\n1 .1 .2 .5 .2 .5 .9\n0 .1 .2 .5 .2 .5 .9 .1 .9\n27 0.5 0.5 0.0 0.1\n0 .5 .5 .2 .4 .9\n"


def test_labels(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        people = read_yolo_label(path, width=640, height=480, left_out=LeftOut())
        assert np.isfinite(people).all() and (people >= 0).all() and (people <= [640, 480, 640, 480]).all()

    seeds = [ROWS, ROWS.replace(b"\n", b"\r\n"), ROWS.decode().encode("utf-16"), ROWS.decode().encode("utf-8-sig")]
    try_all(run, seeds, [b"nan", b"inf", b"-", b"1e999", b"1_0", b"\0", b"9" * 400, "٣".encode(), b"\n"])


def read_all(root: Path) -> None:
    left_out = LeftOut()
    list(read_images(labelled_images(root, None, left_out), left_out))
    assert all(len(line) < 500 for line in left_out.lines())


def try_in_set(root: Path, name: str, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    """Read a data set of one image with damaged copies of one of its files."""
    one_person(root, "a", below="train")

    def run(data: bytes) -> None:
        (root / name).write_bytes(data)
        read_all(root)

    try_all(run, seeds, words)


def test_data_yaml(tmp_path: Path) -> None:
    seeds = [
        b"path: .\ntrain: images/train\nval: images/val\nnames: [car, person]\n",
        b"path: C:\\Users\\me\\set\r\ntrain: .\\images\r\nval: .\\images\r\nnc: 1\r\nnames: ['person']\r\n",
        b"train: ../train/images\nval: ../valid/images\nnames:\n  0: person\n  1: car\nroboflow:\n  version: 1\n",
        "train: [images/train, images/val]\ntest:\nnames: {0: person}\n".encode("utf-16"),
    ]
    words = [
        b"*a",
        b"&a ",
        b"!!python/object:os.system",
        b"!!binary ",
        b"!!timestamp x",
        b"2001-99-99",
        b"[",
        b"{",
        b"? ",
    ]
    words += [b"<<: ", b"~", b'"\\ud800"', b"1:2:3", b"=", b"%YAML 9", b"\0", b'"\\x00"', b"x" * 300]
    try_in_set(tmp_path, "data.yaml", seeds, words)


def test_lists_of_images(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("train: train.txt\nnames: [person]\n")
    seeds = [
        b"images/train/a.png\n./images/train/a.png\n",
        b"images\\train\\a.png\r\nC:\\Users\\me\\set\\images\\train\\a.png\r\n",
        "\ufeffimages/train/a.png\n/content/images/train/é.png\n".encode(),
    ]
    words = [b"..", b"/", b"\\", b"~", b"\0", b"x" * 300, b"\r", b"C:", b"//server/", b"\xed\xa0\x80"]
    try_in_set(tmp_path, "train.txt", seeds, words)


def test_a_text_with_a_nul_character_is_refused_by_its_file(tmp_path: Path) -> None:
    one_person(tmp_path, "a", below="train")
    (tmp_path / "data.yaml").write_text("train: train.txt\nnames: [person]\n")
    (tmp_path / "train.txt").write_bytes(b"images/train/a.png\n/conten\0t/images/b.png\n")
    with pytest.raises(DataError, match=r"train\.txt.*NUL"):
        read_all(tmp_path)


@pytest.mark.parametrize(
    "record",
    [{"a": [float("nan")]}, {"size_curve": {"cells": [{"n": 1e400}]}}],
)
def test_a_record_that_could_not_be_written_again_is_refused(tmp_path: Path, record: dict[str, object]) -> None:
    from safetensors.numpy import save_file

    tensors = {"pixels": np.zeros((4, 4, 3), np.uint8), "mask": np.ones((4, 4), np.uint8)}
    head = {"schema": 1, "target": "chest", "record": record, "size_mm": [100, 100], "name": "a"}
    save_file(tensors, str(tmp_path / "a.safetensors"), metadata={"physadv": json.dumps(head)})
    with pytest.raises(PatchError, match="record: expected values that JSON holds"):
        load_patch(tmp_path / "a.safetensors")


@pytest.mark.parametrize("where", ["x" * 5000, "nul\0", "a/" * 3000])
def test_a_pattern_by_a_name_that_no_file_has(where: str) -> None:
    with pytest.raises(PatchError):
        load_patch(where)
