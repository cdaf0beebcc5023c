"""A printer and a camera in software, strong but realistic, whose inner workings no calibration in physadv knows.

The printer: a driver that clips its gamut, dot gain, an ink limit, black replacing grey, and overprints that mix by the
Yule-Nielsen law. The camera: a warm lamp, overlapping filters, a white balance that corrects half of it, vignette, a tone
curve, noise, blur and JPEG. Used by the tests of `calibrate colour` and by show_profile_gain.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Image = npt.NDArray[np.uint8]

# Linear reflectance of paper, C, M, CM, Y, CY, MY, CMY: bit 0 = cyan, bit 1 = magenta, bit 2 = yellow.
_PRIMARIES = np.array(
    [
        [0.86, 0.85, 0.82],
        [0.06, 0.30, 0.52],
        [0.50, 0.06, 0.20],
        [0.06, 0.05, 0.18],
        [0.80, 0.68, 0.08],
        [0.05, 0.24, 0.07],
        [0.44, 0.05, 0.04],
        [0.035, 0.032, 0.030],
    ]
)


def _decode(v: Array) -> Array:
    return np.where(v <= 0.04045, v / 12.92, ((np.maximum(v, 0.04045) + 0.055) / 1.055) ** 2.4)


def _encode(v: Array) -> Array:
    v = np.clip(v, 0, 1)
    return np.where(v <= 0.0031308, v * 12.92, 1.055 * np.maximum(v, 0.0031308) ** (1 / 2.4) - 0.055)


@dataclass(frozen=True)
class SimulatedPrinter:
    """dot_gain: added coverage at half tone. clip: how much the driver pushes colours out before clipping them."""

    dot_gain: float = 0.16
    clip: float = 0.18
    ink_limit: float = 2.4
    yule_nielsen: float = 1.8
    driver_gamma: float = 1.9
    cast: tuple[float, float, float] = (0.0, 0.04, -0.03)

    def reflectance(self, digital: Array) -> Array:
        """Return (n, 3) linear reflectance for (n, 3) digital colours in [0, 1]."""
        light = _decode(digital)
        grey = light.mean(1, keepdims=True)
        light = np.clip(light + self.clip * (light - grey), 0, 1)
        ink = 1 - light ** (1 / self.driver_gamma)
        ink = np.clip(ink * (1 + np.array(self.cast)), 0, 1)
        black = 0.7 * np.maximum(ink.min(1, keepdims=True) - 0.4, 0) / 0.6
        ink = ink - 0.6 * black
        ink = ink * np.minimum(1, self.ink_limit / np.maximum(ink.sum(1, keepdims=True), 1e-9))
        ink, black = (np.clip(v + 4 * self.dot_gain * v * (1 - v), 0, 1) for v in (ink, black))
        n = self.yule_nielsen
        total = np.zeros_like(digital)
        for index, primary in enumerate(_PRIMARIES):
            bits = np.array([index & 1, index >> 1 & 1, index >> 2 & 1], bool)
            area = np.where(bits, ink, 1 - ink).prod(1, keepdims=True)
            total += area * primary ** (1 / n)
        return (total * (1 - black) + black * 0.03 ** (1 / n)) ** n


@dataclass(frozen=True)
class SimulatedCamera:
    """lamp: its colour. balance: share of it that white balance takes out. vignette: light lost in the corners."""

    lamp: tuple[float, float, float] = (1.0, 0.80, 0.55)
    balance: float = 0.5
    exposure: float = 0.95
    crosstalk: float = 0.12
    contrast: float = 0.35
    vignette: float = 0.35
    slope: tuple[float, float] = (0.18, -0.10)
    noise: float = 0.012
    blur: float = 0.9
    jpeg: int = 90

    def light(self, reflectance: Array) -> Array:
        """Return (n, 3) linear sensor values after white balance, before the tone curve."""
        lamp = np.array(self.lamp)
        c = self.crosstalk
        filters = np.array([[1 - c, c, 0], [c / 2, 1 - c, c / 2], [0, c, 1 - c]])
        gains = (lamp @ filters.T) ** -self.balance
        return (reflectance * lamp) @ filters.T * gains * self.exposure

    def tone(self, light: Array) -> Array:
        """Return sRGB-coded values in [0, 1] for linear sensor values: highlights roll off, then an S-curve."""
        v = _encode(np.where(light > 0.8, 0.8 + 0.2 * np.tanh((light - 0.8) / 0.2), light))
        return (1 - self.contrast) * v + self.contrast * v * v * (3 - 2 * v)

    def field(self, width: int, height: int) -> Array:
        """Return (height, width, 1) of relative light over the image."""
        y, x = np.mgrid[0:height, 0:width]
        u, v = 2 * x / (width - 1) - 1, 2 * y / (height - 1) - 1
        fall = 1 - self.vignette * (u * u + v * v) / 2
        return (fall * (1 + self.slope[0] * u / 2 + self.slope[1] * v / 2))[..., None]


@dataclass(frozen=True)
class PrintAndCamera:
    """A printed sheet seen by a camera."""

    printer: SimulatedPrinter = field(default_factory=SimulatedPrinter)
    camera: SimulatedCamera = field(default_factory=SimulatedCamera)

    def colours(self, digital: Array) -> Array:
        """Return (n, 3) camera colours in [0, 1] of (n, 3) digital colours, without noise, at the image's centre."""
        return self.camera.tone(self.camera.light(self.printer.reflectance(np.asarray(digital, np.float64))))

    def image(self, pixels: Image) -> Image:
        """Return an (h, w, 3) uint8 image as seen printed, without noise."""
        table, back = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
        out = np.round(self.colours(table / 255.0) * 255).astype(np.uint8)
        return np.ascontiguousarray(out[back.ravel()].reshape(pixels.shape))

    def photograph(
        self, sheet: Image, corners: Array, size: tuple[int, int], rng: np.random.Generator, *, stops: float = 0.0
    ) -> Image:
        """Return a photograph, size = (width, height), of a sheet whose corners lie at `corners` (4, 2), clockwise.

        stops: exposure added.
        """
        table, back = np.unique(sheet.reshape(-1, 3), axis=0, return_inverse=True)
        printed = self.printer.reflectance(table / 255.0)[back.ravel()].reshape(sheet.shape).astype(np.float32)
        h, w = sheet.shape[:2]
        source = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
        matrix = cv2.getPerspectiveTransform(source, corners.astype(np.float32))
        # Shrinking by much needs a blur first, or texels between samples are never seen.
        ratio = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))
        if ratio < 0.8:
            printed = cv2.GaussianBlur(printed, (0, 0), 0.5 / ratio).astype(np.float32)
        table_top = (0.22, 0.16, 0.11)
        scene = cv2.warpPerspective(
            printed, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=table_top
        )
        light = self.camera.light(scene.reshape(-1, 3).astype(np.float64)).reshape(scene.shape)
        light = light * self.camera.field(*size) * 2.0**stops
        if self.camera.blur:
            light = cv2.GaussianBlur(light, (0, 0), self.camera.blur).astype(np.float64)
        light = light + rng.normal(size=light.shape) * self.camera.noise * np.sqrt(np.maximum(light, 0) + 0.01)
        pixels = np.round(self.camera.tone(np.maximum(light, 0)) * 255).astype(np.uint8)
        ok, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, self.camera.jpeg])
        assert ok
        return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])  # type: ignore[index]


def variant(seed: int) -> PrintAndCamera:
    """Return a printer and camera with every constant drawn around the usual ones."""
    rng = np.random.default_rng(seed)
    red, green, blue = rng.uniform(0.6, 1.0), 0.8, rng.uniform(0.5, 1.0)
    printer = SimulatedPrinter(
        dot_gain=rng.uniform(0.05, 0.22),
        clip=rng.uniform(0.0, 0.3),
        ink_limit=rng.uniform(2.0, 3.0),
        yule_nielsen=rng.uniform(1.2, 2.4),
        driver_gamma=rng.uniform(1.6, 2.4),
        cast=tuple(rng.uniform(-0.06, 0.06, 3)),
    )
    camera = SimulatedCamera(
        lamp=(red, green, blue),
        balance=rng.uniform(0.3, 0.9),
        exposure=rng.uniform(0.7, 1.1),
        crosstalk=rng.uniform(0.05, 0.2),
        contrast=rng.uniform(0.0, 0.5),
        vignette=rng.uniform(0.1, 0.45),
        slope=tuple(rng.uniform(-0.2, 0.2, 2)),
        noise=rng.uniform(0.005, 0.02),
        blur=rng.uniform(0.5, 1.5),
        jpeg=int(rng.integers(80, 96)),
    )
    return PrintAndCamera(printer, camera)
