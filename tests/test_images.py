"""Images of every kind are read alike: by content, bounded, upright or as the sensor gave them, in sRGB."""

import os
import struct
import zlib
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms

from physadv.arrays import decode_image, decode_image_rgba, identity_of, image_size, pixels_sha256, read_image
from physadv.colour_profiles import ADOBE_GAMMA, ADOBE_RGB, PRIMARIES, profile_of
from physadv.decoding import jpeg_header
from physadv.errors import DataError, PatchError
from physadv.types import UInt8Array

pillow_heif.register_heif_opener()
SRGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
# As an editor would store them in Adobe RGB, and the same colours in sRGB (by colour-science's conversion).
STORED = np.array([(200, 60, 60), (60, 180, 60), (60, 60, 200), (150, 200, 160)], np.uint8)
ADOBE_AS_SRGB = np.array([(230, 60, 60), (0, 180, 46), (60, 60, 203), (123, 200, 158)])


def encoded(pixels: UInt8Array | Image.Image, kind: str, **options: object) -> bytes:
    out = BytesIO()
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    image.save(out, kind, **options)
    return out.getvalue()


def squares() -> UInt8Array:
    return STORED.reshape(2, 2, 3).repeat(16, axis=0).repeat(24, axis=1)


def centres(pixels: UInt8Array) -> UInt8Array:
    return pixels[8::16, 12::24].reshape(4, 3)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(*chunks: bytes) -> bytes:
    """A PNG of the squares with chunks after its header."""
    data = encoded(squares(), "PNG")
    return data[:33] + b"".join(chunks) + data[33:]


KINDS = ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "GIF", "AVIF", "HEIF"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_content_says_the_kind_whatever_the_name_says(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "IMG_1.jpg"
    path.write_bytes(encoded(squares(), kind, **({"quality": 95} if kind in ("JPEG", "WEBP", "AVIF", "HEIF") else {})))
    assert np.abs(centres(read_image(path)).astype(int) - STORED).max() < 12
    assert image_size(path.read_bytes()) == (48, 32)
    assert (decode_image_rgba(path.read_bytes(), name="x")[..., 3] == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_an_embedded_profile_is_converted_to_srgb(kind: str) -> None:
    profile = profile_of(ADOBE_RGB, ADOBE_GAMMA)
    options = {"subsampling": "4:4:4"} if kind == "AVIF" else {"chroma": 444} if kind == "HEIF" else {"subsampling": 0}
    data = encoded(
        squares(), kind, icc_profile=profile, **({} if kind in ("PNG", "TIFF") else {"quality": 100, **options})
    )
    for pixels in (decode_image(data, name="x"), decode_image_rgba(data, name="x")[..., :3]):
        assert np.abs(centres(pixels).astype(int) - ADOBE_AS_SRGB).max() <= 6


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_an_image_is_known_by_its_pixels_as_they_are_stored(tmp_path: Path, kind: str) -> None:
    """Records of patterns that were trained before colours were converted list it so."""
    plain, wide = tmp_path / "plain", tmp_path / "wide"
    plain.write_bytes(encoded(squares(), kind))
    wide.write_bytes(encoded(squares(), kind, icc_profile=profile_of(ADOBE_RGB, ADOBE_GAMMA)))
    assert identity_of(wide, read_image(wide)) == pixels_sha256(read_image(plain)) != pixels_sha256(read_image(wide))
    assert identity_of(plain, read_image(plain)) == pixels_sha256(read_image(plain))
    assert identity_of(tmp_path / "none", squares()) == ""


@pytest.mark.parametrize("profile", [SRGB_PROFILE, b"rubbish", SRGB_PROFILE[:200], None])
def test_srgb_and_damaged_profiles_leave_the_pixels_alone(profile: bytes | None) -> None:
    data = encoded(squares(), "PNG", **({} if profile is None else {"icc_profile": profile}))
    assert np.array_equal(decode_image(data, name="x"), squares())


def test_what_png_says_of_its_colours_otherwise() -> None:
    def read(*chunks: bytes) -> UInt8Array:
        return centres(decode_image(png_with(*chunks), name="x")).astype(int)

    def chromaticities(space: tuple[float, ...]) -> bytes:
        return chunk(b"cHRM", struct.pack(">8I", *(round(v * 100_000) for v in space)))

    gamma = chunk(b"gAMA", struct.pack(">I", 45455))
    assert np.abs(read(gamma, chromaticities(ADOBE_RGB)) - ADOBE_AS_SRGB).max() <= 6
    assert np.array_equal(read(gamma, chromaticities(PRIMARIES[1])), STORED), "what programs write for sRGB"
    assert np.array_equal(read(gamma), STORED)
    assert np.array_equal(read(chunk(b"sRGB", b"\0"), gamma, chromaticities(ADOBE_RGB)), STORED), "sRGB goes first"
    p3 = chunk(b"cICP", bytes([12, 13, 0, 1]))
    assert np.abs(read(p3) - [(217, 42, 52), (0, 183, 30), (60, 60, 208), (135, 202, 156)]).max() <= 3
    linear = chunk(b"gAMA", struct.pack(">I", 100_000))
    assert np.abs(read(linear)[0] - (229, 134, 134)).max() <= 2
    for odd in (struct.pack(">I", 0), struct.pack(">I", 2**32 - 1)):
        assert np.array_equal(read(chunk(b"gAMA", odd)), STORED), "a gamma that cannot be is none"
    assert np.array_equal(read(chunk(b"cHRM", bytes(32))), STORED)


def test_cameras_that_say_adobe_rgb_in_exif_alone() -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8769).update({0xA001: 0xFFFF, 0xA005: {1: "R03", 2: b"0100"}})
    data = encoded(squares(), "JPEG", quality=100, subsampling=0, exif=exif)
    assert b"R03\0" in data
    assert np.abs(centres(decode_image(data, name="x")).astype(int) - ADOBE_AS_SRGB).max() <= 6


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_or_as_the_sensor_gave_it(kind: str, orientation: int) -> None:
    stored = np.zeros((32, 48, 3), np.uint8)
    stored[:16, :24], stored[:16, 24:], stored[16:, :24] = (220, 30, 30), (30, 220, 30), (30, 30, 220)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, kind, exif=exif, **({} if kind in ("PNG", "TIFF") else {"quality": 95}))
    sensor = decode_image(data, name="x", upright=False)
    assert sensor.shape == (32, 48, 3)
    assert np.abs(sensor[4::16, 6::24].astype(int) - stored[4::16, 6::24]).max() < 40
    # Where the red, green and blue corners of the stored image are to be seen.
    turns = {1: "RG/B.", 2: "GR/.B", 3: ".B/GR", 4: "B./RG", 5: "RB/G.", 6: "BR/.G", 7: ".G/BR", 8: "G./RB"}
    upright = decode_image(data, name="x")
    assert upright.shape == ((32, 48, 3) if orientation < 5 else (48, 32, 3))
    h, w = upright.shape[:2]
    names = {0: "R", 1: "G", 2: "B"}
    seen = [
        "." if p.max() < 100 else names[int(p.argmax())]
        for p in upright[h // 4 :: h // 2, w // 4 :: w // 2].reshape(4, 3)
    ]
    assert "".join(seen) == turns[orientation].replace("/", "")


def test_the_size_is_checked_as_the_decoder_will_read_it() -> None:
    """A restart marker before a small frame that is none: a reader that skips it wrongly checks the wrong size."""
    whole = encoded(squares(), "JPEG")
    frame = whole.index(b"\xff\xc0")
    huge = whole[: frame + 5] + struct.pack(">HH", 60_000, 60_000) + whole[frame + 9 :]
    small = b"\0\x13" + b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, 16, 16, 3) + bytes([1, 17, 0, 2, 17, 0, 3, 17, 0])
    for trick in (huge, huge[:2] + b"\xff\xd0" + huge[2:], huge[:2] + b"\xff\xd0" + small[:2] + huge[2:]):
        with pytest.raises(DataError, match="60000 x 60000 pixels is more than"):
            decode_image(trick, name="x")
    # libjpeg takes no second frame, so neither is the first one's size taken for the image's.
    with pytest.raises(DataError, match="not an image"):
        decode_image(huge[:2] + small[2:] + huge[2:], name="x")
    assert jpeg_header(whole[:2] + b"\xff\xd0rubbish\xff\xff\xff" + whole[3:]).width == 48


@cache
def bombs() -> dict[str, tuple[bytes, str]]:
    """Small files that claim much, and what is said of them."""
    png = encoded(squares(), "PNG")
    bmp = bytearray(encoded(squares(), "BMP"))
    bmp[18:26] = struct.pack("<ii", 30_000, -30_000)
    tiff = bytearray(encoded(squares(), "TIFF", tiffinfo={}))
    for tag in (256, 257):
        at = tiff.index(struct.pack("<H", tag) + b"\4\0\1\0\0\0") + 8
        tiff[at : at + 4] = struct.pack("<I", 60_000)
    gif = encoded(squares(), "GIF")
    webp = b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<II", 10, 0) + b"\xff\x3f\0\xff\x3f\0"
    progressive = encoded(Image.new("L", (4000, 4000)), "JPEG", progressive=True)
    scan, end = progressive.rfind(b"\xff\xda"), progressive.rfind(b"\xff\xd9")
    return {
        "idat": (png[:33] + struct.pack(">I", 0xF0000000) + b"IDAT", "cut off"),
        "png": (png[:8] + chunk(b"IHDR", struct.pack(">II", 60_000, 60_000) + png[24:29]) + png[33:], "60000 x 60000"),
        "bmp": (bytes(bmp), "30000 x 30000"),
        "tiff": (bytes(tiff), "60000 x 60000"),
        "ppm": (b"P6\n# a comment\n30000 30000\n255\n", "30000 x 30000"),
        "gif": (gif[:6] + struct.pack("<HH", 60_000, 60_000) + gif[10:], "60000 x 60000"),
        "webp": (webp, "16384 x 16384|not an image"),
        "scans": (progressive[:scan] + progressive[scan:end] * 3000 + progressive[end:], "scans .* too long"),
        "profile": (png_with(chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(50_000_000), 9))), "not an image"),
    }


@pytest.mark.parametrize("kind", bombs())
def test_small_files_that_claim_much_are_refused_before_decoding(kind: str) -> None:
    data, why = bombs()[kind]
    with pytest.raises(PatchError, match=f"^x: .*({why})"):
        decode_image(data, name="x", error=PatchError)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_cut_off_is_no_image(kind: str) -> None:
    rng = np.random.default_rng(0)
    data = encoded(rng.integers(0, 256, (64, 64, 3), np.uint8), kind)
    for share in (0.02, 0.3, 0.6, 0.9):
        with pytest.raises(DataError, match="x: "):
            decode_image(data[: int(len(data) * share)], name="x")
    if kind == "JPEG":
        # A card or a broken copy leaves a file of full length that ends in zeros.
        with pytest.raises(DataError, match="cut off"):
            decode_image(data[: len(data) // 2].ljust(len(data), b"\0"), name="x")


def test_what_is_no_regular_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for path in (tmp_path / "pipe.png", tmp_path, tmp_path / "none.png", tmp_path / "nul\0.png"):
        with pytest.raises(DataError):
            read_image(path)


def test_a_damaged_image_prints_nothing_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError):
        decode_image(b"P6 99 99 65535\n", name="a.ppm", max_pixels=10**6, error=DataError)
    assert capfd.readouterr() == ("", "")
