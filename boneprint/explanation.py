"""Explain a probe: what its fingerprint rests on, and where it agrees with a candidate; drawn for an examiner."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from boneprint import embed
from boneprint.database import Database
from boneprint.embed import weights as weights_file
from boneprint.embed.explain import Maps, explain, likeness, randomised
from boneprint.embed.finder import GLANCES, VIEW_GLANCES, Glance
from boneprint.embed.networks import Compact
from boneprint.embed.preprocess import preprocess
from boneprint.errors import BoneprintError
from boneprint.ingest import enrolled_view
from boneprint.nouns import Candidate, Canvas, Radiograph, canvas_of_height
from boneprint.probe import common_canvas

FloatArray = NDArray[np.float32]

# Of the weights that have learnt nothing, which the maps are held against.
_BLANK_SEED = 0
_TILE_HEIGHT, _CAPTION, _GAP = 560, 64, 12
_LEGEND = "Orange supports the likeness, blue speaks against it. A lead for an examiner, not an identification."
_SUPPORTS, _AGAINST = (255, 96, 0), (0, 128, 255)
_OPAQUE = 0.7  # at the strongest place of a map


@dataclass(frozen=True, eq=False)
class Pictured:
    """One picture as the network sees it, (H, W) float32 with its pedestal taken away, and its maps.

    ``blank_likeness`` is the rank correlation of its Grad-CAM with that of weights that have learnt nothing: near 1 it
    would only show the picture.
    """

    name: str
    seen: FloatArray
    maps: Maps
    blank_likeness: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """What a probe's fingerprint rests on; with a candidate, what their similarity rests on.

    ``view`` is the candidate's nearest enrolled view, None where none was kept and it cannot be made again.
    """

    probe: Pictured
    canvas_mm: float
    candidate: Candidate | None = None
    view: Pictured | None = None


def of_probe(probe: Radiograph, *, weights: Path | str | None = None) -> Explanation:
    """What the fingerprint of one radiograph rests on, on the smallest canvas that holds it.

    Raises
    ------
    ReadError
        If its pixel spacing is unknown.
    """
    network = _network(weights)
    canvas = common_canvas([probe])
    return Explanation(_pictured(network, Path(probe.source).name, _seen(probe, canvas), None), canvas.height_mm)


def of_pair(database: Database, probe: Radiograph, bone_id: str, *, weights: Path | str | None = None) -> Explanation:
    """Where a radiograph and an enrolled bone agree: the target of each is the other's fingerprint.

    Parameters
    ----------
    weights : those that the database was opened with

    Raises
    ------
    BoneprintError
        If there is no such bone, or its views were made for a smaller field than the probe shows.
    """
    (candidate,) = database.search(probe, 1, where={"id": bone_id}, exact=True).candidates
    network = _network(weights)
    canvas = canvas_of_height(candidate.reference.canvas_mm)
    seen = _seen(probe, canvas)
    own = _fingerprint(network, seen)
    gallery = database.store.gallery()
    enrolled = gallery.rows.of(gallery.references.index(candidate.reference)).astype(np.float32)
    nearest = enrolled[np.argmax(enrolled @ own)]
    again = enrolled_view(candidate)
    return Explanation(
        probe=_pictured(network, Path(probe.source).name, seen, nearest),
        canvas_mm=canvas.height_mm,
        candidate=candidate,
        view=None
        if again is None
        else _pictured(network, f"{bone_id}, {candidate.view}", _seen(again, canvas), own, VIEW_GLANCES),
    )


def draw(explanation: Explanation, path: Path | str) -> None:
    """Write a PNG: each picture as the network sees it, and its maps over it.

    Orange is what speaks for likeness, blue what speaks against it; all similarity maps have one scale.
    """
    pictured = [each for each in (explanation.probe, explanation.view) if each is not None]
    most = max(float(np.abs(each.maps.shares).max()) for each in pictured)
    tiles = []
    for each in pictured:
        about = "probe" if each is explanation.probe else "enrolled view"
        shares, cam = _enlarged(each.maps.shares / most, each.seen), each.maps.grad_cam
        tiles += [
            _tile(each.seen, None, [f"{about}, as the network sees it", each.name]),
            _tile(each.seen, cam, [f"{about}: Grad-CAM", f"against blank weights: {each.blank_likeness:+.2f}"]),
            _tile(each.seen, shares, [f"{about}: similarity map", f"sums to {each.maps.similarity:.3f}"]),
        ]
    width = _GAP + sum(tile.width + _GAP for tile in tiles)
    height = tiles[0].height + 2 * _GAP
    sheet = Image.new("RGB", (width, height + 2 * _GAP), (24, 24, 28))
    ImageDraw.Draw(sheet).text((_GAP, height - 4), _LEGEND, fill="silver", font=ImageFont.load_default(15))
    left = _GAP
    for tile in tiles:
        sheet.paste(tile, (left, _GAP))
        left += tile.width + _GAP
    sheet.save(path, format="PNG")


def _network(weights: Path | str | None) -> Compact:
    path = Path(weights) if weights else embed.SHIPPED
    network, card = weights_file.load(path)
    if not isinstance(network, Compact):
        raise BoneprintError(
            f"{path}: a {card['architecture']} network, whose maps cannot be drawn; expected a compact one."
        )
    return network


def _seen(radiograph: Radiograph, canvas: Canvas) -> torch.Tensor:
    return preprocess([radiograph], canvas)[0]


def _fingerprint(network: Compact, seen: torch.Tensor) -> FloatArray:
    with torch.inference_mode():
        vector: FloatArray = network(seen[None])[0].numpy()
    return vector


def _pictured(
    network: Compact,
    name: str,
    seen: torch.Tensor,
    target: FloatArray | None,
    glances: Sequence[Glance] = GLANCES,
) -> Pictured:
    maps, blank = (explain(each, seen, target, glances) for each in (network, randomised(network, _BLANK_SEED)))
    # Beside the bone both are empty, which is no likeness.
    bone = maps.marked
    return Pictured(name, maps.seen, maps, likeness(maps.grad_cam[bone], blank.grad_cam[bone]))


def _enlarged(grid: FloatArray, like: FloatArray) -> FloatArray:
    """A coarse map at the size of its picture."""
    coarse = Image.fromarray(grid.astype(np.float32))
    return np.asarray(coarse.resize((like.shape[1], like.shape[0]), Image.Resampling.BILINEAR), dtype=np.float32)


def _tile(seen: FloatArray, overlay: FloatArray | None, caption: list[str]) -> Image.Image:
    shown: NDArray[np.floating] = np.repeat(np.clip(seen, 0, 1)[..., None] * 255, 3, axis=2)
    if overlay is not None:
        colour = np.where(overlay[..., None] > 0, _SUPPORTS, _AGAINST)
        weight = np.clip(np.abs(overlay), 0, 1)[..., None] * _OPAQUE
        shown = shown * (1 - weight) + colour * weight
    picture = Image.fromarray(shown.astype(np.uint8))
    picture = picture.resize((round(picture.width * _TILE_HEIGHT / picture.height), _TILE_HEIGHT))
    tile = Image.new("RGB", (picture.width, _TILE_HEIGHT + _CAPTION))
    tile.paste(picture)
    pen = ImageDraw.Draw(tile)
    for line, text in enumerate(caption):
        pen.text((4, _TILE_HEIGHT + 8 + 24 * line), text, fill="white", font=ImageFont.load_default(15))
    return tile
