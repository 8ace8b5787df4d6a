"""The picture of a superimposition, for an examiner: the radiograph, its edges, and the bone's edges over them."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from boneprint.superimpose.edges import FloatArray, edges
from boneprint.superimpose.refine import Overlay, cut
from boneprint.superimpose.search import window
from boneprint.superimpose.sight import Sight
from boneprint.superimpose.solid import Solid

_CAPTION, _GAP = 44, 8
_HEIGHT = 600
_LEGEND = "Red: edges of the radiograph. Green: of the enrolled bone. Yellow: both. For an examiner to look at."


def draw(solid: Solid, sight: Sight, overlay: Overlay, path: Path | str, *, title: str) -> None:
    """Write a PNG of three tiles: radiograph, enrolled bone in the same place, and the edges of both."""
    rows, columns = window(solid, sight)
    placing, pitch_mm = overlay.placing, sight.pitch_mm
    bone = placing.render(solid.absorber(pitch_mm), pitch_mm, rows, columns)
    shown, around = (
        cut(each, placing.down_mm / pitch_mm, placing.right_mm / pitch_mm, bone.shape)[0]
        for each in (sight.picture, sight.fine.edges)
    )
    red, green = _bright(np.maximum(around, 0)), _bright(np.maximum(edges(bone), 0))
    tiles = [np.stack([each] * 3, axis=-1) for each in (_bright(shown), _bright(bone))]
    tiles.append(np.stack([red, green, np.zeros_like(red)], axis=-1))
    pictures = [_enlarged(tile) for tile in tiles]
    width = sum(picture.width + _GAP for picture in pictures) + _GAP
    sheet = Image.new("RGB", (max(width, 560), _HEIGHT + _CAPTION + 3 * _GAP), (24, 24, 28))
    left = _GAP
    for picture in pictures:
        sheet.paste(picture, (left, _GAP))
        left += picture.width + _GAP
    text = ImageDraw.Draw(sheet)
    for line, said in enumerate((f"{title}: likeness {overlay.likeness:.2f}", _LEGEND)):
        text.text((_GAP, _HEIGHT + 2 * _GAP + 20 * line), said, fill="silver", font=ImageFont.load_default(13))
    sheet.save(path, format="PNG")


def _bright(picture: FloatArray) -> FloatArray:
    """0..255, the 99.5th percentile white."""
    low, high = float(picture.min()), float(np.quantile(picture, 0.995))
    bright: FloatArray = np.clip((picture - low) * (255 / max(high - low, 1e-9)), 0, 255)
    return bright


def _enlarged(tile: FloatArray) -> Image.Image:
    picture = Image.fromarray(tile.astype(np.uint8))
    return picture.resize((round(picture.width * _HEIGHT / picture.height), _HEIGHT), Image.Resampling.BILINEAR)
