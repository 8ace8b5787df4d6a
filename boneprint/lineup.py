"""A picture for the examiner: the probe beside the nearest enrolled view of each candidate."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from boneprint.ingest import enrolled_view
from boneprint.nouns import Radiograph, SearchResult

_TILE = (300, 560)  # width, height in pixels
_CAPTION = 84
_GAP = 12


def lineup(probes: Sequence[Radiograph], result: SearchResult, path: Path | str, *, most: int = 5) -> None:
    """Draw probes and best candidates side by side, each to its own exposure, with ranks and distances.

    Where the nearest enrolled view was not kept and cannot be made again (`ingest.enrolled_view`) the tile says so.

    Parameters
    ----------
    path : PNG to write
    most : how many candidates
    """
    tiles = [_tile(probe.pixels, ["probe", Path(probe.source).name], "white") for probe in probes]
    for candidate in result.candidates[:most]:
        reference = candidate.reference
        side = f" {reference.laterality}" if reference.laterality else ""
        verdict = "within" if candidate.within_margin else "outside"
        caption = [
            f"{candidate.rank}. {reference.subject_id}",
            f"{reference.bone}{side}, {candidate.view}",
            f"distance {candidate.distance:.3f} ({verdict} {candidate.threshold.value:.3f})",
        ]
        view = enrolled_view(candidate)
        colour = "lightgreen" if candidate.within_margin else "silver"
        tiles.append(_tile(None if view is None else view.pixels, caption, colour))
    width = len(tiles) * (_TILE[0] + _GAP) + _GAP
    sheet = Image.new("RGB", (width, _TILE[1] + _CAPTION + 2 * _GAP), (24, 24, 28))
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (_GAP + number * (_TILE[0] + _GAP), _GAP))
    sheet.save(path, format="PNG")


def _tile(pixels: NDArray[np.float32] | None, caption: list[str], colour: str) -> Image.Image:
    tile = Image.new("RGB", (_TILE[0], _TILE[1] + _CAPTION), (0, 0, 0))
    draw = ImageDraw.Draw(tile)
    if pixels is None:
        draw.text((20, _TILE[1] // 2), "cannot be shown again", fill="silver", font=ImageFont.load_default(18))
    else:
        low, high = np.quantile(pixels, [0.01, 0.998])
        grey = np.clip((pixels - low) / max(float(high - low), 1e-6), 0, 1) * 255
        picture = Image.fromarray(grey.astype(np.uint8))
        scale = min(_TILE[0] / picture.width, _TILE[1] / picture.height)
        picture = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
        tile.paste(picture, ((_TILE[0] - picture.width) // 2, (_TILE[1] - picture.height) // 2))
    for line, text in enumerate(caption):
        draw.text((8, _TILE[1] + 6 + 25 * line), text, fill=colour, font=ImageFont.load_default(17))
    return tile
