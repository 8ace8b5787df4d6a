"""A database for other weights: every bone of an old one is embedded anew, from what is kept of it.

New weights speak another language, and vectors cannot be translated. The views can be made again: from the grid that
`ingest` keeps of each bone, else from its kept pictures, else from its CT where that still lies in its place.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boneprint import drr, embed, ingest, probe, read
from boneprint.database import Database
from boneprint.errors import BoneprintError
from boneprint.index import Gallery, Store
from boneprint.nouns import Canvas, Enrolment, Radiograph, Reference, canvas_for
from boneprint.nouns.canvas import LONG_CANVASES
from boneprint.superimpose import Solid

if TYPE_CHECKING:
    from boneprint.embed import Embedder

_AT_ONCE = 16  # bones in a segment

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Reindexed:
    """What became of an old database's bones.

    Parameters
    ----------
    made : bone ids that are enrolled in the new database now
    kept : those that were already, from a run that was stopped
    failed : bone id and reason
    """

    made: tuple[str, ...]
    kept: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


def reindex(
    old: Path | str,
    new: Path | str,
    *,
    weights: Path | str | None = None,
    operator: str | None = None,
    report: Report | None = None,
) -> Reindexed:
    """Enrol every bone of one database in another, with the fingerprints of other weights; the old one stays as it is.

    Called again it goes on where it was stopped.

    Parameters
    ----------
    old : made by any weights
    new : made where there is none
    weights, operator : as in `Database.open`, for the new one
    report : called with (bones done, bones in all)

    Raises
    ------
    StoreError
        If the old one cannot be read, or the new one is of other weights or held by another writer.
    BoneprintError
        If both are one file.
    """
    old, new = Path(old), Path(new)
    if old.resolve() == new.resolve():
        raise BoneprintError(
            f"{new}: both are one file; name another one with -o, and keep the old one until it is done."
        )
    gallery = Store.open(old).gallery()
    made: list[str] = []
    failed: list[tuple[str, str]] = []
    with Database.open(new, writable=True, weights=weights, operator=operator) as database:
        there = set(database.store.gallery().enrolled)
        waiting = [row for row, r in enumerate(gallery.references) if (r.source_hash, r.part) not in there]
        embedder = embed.load_embedder(Path(weights) if weights else embed.SHIPPED)
        batch: list[Enrolment] = []
        for done, row in enumerate(waiting, 1):
            try:
                batch.append(_again(gallery, row, embedder))
            except BoneprintError as error:
                failed.append((gallery.references[row].bone_id, str(error)))
            if len(batch) == _AT_ONCE or (batch and done == len(waiting)):
                database.add(batch)
                made += [each.reference.bone_id for each in batch]
                batch = []
            if report:
                report(done, len(waiting))
        if database.store.worth_merging:
            database.store.checkpoint(grow=True)
    rest = set(waiting)
    kept = tuple(r.bone_id for row, r in enumerate(gallery.references) if row not in rest)
    return Reindexed(tuple(made), kept, tuple(failed))


def _again(gallery: Gallery, row: int, embedder: "Embedder") -> Enrolment:
    reference = gallery.references[row]
    rows = range(int(gallery.rows.begins[row]), int(gallery.rows.ends[row]))
    pictures = tuple(picture for view in rows if (picture := gallery.picture(view)) is not None)
    solid = gallery.solid(row)
    views, canvas, long = _views(gallery, row, pictures, embedder)
    if long is None:
        angles_deg, tilts_deg = np.array([gallery.direction(view) for view in rows], dtype=np.float32).T
    else:
        angles_deg, tilts_deg = drr.enrolment_directions(long=long)
        if pictures and len(pictures) != len(views):
            pictures = tuple(read.png_bytes(view, bits=8) for view in views)
    embed = embedder.embed if reference.part == probe.XRAY else embedder.embed_views
    return Enrolment(
        replace(reference, canvas_mm=canvas.height_mm),
        embed(views, canvas),
        angles_deg,
        pictures,
        bytes(solid) if solid is not None else b"",
        tilts_deg,
    )


def _views(
    gallery: Gallery, row: int, pictures: Sequence[bytes], embedder: "Embedder"
) -> tuple[list[Radiograph], Canvas, bool | None]:
    """The views of a bone, the canvas that they are now seen on, and whether it is long.

    None: views are those that there were, from where these were taken.
    """
    reference = gallery.references[row]
    packed = gallery.solid(row)
    if packed is not None:
        solid = Solid.decoded(packed, reference.bone_id)
        mu = solid.levels.astype(np.float32) * np.float32(solid.level_per_mm)
        long = _is_long(reference)
        canvas = drr.canvas_of_grid(mu.shape, solid.step_mm, long=long)
        return drr.views_of_grid(mu, solid.step_mm, reference.source, long=long), canvas, long
    if pictures:
        views = [read.from_png(picture, reference.source) for picture in pictures]
        if reference.part == probe.XRAY:
            return views, probe.canvas_of_pairs(views, reference.bone, embedder), None
        return views, _canvas(views[: len(drr.ENROLMENT_ANGLES)], long=_is_long(reference)), None
    if reference.part == probe.XRAY:
        raise BoneprintError("neither a grid nor pictures of it are kept; enrol its radiographs again.")
    views = ingest.enrolled_views(reference)
    level = views[: len(drr.ENROLMENT_ANGLES)]
    long = len(views) == len(level)
    return views, _canvas(level, long=long), long


def _is_long(reference: Reference) -> bool:
    return reference.canvas_mm in {canvas.height_mm for canvas in LONG_CANVASES}


def _canvas(views: Sequence[Radiograph], *, long: bool) -> Canvas:
    """As `drr.canvas_of`, by the size of the level pictures: they hold the specimen from every side."""
    height, width = (max(view.pixels.shape[axis] * view.known_spacing_mm() for view in views) for axis in (0, 1))
    return canvas_for(height, width, long=long)
