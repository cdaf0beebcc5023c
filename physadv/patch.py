"""A finished patch: 8-bit pixels, mask, size in millimetres and the record of how it was made. One loader, no pickle."""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as save_safetensors

from physadv.arrays import bytes_of, decode_image_rgba
from physadv.decoding import png_text
from physadv.errors import PatchError, PatternReplaced, did_you_mean
from physadv.files import atomic_write, checked_name, file_name, parse_json, utf8_path
from physadv.types import UInt8Array

if TYPE_CHECKING:
    import torch

SCHEMA = 1
# A patch of 4096 x 4096 texels would print a metre at 100 dpi; larger files are refused before decoding.
MAX_SIDE = 4096
# Records are some 100 kB.
MAX_HEADER = 16 * 2**20
SHIPPED = Path(__file__).parent / "patterns"
# What was shipped before, by the shipped pattern that took its place: commands, settings and recordings name these.
REPLACED = {
    "chest-v1": "webcam",
    "chest-v2": "webcam",
    "chest-v3": "webcam",
    "chest-v4": "webcam",
    "poster-v2": "poster",
    "shirt-street-v1": "tshirt",
    "shirt-v1": "tshirt",
    "shirt-v2": "tshirt",
    "street-v1": "street",
}
Target = Literal["poster", "chest", "portrait", "tshirt", "outfit"]
TARGETS: tuple[Target, ...] = get_args(Target)
# Targets of which a pattern is the texture of cloth, which repeats without a seam.
TEXTURES: tuple[Target, ...] = ("tshirt", "outfit")


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A pattern as it is saved, printed and scored: always 8 bit, so no score is of a float original.

    pixels: (h, w, 3) uint8 RGB, sRGB. mask: (h, w) uint8, 255 where there is ink, 0 where there is nothing. size_mm:
    (width, height) when printed. target: what it is for; a "portrait" print is higher than wide, "tshirt" and "outfit"
    patterns tile without a seam. record: plain values of how it was made (settings, seeds, detector hashes, held-out
    figures); empty for a foreign image.
    """

    name: str
    pixels: UInt8Array
    mask: UInt8Array
    size_mm: tuple[float, float]
    target: Target = "chest"
    record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        h, w = self.pixels.shape[:2]
        if self.pixels.shape != (h, w, 3) or self.pixels.dtype != np.uint8:
            raise PatchError(
                f"{self.name}: pixels: expected (h, w, 3) uint8, got {self.pixels.shape} {self.pixels.dtype}"
            )
        if self.mask.shape != (h, w) or self.mask.dtype != np.uint8:
            raise PatchError(f"{self.name}: mask: expected ({h}, {w}) uint8, got {self.mask.shape} {self.mask.dtype}")
        if not 1 <= min(h, w) <= max(h, w) <= MAX_SIDE:
            raise PatchError(f"{self.name}: expected a side of 1 to {MAX_SIDE} pixels, got {w} x {h}")
        if not self.mask.any():
            raise PatchError(f"{self.name}: the mask has no area: nothing would be printed")
        if not all(math.isfinite(s) and 1 <= s <= 5000 for s in self.size_mm):
            raise PatchError(f"{self.name}: size_mm: expected 1 to 5000 mm, got {self.size_mm}")
        self.pixels.setflags(write=False)
        self.mask.setflags(write=False)

    @property
    def sha256(self) -> str:
        """Return the hash of pixels, mask and shape: the pattern's identity, whatever file holds it."""
        head = json.dumps(self.pixels.shape).encode()
        return hashlib.sha256(head + self.pixels.tobytes() + self.mask.tobytes()).hexdigest()

    @property
    def tiles(self) -> bool:
        """Return whether it is a texture that repeats without a seam, and its size the period."""
        return self.target in TEXTURES

    @property
    def framing(self) -> str:
        """Return where it was trained to work: "webcam", "street" or "mixed"; "" where its record does not say."""
        settings = self.record.get("settings")
        framing = settings.get("framing") if isinstance(settings, dict) else None
        return framing if framing in ("webcam", "street", "mixed") else ""

    @property
    def when(self) -> str:
        """Return the condition under which alone it was trained to act, as `train --when` takes it; "" for always."""
        settings = self.record.get("settings")
        when = settings.get("when") if isinstance(settings, dict) else None
        return when if isinstance(when, str) else ""

    @property
    def otherwise(self) -> str | None:
        """Return when it was trained not to act, as `train --otherwise` takes it; None for whenever `when` is not so."""
        otherwise = self.record["settings"].get("otherwise") if self.when else None
        return otherwise if isinstance(otherwise, str) else None

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return pixels (3, h, w) and mask (1, h, w), float32 in [0, 1]."""
        import torch

        pixels = torch.from_numpy(self.pixels.transpose(2, 0, 1).copy()).float().div_(255)
        return pixels, torch.from_numpy(self.mask[None].copy()).float().div_(255)

    def rgba(self) -> UInt8Array:
        """Return pixels and mask as (h, w, 4) uint8."""
        return np.dstack([self.pixels, self.mask])


def load_patch(where: str | Path, *, size_mm: float = 360.0) -> Patch:
    """Return the patch in a .safetensors or image file, a run folder, or shipped under that name (`street`).

    An image without physadv's metadata becomes a chest patch `size_mm` wide, as high as its shape says, named after its
    file. An old name of a shipped pattern gives the one that took its place, with a `PatternReplaced` warning.

    Raises: PatchError if nothing is there, or the file is damaged, too large or malformed, or its name could lead out of
    a folder.
    """
    if not str(where):
        raise PatchError("expected the name or file of a pattern, got none; `physadv patterns` lists those shipped")
    path = Path(where)
    try:
        there = path.exists()
    except OSError as error:
        raise PatchError(f"{str(where)[:80]}: no such patch file: {error.strerror}") from error
    if not there and path.name == str(where):
        path = SHIPPED / f"{shipped_name(path.name)}.safetensors"
    if path.is_dir():
        if not (path / "patch.safetensors").is_file():
            raise PatchError(f"{path}: expected a finished run, got a folder without patch.safetensors")
        path = path / "patch.safetensors"
    if not path.is_file():
        raise PatchError(f"{path}: no such patch file")
    if path.suffix == ".safetensors":
        return _from_safetensors(path)
    data = bytes_of(path, PatchError)
    return patch_from_image(data, name=path.stem, size_mm=size_mm, where=str(path))


def shipped_names() -> list[str]:
    """Return the names of the patterns that come with physadv."""
    return sorted(p.stem for p in SHIPPED.glob("*.safetensors"))


def shipped_name(name: str) -> str:
    """Return what the shipped pattern of that name is called now; of an old name with a `PatternReplaced` warning.

    Raises: PatchError if none is shipped by that name, nor ever was.
    """
    known = shipped_names()
    if name in REPLACED:
        warnings.warn(replacement(name), PatternReplaced, stacklevel=3)
        return REPLACED[name]
    if name not in known:
        near = did_you_mean(name, [*known, *REPLACED]) or f"; shipped are {', '.join(known)}"
        raise PatchError(f"{name[:80]}: no such file, and no shipped pattern of that name{near}")
    return name


def replacement(name: str) -> str:
    """Return one line that says which shipped pattern took the place of one in `REPLACED`."""
    return f"the pattern {name} is no longer shipped: {REPLACED[name]} took its place"


def patch_from_image(data: bytes, *, name: str, size_mm: float = 360.0, where: str = "") -> Patch:
    """Return a patch from the bytes of a PNG or JPEG; physadv's own metadata is honoured.

    name: what it is called unless its metadata says; characters that no file name should hold become dashes. where: what
    errors call it, such as its path; `name` unless given.

    Raises: PatchError.
    """
    where = where or name
    rgba = decode_image_rgba(data, name=where, max_pixels=MAX_SIDE * MAX_SIDE, error=PatchError)
    meta = _png_metadata(data)
    h, w = rgba.shape[:2]
    size = (size_mm, size_mm * h / w)
    if "size_mm" in meta:
        size = _pair(meta["size_mm"], where)
    target = meta.get("target", "chest")
    out = Patch(
        _named(meta["name"], where) if "name" in meta else file_name(name),
        np.ascontiguousarray(rgba[..., :3]),
        np.ascontiguousarray(rgba[..., 3]),
        size,
        target if target in TARGETS else "chest",
    )
    saved = meta.get("sha256")
    # Somebody changed the image since: an evaluation says so. One that is as it was saved has no record, as any image.
    return replace(out, record={"saved_sha256": saved}) if isinstance(saved, str) and saved != out.sha256 else out


def save_patch(patch: Patch, folder: Path, *, stem: str = "patch") -> tuple[Path, Path]:
    """Write `<stem>.png` (sRGB, ICC, size in its metadata) and `<stem>.safetensors`; return both paths.

    The same patch always gives the same bytes.

    Raises: OSError if the disk is full or the folder cannot be written.
    """
    png, tensors = folder / f"{stem}.png", folder / f"{stem}.safetensors"
    with atomic_write(png) as stream:
        stream.write(png_bytes(patch))
    save_tensors(patch, tensors)
    return png, tensors


def save_tensors(patch: Patch, path: Path) -> None:
    """Write the .safetensors file alone, which holds everything, the record too; no image is touched.

    Raises: OSError if the disk is full or the folder cannot be written.
    """
    head = {"name": patch.name, "schema": SCHEMA, "size_mm": list(patch.size_mm), "target": patch.target}
    metadata = {"physadv": json.dumps({**head, "record": patch.record}, sort_keys=True, allow_nan=False)}
    with atomic_write(path) as stream:
        stream.write(save_safetensors({"pixels": patch.pixels.copy(), "mask": patch.mask.copy()}, metadata=metadata))


def png_bytes(patch: Patch) -> bytes:
    """Return the patch as PNG: sRGB with ICC profile, resolution from its size, physadv's metadata."""
    info = PngInfo()
    head = {"name": patch.name, "sha256": patch.sha256, "size_mm": list(patch.size_mm), "target": patch.target}
    info.add_text("physadv", json.dumps(head, sort_keys=True))
    mode_rgba = bool((patch.mask != 255).any())
    image = Image.fromarray(patch.rgba() if mode_rgba else patch.pixels)
    dpi = patch.pixels.shape[1] / (patch.size_mm[0] / 25.4)
    out = BytesIO()
    image.save(out, "PNG", pnginfo=info, dpi=(dpi, dpi), icc_profile=srgb_profile())
    return out.getvalue()


def srgb_profile() -> bytes:
    """Return an sRGB ICC profile, the same bytes each time (creation date zeroed)."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Bytes 24-35 of an ICC header are the creation time, 84-99 the profile id over it: both would differ from run to run.
    profile[24:36] = bytes((7, 0xE8, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0))
    profile[84:100] = bytes(16)
    return bytes(profile)


def _png_metadata(data: bytes) -> dict[str, Any]:
    try:
        value = parse_json(png_text(data, "physadv") or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _named(value: Any, where: str) -> str:
    """Return a name that came with a file: it goes into paths and tables, and must not lead elsewhere."""
    if not isinstance(value, str):
        raise PatchError(f"{where}: name: expected text, got {type(value).__name__}")
    try:
        return checked_name(value)
    except ValueError as error:
        raise PatchError(f"{where}: name: {error}") from error


def _pair(value: Any, name: str) -> tuple[float, float]:
    """Return a print's size that came with a file; its range is checked by `Patch`."""
    numbers = isinstance(value, list) and len(value) == 2 and all(type(v) in (int, float) for v in value)
    try:
        if numbers:
            return float(value[0]), float(value[1])
        got = repr(value)
    except (OverflowError, ValueError, RecursionError):
        got = "a number beyond any print"
    raise PatchError(f"{name}: size_mm: expected [width, height] in mm, got {got[:80]}")


def _from_safetensors(path: Path) -> Patch:
    try:
        with path.open("rb") as head:
            length = int.from_bytes(head.read(8), "little")
        if length > MAX_HEADER:
            raise PatchError(f"{path}: not a readable patch file: a header of {length:,} bytes")
        with utf8_path(path) as place, safe_open(place, framework="numpy") as stream:
            metadata = parse_json((stream.metadata() or {}).get("physadv", "null"))
            names = set(stream.keys())
            if not isinstance(metadata, dict) or not {"pixels", "mask"} <= names:
                raise PatchError(f"{path}: expected pixels, mask and a physadv record, got {sorted(names)[:8]}")
            if metadata.get("schema") != SCHEMA:
                raise PatchError(
                    f"{path}: expected patch schema {SCHEMA}, got {metadata.get('schema')!r}; update physadv"
                )
            shape = stream.get_slice("pixels").get_shape()
            if len(shape) != 3 or max(shape) > MAX_SIDE:
                raise PatchError(f"{path}: pixels: expected (h, w, 3) up to {MAX_SIDE}, got {shape}")
            # By the header, before anything is read: a mask may be larger than any memory, and numpy knows no bfloat16.
            for key, wanted in (("pixels", [*shape[:2], 3]), ("mask", shape[:2])):
                part = stream.get_slice(key)
                if part.get_dtype() != "U8" or part.get_shape() != wanted:
                    raise PatchError(
                        f"{path}: {key}: expected {wanted} of type U8, got {part.get_shape()} of type {part.get_dtype()}"
                    )
            pixels, mask = stream.get_tensor("pixels"), stream.get_tensor("mask")
    except (SafetensorError, OSError, ValueError, RecursionError, OverflowError, MemoryError) as error:
        raise PatchError(f"{path}: not a readable patch file: {error}") from error
    target = metadata.get("target")
    if target not in TARGETS:
        raise PatchError(f"{path}: target: expected one of {', '.join(TARGETS)}, got {target!r}")
    record = metadata.get("record")
    if not isinstance(record, dict):
        raise PatchError(f"{path}: record: expected a table, got {type(record).__name__}")
    try:
        # It is written again with what is added to it.
        json.dumps(record, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise PatchError(f"{path}: record: expected values that JSON holds: {error}") from error
    name = _named(metadata["name"], str(path)) if "name" in metadata else file_name(path.stem)
    return Patch(name, pixels, mask, _pair(metadata.get("size_mm"), name), target, record)
