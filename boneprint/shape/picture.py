"""Pictures of a comparison: one surface from four sides, coloured by its distance from the other."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from boneprint.shape.comparison import Comparison
from boneprint.shape.mesh import distances_mm, write_surface
from boneprint.shape.surface import FloatArray, Surface

_POINTS = 400_000
_HEIGHT, _GAP, _CAPTION = 720, 20, 84
_SIDES_DEG = (0, 90, 180, 270)

# Of viridis (matplotlib, CC0): dark is near, bright is far, also in grey and for the colour-blind.
_SCALE = np.array([[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]], dtype=np.float64)


def colours(values: FloatArray, most: float) -> NDArray[np.uint8]:
    """(N, 3) colours of values from 0 to ``most`` and beyond."""
    at = np.clip(values / most, 0, 1) * (len(_SCALE) - 1)
    channels = [np.interp(at, np.arange(len(_SCALE)), channel) for channel in _SCALE.T]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def write_coloured(path: Path | str, comparison: Comparison) -> None:
    """Write A as it was laid onto B (B, where it is the fragment) as PLY, its vertices coloured by their distance.

    The distance itself is kept as the vertices' quality.
    """
    shown, other = _shown(comparison)
    away = distances_mm(shown.vertices, other)
    write_surface(path, shown, colours=colours(away, _most(comparison)), values=away)


def draw(path: Path | str, comparison: Comparison, title: str = "") -> None:
    """Write a PNG of the surface from four sides, with the scale of its colours.

    Its long axis stands upright, with that end up that lies higher in its own frame.
    """
    shown, other = _shown(comparison)
    points, faces = shown.sampled(_POINTS)
    most = _most(comparison)
    colour = colours(distances_mm(points, other), most)
    normals = shown.face_normals[faces]
    # Two axes at once are turned round, so that no picture is a mirror image.
    axes = shown.axes if shown.axes[0, 2] >= 0 else shown.axes * [[-1], [-1], [1]]
    place = (points - shown.centre_mm) @ axes.T  # x: the long axis, upwards in the picture
    normals = normals @ axes.T
    radius = float(np.linalg.norm(place[:, 1:], axis=1).max())
    low, high = float(place[:, 0].min()), float(place[:, 0].max())
    pixel_mm = (high - low) / (_HEIGHT - 1)
    width = int(2 * radius / pixel_mm) + 1
    sheet = np.full((_HEIGHT + _CAPTION, len(_SIDES_DEG) * (width + _GAP) + _GAP + 90, 3), 24, dtype=np.uint8)
    for number, side in enumerate(np.deg2rad(_SIDES_DEG)):
        across = np.array([0.0, np.cos(side), np.sin(side)])
        towards = np.array([0.0, -np.sin(side), np.cos(side)])
        order = np.argsort(place @ towards)  # what is nearer is painted later
        rows = ((high - place[order, 0]) / pixel_mm).astype(int)
        columns = ((place[order] @ across + radius) / pixel_mm).astype(int)
        light = 0.35 + 0.65 * np.clip(normals[order] @ towards, 0, 1)
        left = _GAP + number * (width + _GAP)
        side_on = np.zeros((_HEIGHT, width, 3), dtype=np.uint8)
        side_on[rows, columns] = (colour[order] * light[:, None]).astype(np.uint8)
        # Between the points drawn a few pixels stay empty.
        bare = ~side_on.any(axis=2)
        gaps = bare & ndimage.binary_closing(~bare)
        side_on[gaps] = ndimage.maximum_filter(side_on, (3, 3, 1))[gaps]
        sheet[_CAPTION:, left : left + width][side_on.any(axis=2)] = side_on[side_on.any(axis=2)]
    bar = colours(np.linspace(most, 0, _HEIGHT), most)
    sheet[_CAPTION:, -90:-70] = bar[:, None]
    picture = Image.fromarray(sheet)
    _write_words(picture, comparison, title, most)
    picture.save(path, format="PNG")


def _write_words(picture: Image.Image, comparison: Comparison, title: str, most: float) -> None:
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(18)
    pen.text((_GAP, 8), title or f"{Path(comparison.a.source).name} on {Path(comparison.b.source).name}", "white", font)
    measures = f"RMS {comparison.rms_mm:.2f}  HD95 {comparison.hd95_mm:.2f}  Hausdorff {comparison.hausdorff_mm:.2f} mm"
    pen.text((_GAP, 34), measures, "white", font)
    pen.text((picture.width - 64, _CAPTION), f"{most:.3g}", "white", font)
    pen.text((picture.width - 64, picture.height - 26), "0 mm", "white", font)


def _shown(comparison: Comparison) -> tuple[Surface, Surface]:
    return (comparison.b, comparison.a) if comparison.fragment == "b" else (comparison.a, comparison.b)


def _most(comparison: Comparison) -> float:
    """The distance that is painted brightest: what 95 % of the surface stay below."""
    return max(comparison.hd95_mm, 1e-3)
