"""Profiles on disk: a measured camera, and a printer measured through it; refused if old, changed or foreign."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import AwareDatetime, Field, ValidationError, field_validator, model_validator

from physadv.arrays import to_image, to_tensor
from physadv.camera.colour_table import KINDS, ColourTable
from physadv.errors import CalibrationError
from physadv.files import NAME as NAME
from physadv.files import checked_name as checked_name
from physadv.files import write_json
from physadv.settings import Settings, one_line
from physadv.types import Float32Array, UInt8Array

if TYPE_CHECKING:
    import torch

    from physadv.camera.colour import ColourMap

VERSION = 1
MAX_BYTES = 20_000_000
# As much of a damaged file is shown: characters of one value, and faults.
SHOWN, FAULTS = 120, 3
# A profile's lists and tables lie four deep; to show what is wrong in one of thousands would take more stack than there is.
DEEPEST = 12
# Lenses stay; focus, zoom and mounts do not. Ink, paper batches and lamps change sooner.
CAMERA_DAYS = 365
PRINTER_DAYS = 180
Colour = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(min_length=3, max_length=3)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
# As many coefficients as OpenCV's models of a lens have, the last of them with thin prism and tilt.
LENSES = (4, 5, 8, 12, 14)
Row3 = Annotated[list[float], Field(min_length=3, max_length=3)]


class Profile(Settings):
    """What every profile holds: a name, when it was made, and a hash by which a run's record names it."""

    kind: str
    version: Literal[1] = 1
    name: str
    created: AwareDatetime
    DAYS: ClassVar[int]
    FOLDER: ClassVar[str]

    @field_validator("name")
    @classmethod
    def _name_is_a_file_name(cls, value: str) -> str:
        return checked_name(value)

    @property
    def sha256(self) -> str:
        """Return the hash of everything the profile holds: its identity, whatever file it is in."""
        return hashlib.sha256(_canonical(self.model_dump(mode="json"))).hexdigest()

    def save(self, path: Path) -> None:
        """Write the profile as JSON with its hash, atomically.

        Raises: OSError if it cannot be written.
        """
        write_json(path, {**self.model_dump(mode="json"), "sha256": self.sha256})

    @classmethod
    def load(cls, where: str | Path) -> Self:
        """Return the profile in a file, or of that name in calib/ below the working folder or beside the package.

        Raises: CalibrationError if it is missing, damaged, of another kind or changed since it was saved.
        """
        path = cls.find(where)
        table = _read_table(path)
        recorded = table.pop("sha256", None)
        want = cls.model_fields["kind"].default
        if table.get("kind") != want:
            raise CalibrationError(f"{path}: expected a {want} profile, got {_short(table.get('kind'))}")
        if table.get("version") != VERSION:
            raise CalibrationError(
                f"{path}: expected profile version {VERSION}, got {_short(table.get('version'))}; calibrate again"
            )
        try:
            profile = cls.model_validate(table)
        except ValidationError as error:
            raise CalibrationError(_some_of(error, path)) from error
        if recorded != hashlib.sha256(_canonical(table)).hexdigest():
            raise CalibrationError(f"{path}: changed since it was saved (its hash does not fit); calibrate again")
        return profile

    @classmethod
    def find(cls, where: str | Path) -> Path:
        """Return the path of a profile given as a path or a bare name.

        Raises: CalibrationError if there is none; the message lists the names there are.
        """
        path = Path(where)
        named = [folder / f"{where}.json" for folder in cls._folders()] if path.name == str(where) else []
        for candidate in (path, *named):
            # A name too long for a file's is one of none.
            with suppress(OSError, ValueError):
                if candidate.is_file():
                    return candidate
        known = cls.known()
        verb = "camera" if cls.FOLDER == "cameras" else "colour"
        raise CalibrationError(
            f"{where}: no such {verb} profile (known: {', '.join(known) or 'none'}); "
            f"make one with `physadv calibrate {verb}`"
        )

    @classmethod
    def known(cls) -> list[str]:
        """Return the names by which `find` finds a profile without a path, sorted."""
        return sorted({p.stem for folder in cls._folders() if folder.is_dir() for p in folder.glob("*.json")})

    @classmethod
    def _folders(cls) -> list[Path]:
        return [Path("calib") / cls.FOLDER, Path(__file__).parents[2] / "calib" / cls.FOLDER]

    def check_age(self, *, now: datetime | None = None, days: int | None = None) -> None:
        """Raise CalibrationError if the profile is older than `days` (unless given, its kind's limit) or in the future."""
        age = (now or datetime.now(UTC)) - self.created
        limit = self.DAYS if days is None else days
        if age > timedelta(days=limit):
            raise CalibrationError(
                f"{self.name}: this {self.kind} profile is {age.days} days old, at most {limit} are accepted; "
                "calibrate again"
            )
        if age < timedelta(days=-1):
            raise CalibrationError(
                f"{self.name}: this {self.kind} profile was made in the future ({self.created:%Y-%m-%d}); check the clock"
            )


class CameraProfile(Profile):
    """A calibrated camera: pinhole with lens distortion, for one image size.

    width, height: pixels. matrix: 3 x 3 intrinsics in pixels. distortion: OpenCV's k1 k2 p1 p2 (k3 (k4 k5 k6 (s1 to s4 (tx
    ty)))), 4, 5, 8, 12 or 14 of them. rms_px: of the reprojected corners. focal_error_px: one standard deviation of the
    focal length. views: accepted images. coverage: share of the image's cells in which corners were seen. board: the
    ChArUco board. notes: exposure, white balance and whatever else should be the same when the profile is used.
    """

    kind: Literal["camera"] = "camera"
    width: int = Field(ge=16, le=20000)
    height: int = Field(ge=16, le=20000)
    matrix: Annotated[list[Row3], Field(min_length=3, max_length=3)]
    distortion: list[Annotated[float, Field(ge=-1e6, le=1e6)]]
    rms_px: float = Field(ge=0, le=5)
    focal_error_px: float = Field(ge=0)
    views: int = Field(ge=1)
    coverage: float = Field(ge=0, le=1)
    board: dict[str, float | int | str] = Field(default_factory=dict)
    notes: dict[str, str] = Field(default_factory=dict)
    DAYS = CAMERA_DAYS
    FOLDER = "cameras"

    @model_validator(mode="after")
    def _is_a_camera(self) -> Self:
        (fx, _, cx), (_, fy, cy), bottom = self.matrix
        if len(self.distortion) not in LENSES:
            raise ValueError(f"distortion: expected {', '.join(map(str, LENSES))} values, got {len(self.distortion)}")
        if bottom != [0.0, 0.0, 1.0] or not (0.1 * self.width < fx < 50 * self.width and 0.5 * fy < fx < 2 * fy):
            raise ValueError(f"matrix: expected pinhole intrinsics for {self.width} x {self.height}, got {self.matrix}")
        if not (0 < cx < self.width and 0 < cy < self.height):
            raise ValueError(f"matrix: expected a principal point inside the image, got ({cx:.0f}, {cy:.0f})")
        return self

    @property
    def focal_px(self) -> float:
        """Return the mean focal length in pixels."""
        return (self.matrix[0][0] + self.matrix[1][1]) / 2

    @property
    def field_of_view_deg(self) -> tuple[float, float]:
        """Return the horizontal and vertical field of view in degrees."""
        fx, fy = self.matrix[0][0], self.matrix[1][1]
        h, v = np.degrees(2 * np.arctan([self.width / 2 / fx, self.height / 2 / fy]))
        return float(h), float(v)

    def check_size(self, width: int, height: int) -> None:
        """Raise CalibrationError if the profile is for images of another size.

        A camera crops or scales between its modes, and which of the two is not known.
        """
        if (width, height) != (self.width, self.height):
            raise CalibrationError(
                f"{self.name}: this camera profile is for {self.width} x {self.height} images, got {width} x {height}; "
                f"set the camera to {self.width}x{self.height} or calibrate at {width}x{height}"
            )


class OriginPhoto(Settings):
    """A photograph that was read: its file's name and hash."""

    name: str
    sha256: Sha256


class Origin(Settings):
    """What a printer's profile was made of. polynomial: the kind of map that held-out colours asked for."""

    kind: Literal["chart", "pairs"]
    photos: list[OriginPhoto]
    polynomial: str

    @field_validator("polynomial")
    @classmethod
    def _is_a_kind(cls, value: str) -> str:
        if value not in KINDS:
            raise ValueError(f"expected one of {', '.join(KINDS)}, got {value[:40]!r}")
        return value


class PrinterProfile(Profile):
    """A printer as one camera sees it: the colour map, its held-out error, the printable colours, and the way back.

    printer, camera: names. camera_sha256: the CameraProfile the photographs were taken with, or None. source: what was
    read (chart or pairs of folders, names and hashes of the photographs). held_out: dE2000 of colours the fit had not
    seen (n, mean, p95) beside that of no map (no_map_mean, no_map_p95), and of repeated patches (repeat_mean). palette:
    printable camera colours; palette_digital: the digital colours that gave them, row by row. inverse: digital colours on
    a lattice of camera colours, from which `precompensate` reads.
    """

    kind: Literal["printer"] = "printer"
    printer: str
    camera: str
    camera_sha256: Sha256 | None = None
    source: Origin | None = None
    map: ColourTable
    held_out: dict[str, float]
    palette: Annotated[list[Colour], Field(min_length=2, max_length=4096)]
    palette_digital: Annotated[list[Colour], Field(min_length=2, max_length=4096)]
    paper_white: Colour
    darkest: Colour
    inverse: Annotated[list[Colour], Field(min_length=8)]
    DAYS = PRINTER_DAYS
    FOLDER = "printers"

    @field_validator("printer", "camera")
    @classmethod
    def _names_are_file_names(cls, value: str) -> str:
        return checked_name(value)

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        if len(self.palette) != len(self.palette_digital):
            raise ValueError("palette: expected as many digital as camera colours")
        if round(len(self.inverse) ** (1 / 3)) ** 3 != len(self.inverse):
            raise ValueError(f"inverse: expected a cubic lattice, got {len(self.inverse)} colours")
        return self

    def colour_map(self) -> ColourMap:
        """Return the map from digital to camera colour with its spread."""
        from physadv.camera.colour import ColourMap

        return ColourMap.from_dict(self.map, name=self.name)

    def printable(self) -> torch.Tensor:
        """Return the (k, 3) printable camera colours, for a non-printability score."""
        import torch

        return torch.tensor(self.palette, dtype=torch.float32)

    def printable_digital(self) -> torch.Tensor:
        """Return the (k, 3) digital colours that print as `printable`, for a score on pixels before the map."""
        import torch

        return torch.tensor(self.palette_digital, dtype=torch.float32)

    def precompensate(self, images: torch.Tensor, *, relative: bool = True) -> torch.Tensor:
        """Return the (b, 3, h, w) digital images that, printed, look to the camera as `images` do. Differentiable.

        relative: aim between the paper's white and the darkest ink instead of at 0 and 1, which no print reaches. Colours
        out of the printer's gamut become the nearest within.
        """
        import torch

        from physadv.camera.colour import Lattice

        if relative:
            white, black = (torch.tensor(c).to(images).reshape(1, 3, 1, 1) for c in (self.paper_white, self.darkest))
            images = black + images * (white - black)
        return Lattice.from_rows(self.inverse).apply(images)

    def precompensate_image(self, pixels: UInt8Array, *, relative: bool = True) -> UInt8Array:
        """Return an (h, w, 3) uint8 RGB image pre-compensated for print."""
        return to_image(self.precompensate(to_tensor(pixels)[None], relative=relative)[0])

    def check_camera(self, camera: CameraProfile) -> None:
        """Raise CalibrationError if the printer was measured through another camera, or an older calibration of it."""
        if self.camera != camera.name:
            raise CalibrationError(
                f"{self.name}: this printer was measured through camera {self.camera!r}, got {camera.name!r}; "
                "run `physadv calibrate colour` with that camera"
            )
        if self.camera_sha256 is not None and self.camera_sha256 != camera.sha256:
            raise CalibrationError(
                f"{self.name}: made with another calibration of camera {camera.name!r} (profile {self.camera_sha256[:12]}, "
                f"got {camera.sha256[:12]}); run `physadv calibrate colour` again"
            )


def load_profiles(
    camera: str | Path | None, printer: str | Path | None, *, size: tuple[int, int] | None = None
) -> tuple[CameraProfile | None, PrinterProfile | None]:
    """Return the profiles of `--camera` and `--printer`, checked for age, for each other and for the image size.

    Raises: CalibrationError for a profile that is missing, damaged, changed, stale, foreign or of another size.
    """
    c = None if camera is None else CameraProfile.load(camera)
    p = None if printer is None else PrinterProfile.load(printer)
    for profile in (c, p):
        if profile is not None:
            profile.check_age()
    if c is not None and size is not None:
        c.check_size(*size)
    if c is not None and p is not None:
        p.check_camera(c)
    return c, p


def _canonical(table: dict[str, Any]) -> bytes:
    return json.dumps(table, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _read_table(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CalibrationError(f"{path}: larger than any profile ({MAX_BYTES // 1_000_000} MB)")
        table = json.loads(path.read_text(encoding="utf-8-sig"), parse_constant=_no_number)
    except (OSError, ValueError, RecursionError) as error:
        raise CalibrationError(f"{path}: not a readable profile: {str(error)[:SHOWN]}") from error
    if not isinstance(table, dict):
        raise CalibrationError(f"{path}: expected a profile, got {type(table).__name__}")
    if not _is_flat(table):
        raise CalibrationError(f"{path}: not a profile: lists and tables within each other, more than {DEEPEST} deep")
    return table


def _is_flat(value: object) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        tables = [v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list)]
        level = [inner for table in tables for inner in table]
    return not level


def _no_number(name: str) -> None:
    raise ValueError(f"expected finite numbers, got {name}")


def _short(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | None) else type(value).__name__
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _place(part: int | str) -> int | str:
    """Return part of a field's place as it can be shown: a name in a damaged file may be anything."""
    return part if isinstance(part, int) or (part.isidentifier() and len(part) < 40) else repr(part[:40])


def _some_of(error: ValidationError, path: Path) -> str:
    """Return what is wrong with a profile in one line: the first few faults, and how many more there are."""
    faults = [{**fault, "loc": tuple(map(_place, fault["loc"]))} for fault in error.errors(include_url=False)]
    more = f"; and {len(faults) - FAULTS} more" if len(faults) > FAULTS else ""
    text = one_line(faults[:FAULTS])
    return f"{path}: {text if len(text) <= SHOWN * FAULTS else text[: SHOWN * FAULTS] + '…'}{more}"


def rows_of(array: Float32Array, digits: int = 4) -> list[list[float]]:
    """Return (n, 3) colours as plain rounded rows within [0, 1]."""
    return [[round(float(min(max(v, 0.0), 1.0)), digits) for v in row] for row in array]
