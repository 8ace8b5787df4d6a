"""What a checkpoint writes: the bones of a base and its segments, but those that were removed, with one index."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import StoreError
from boneprint.index.cells import INDEX_VERSION, Cells
from boneprint.index.graph import CELL_VIEWS, EXACT_VIEWS, PrototypeGraph
from boneprint.index.prototypes import Cover, cover_of
from boneprint.index.segment import Segment
from boneprint.index.snapshot import Snapshot
from boneprint.index.write import Content, Stored

# The files of a snapshot, with which of their bones go on.
_Kept = Sequence[tuple[Segment, NDArray[np.bool_]]]
_NO_ANGLES = np.zeros(0, np.float32)


def merged(snapshot: Snapshot, empty: Content, *, without: Set[str], threads: int, grow: bool) -> Content:
    """The content of a base that covers a whole snapshot.

    Parameters
    ----------
    empty : store, embedder, precision and generation of that base
    without : ids of bones to leave out, besides those that were removed before
    threads, grow : of its index; see `Store.checkpoint`

    Raises
    ------
    StoreError
        If vectors, pictures or solids are damaged.
    """
    kept = [
        (part, living & np.array([reference.bone_id not in without for reference in part.references], dtype=bool))
        for part, living in zip(snapshot.parts, snapshot.living)
    ]
    for part, _ in kept:
        part.verify_all()
    counts = np.concatenate([np.diff(part.offsets)[chosen] for part, chosen in kept])
    runs = [(part, first, last) for part, chosen in kept for first, last in _row_runs(part, chosen)]
    return replace(
        empty,
        references=[reference for part, chosen in kept for reference in compress(part.references, chosen.tolist())],
        vectors=[part.block.rows[first:last] for part, first, last in runs],
        counts=counts,
        angles_deg=np.concatenate([part.angles_deg[first:last] for part, first, last in runs] or [_NO_ANGLES]),
        tilts_deg=np.concatenate([part.tilts_deg[first:last] for part, first, last in runs] or [_NO_ANGLES]),
        pictures=[part.pictures.raw(row) for part, first, last in runs for row in range(first, last)]
        if any(part.pictures for part in snapshot.parts)
        else (),
        solids=[part.solids.raw(bone) for part, chosen in kept for bone in np.flatnonzero(chosen).tolist()],
        graph=_index(kept, int(counts.sum()), empty.dim, threads=threads, grow=grow),
    )


def graph_of(part: Segment) -> PrototypeGraph | None:
    """The index that a file holds; None where it holds none that is in order."""
    try:
        return part.graph()
    except (StoreError, ValueError):
        return None


def cells_of(part: Segment) -> Cells | None:
    """The cells that a file holds; None where it holds none that are in order."""
    try:
        return part.cells()
    except (StoreError, ValueError):
        return None


def _row_runs(part: Segment, chosen: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Ranges of rows that hold the chosen bones of a file, as few as that takes."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], chosen, [False]]).astype(np.int8)))
    return [(int(part.offsets[first]), int(part.offsets[last])) for first, last in zip(edges[::2], edges[1::2])]


def _index(kept: _Kept, views: int, dim: int, *, threads: int, grow: bool) -> Stored | None:
    """Cells, and in large galleries the graph over them: those of the base with more bones, or made anew."""
    (base, chosen), *segments = kept
    grow = grow and bool(chosen.all())
    if views <= CELL_VIEWS:
        return None
    if views <= EXACT_VIEWS:
        known = cells_of(base) if grow else None
        cells = known.grown(_covers(segments)) if known else Cells.of(_covers(kept), dim)
        return cells.stored(), {"graph_version": INDEX_VERSION}
    present = graph_of(base) if grow else None
    if present is not None:
        return present.grown(_covers(segments), threads=threads).stored()
    return PrototypeGraph.built(_covers(kept), dim, threads=threads).stored()


def _covers(kept: _Kept) -> Iterator[Cover]:
    """What stands for each bone in the graph: taken from the graph of the file it is in, or else made."""
    for part, chosen in kept:
        graph = graph_of(part)
        for bone in np.flatnonzero(chosen).tolist():
            first, last = part.offsets[bone : bone + 2]
            yield graph.cover(bone) if graph else cover_of(part.block.rows[first:last])
