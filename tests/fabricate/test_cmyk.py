"""CMYK by the user's own profile: here one made by hand, a printer whose inks are paler than the screen's colours."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageCms
from pypdf import PdfReader

from physadv.errors import FabricationError
from physadv.fabricate.inks import cmyk
from physadv.fabricate.poster import print_patch
from physadv.fabricate.settings import PrintSettings
from physadv.patch import Patch, srgb_profile

Array = npt.NDArray[np.float64]


def _lab_of_rgb(rgb: Array) -> Array:
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_d50 = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7142]])
    f = np.cbrt(linear @ to_d50.T / [0.9642, 1.0, 0.8249])
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], 1)


def _rgb_of_lab(lab: Array) -> Array:
    fy = (lab[:, 0] + 16) / 116
    xyz = np.stack([fy + lab[:, 1] / 500, fy, fy - lab[:, 2] / 200], 1) ** 3 * [0.9642, 1.0, 0.8249]
    from_d50 = np.linalg.inv([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7142]])
    linear = np.clip(xyz @ from_d50.T, 0, 1)
    return np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def _grid(channels: int, points: int) -> Array:
    axes = np.meshgrid(*[np.linspace(0, 1, points)] * channels, indexing="ij")
    return np.stack([a.ravel() for a in axes], 1)


def _lut(inputs: int, outputs: int, points: int, table: Array) -> bytes:
    """Return an ICC lut16Type whose curves change no value."""
    ramp = struct.pack(">2H", 0, 65535)
    head = struct.pack(">4sI4B9i2H", b"mft2", 0, inputs, outputs, points, 0, *([65536, 0, 0, 0] * 2), 65536, 2, 2)
    return head + ramp * inputs + np.round(np.clip(table, 0, 1) * 65535).astype(">u2").tobytes() + ramp * outputs


def cmyk_profile() -> bytes:
    """Return a complete CMYK printer profile (version 2) of a paper-white, slightly pale printer."""
    ink = _grid(4, 5)
    rgb = (1 - ink[:, :3] * 0.9) * (1 - ink[:, 3:] * 0.95)
    # The 16-bit Lab of version 2: 100 is 65280, and a* b* have their zero at 32768.
    a2b = _lab_of_rgb(rgb) / [100, 255, 255] * [65280 / 65535] + [0, 32768 / 65535, 32768 / 65535]
    lab = (_grid(3, 17) - [0, 32768 / 65535, 32768 / 65535]) * [100 * 65535 / 65280, 255, 255]
    cover = (1 - _rgb_of_lab(lab)) / 0.9
    b2a = np.concatenate([cover, np.zeros((len(cover), 1))], 1)
    text = b"test CMYK\0"
    desc = struct.pack(">4sII", b"desc", 0, len(text)) + text + bytes(78)
    white = struct.pack(">4sI3i", b"XYZ ", 0, 63190, 65536, 54061)
    forward, back = _lut(4, 3, 5, a2b), _lut(3, 4, 17, b2a)
    tags = [(b"desc", desc), (b"wtpt", white)]
    tags += [(f"A2B{i}".encode(), forward) for i in range(3)] + [(f"B2A{i}".encode(), back) for i in range(3)]
    at, table, body = 128 + 4 + 12 * len(tags), b"", b""
    for name, data in tags:
        data += bytes(-len(data) % 4)
        table += struct.pack(">4s2I", name, at + len(body), len(data))
        body += data
    size = at + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"none", 0x02400000, b"prtr", b"CMYK", b"Lab ")
    head += struct.pack(">6H4s4s", 2024, 1, 1, 0, 0, 0, b"acsp", b"none") + bytes(24)
    head += struct.pack(">3i", 63190, 65536, 54061)
    return head + bytes(128 - len(head)) + struct.pack(">I", len(tags)) + table + body


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("icc") / "printer.icc"
    path.write_bytes(cmyk_profile())
    ImageCms.getOpenProfile(str(path))
    return path


def test_the_pdf_holds_cmyk_with_that_profile_and_a_proof_beside_it(
    cells: Patch, tmp_path: Path, profile: Path
) -> None:
    out = tmp_path / "s.pdf"
    done = print_patch(cells, PrintSettings(size=15, cmyk=profile), out)
    assert [p.name for p in done.paths] == ["s.pdf", "s-proof.png"]
    assert done.shift is not None and 0.5 < done.shift < 40
    reader: Any = PdfReader(out)
    xobject = next(iter(reader.pages[0]["/Resources"]["/XObject"].values())).get_object()
    colour = xobject["/ColorSpace"][1].get_object()
    assert colour["/N"] == 4 and colour.get_data() == profile.read_bytes()
    intent = reader.trailer["/Root"]["/OutputIntents"][0]
    assert intent["/DestOutputProfile"].get_object().get_data() == profile.read_bytes()
    # The border is black: much ink. The proof shows it as the paper would.
    width = xobject["/Width"]
    ink = np.frombuffer(xobject.get_data(), np.uint8).reshape(-1, width, 4)
    assert ink[5, 5:-5].sum(1).min() > 2 * 255
    with Image.open(done.paths[1]) as image:
        assert image.mode == "RGB" and max(image.size) == 1200


def test_white_stays_paper_and_colours_turn_pale(profile: Path) -> None:
    inks = cmyk(profile)
    white = np.full((2, 2, 3), 255, np.uint8)
    assert inks.convert(white).max() <= 3
    red = np.zeros((2, 2, 3), np.uint8)
    red[..., 0] = 255
    proof = inks.proof(red)[0, 0].astype(int)
    assert proof[0] > 200 and proof[1] > 8


def test_a_screens_profile_is_no_printers(tmp_path: Path, cells: Patch) -> None:
    path = tmp_path / "screen.icc"
    path.write_bytes(srgb_profile())
    with pytest.raises(FabricationError, match="profile for RGB"):
        print_patch(cells, PrintSettings(cmyk=path), tmp_path / "s.pdf")
