"""Search: which bones are nearest to a probe, by looking at everything or at the cells that may hold them."""

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError
from boneprint.index import compiled, walk
from boneprint.index import graph as graphs
from boneprint.index.cells import Cells
from boneprint.index.exact import FloatArray, exact_search, measure, ranked, shortlist, squared_error, sweep
from boneprint.index.gallery import Gallery
from boneprint.index.hits import Hits
from boneprint.index.rows import UNIT_TOLERANCE

IntArray = NDArray[np.int64]

# Where a filter leaves no more views than this, all of them are looked at (FIELD section 7: 0.8 ms for 10,000 views).
FILTERED_VIEWS = 20_000
# With fewer bones than this, or than so many times k, there is nothing to choose.
FEW_BONES, FEW_BONES_PER_K = 32, 4
# To prove an answer at most this share of all views is looked at where they lie scattered; more is read faster in one
# go, by BLAS.
_PROOF_SHARE = 0.25
# A graph over very many prototypes is asked for so many bones.
_WALKED_BONES, _WALKED_BONES_PER_K = 160, 10


def search(
    gallery: Gallery,
    probes: NDArray[np.float32],
    k: int,
    *,
    subset: NDArray[np.bool_] | None = None,
    exact: bool | None = None,
) -> Hits:
    """The k bones nearest to a probe, or to several probes of one bone.

    The distance of a bone to a probe is that of its nearest view; P probes are fused as the root mean square.

    Parameters
    ----------
    gallery : what is enrolled
    probes : (P, D) float32, unit rows, all of one bone; a view that is absent is left out
    k : how many bones; all of them if there are fewer
    subset : (N,) bool, the bones to search among; all by default
    exact : prove that no other bone is nearer (True), look at the likeliest only (False), or choose by the size (None)

    Raises
    ------
    BoneprintError
        If the gallery or the subset is empty, k is less than 1, or the probes do not fit.
    StoreError
        If views that are looked at do not match their checksum.
    """
    _check(gallery, probes, k)
    bones = _chosen(gallery, subset)
    indexed = bones[: gallery.indexed_bones if subset is None else np.searchsorted(bones, gallery.indexed_bones)]
    if exact is None:
        few = graphs.EXACT_VIEWS if len(bones) == gallery.bones else FILTERED_VIEWS
        views = gallery.indexed_views if len(bones) == gallery.bones else int(gallery.rows.counts(indexed).sum())
        exact = views <= few
    if len(indexed) <= max(FEW_BONES, FEW_BONES_PER_K * k):
        return exact_search(gallery.rows, probes, k, bones)
    # Bones that came after the index was made are few, and looked at one by one.
    young = bones[len(indexed) :]
    if exact:
        hits = _by_loops(gallery, gallery.stored_index, probes, k, indexed, young, prove=True)
        return hits or exact_search(gallery.rows, probes, k, bones)
    cells, numbers = gallery.cells
    if len(cells) > graphs.SWEPT_PROTOTYPES:
        return _by_graph(gallery, probes, k, indexed, young)
    hits = _by_loops(gallery, (cells, numbers), probes, k, indexed, young, prove=False)
    if hits is None:
        numbers = numbers[indexed]
        about = walk.compared(cells, probes, numbers)
        hits = _walked(gallery, cells, probes, k, indexed, numbers, young, about)
    return hits


def _by_loops(
    gallery: Gallery,
    index: tuple[Cells, IntArray] | None,
    probes: FloatArray,
    k: int,
    bones: IntArray,
    young: IntArray,
    *,
    prove: bool,
) -> Hits | None:
    """What the compiled loops find; None where they are not loaded, not made for it, or would take longer than BLAS."""
    rows = gallery.rows
    if index is None or rows.half or (loops := compiled.loops()) is None:
        return None
    cells, numbers = index
    if len(bones) < len(numbers):
        numbers = numbers[bones]
    block = rows.blocks[0]
    if rows.ends[bones[-1]] > len(block.rows):
        return None
    others = sweep(rows, probes, young)
    error = squared_error(rows)
    proof_views = _PROOF_SHARE * gallery.views if prove else walk.PROOF_VIEWS
    state = loops.UNVERIFIED
    while state == loops.UNVERIFIED:
        try:
            state, found, nearest, proved_to, kth_squared = loops.nearest(
                block.rows, rows.begins, rows.ends, rows.unverified, bones, numbers, cells.offsets, cells.view_offsets,
                cells.owners, cells.codes.codes, cells.codes.units, cells.codes.squares, cells.codes.slack,
                probes, others, k, error, proof_views, prove,
            )  # fmt: skip
        except OSError:
            compiled.give_up()
            return None
        if state == loops.UNVERIFIED:
            rows.verify(np.unique(found))
    if state == loops.TOO_MUCH:
        return None
    found = bones[found]
    # By the one arithmetic that makes equal bones equal.
    squared = np.square(block.rows[nearest].astype(np.float64) - probes.astype(np.float64)).sum(axis=2)
    late = young[others <= kth_squared + 2 * error]
    if len(late):
        late_squared, late_nearest = measure(rows, probes, late)
        found, squared = np.concatenate([found, late]), np.concatenate([squared, late_squared])
        nearest = np.concatenate([nearest, late_nearest])
    fused = squared.mean(axis=1)
    best = np.lexsort((found, fused))[:k]
    proof = np.inf if prove else float(proved_to)
    return Hits(found[best], np.sqrt(fused[best]).astype(np.float32), nearest[best], proof)


def _by_graph(gallery: Gallery, probes: FloatArray, k: int, bones: IntArray, young: IntArray) -> Hits:
    """Among very many prototypes: those whose centre is near, and those that the graph finds."""
    graph, numbers = gallery.graph
    numbers = numbers[bones]
    gaps, bounds = graph.balls(probes, numbers)
    asked = max(_WALKED_BONES, _WALKED_BONES_PER_K * k)
    # Where a bone has several prototypes its centre says less.
    near = min(round(asked * graph.crowding), len(bones))
    places = np.argpartition(gaps, near - 1)[:near]
    several = places[graph.several[numbers[places]]]
    if len(several):
        gaps[several] = graph.gaps(probes, numbers[several])
    found, found_gaps = graph.walked(probes, asked, share=len(bones) / graph.bones)
    at = np.minimum(np.searchsorted(numbers, found), len(numbers) - 1)
    there = numbers[at] == found
    gaps[at[there]] = found_gaps[there]
    about = walk.About(np.arange(len(bones) + 1), gaps, bounds)
    return _walked(gallery, None, probes, k, bones, numbers, young, about)


def _walked(
    gallery: Gallery,
    cells: Cells | None,
    probes: FloatArray,
    k: int,
    bones: IntArray,
    numbers: IntArray,
    young: IntArray,
    about: walk.About,
) -> Hits:
    """What the walk in numpy finds."""
    rows = gallery.rows
    others = sweep(rows, probes, young)
    found, proved_to = walk.Walk(rows, cells, probes, k, bones, numbers, others, about).nearest()
    swept = np.concatenate([sweep(rows, probes, found), others])
    near = shortlist(rows, swept, np.concatenate([found, young]), k)
    hits = ranked(rows, probes, k, near)
    return Hits(hits.bones, hits.distances, hits.nearest_views, proved_to)


def _chosen(gallery: Gallery, subset: NDArray[np.bool_] | None) -> IntArray:
    if subset is None:
        return gallery.places
    if subset.shape != (gallery.bones,) or subset.dtype != np.bool_:
        raise BoneprintError(
            f"subset of type {subset.dtype} and shape {subset.shape}, expected bool ({gallery.bones},). "
            "Say for each bone of the gallery whether to search it."
        )
    if not subset.any():
        raise BoneprintError(
            f"none of the {gallery.bones:,} enrolled bones is left by the filter, expected at least one. Loosen it."
        )
    return np.flatnonzero(subset)


def _check(gallery: Gallery, probes: NDArray[np.float32], k: int) -> None:
    if gallery.bones == 0:
        raise BoneprintError("the gallery is empty, expected enrolled bones to search. Run `boneprint ingest` first.")
    if k < 1:
        raise BoneprintError(f"k is {k}, expected at least 1: the number of candidates to return.")
    if probes.ndim != 2 or len(probes) == 0 or probes.shape[1] != gallery.dim or probes.dtype != np.float32:
        raise BoneprintError(
            f"probes of type {probes.dtype} and shape {probes.shape}, expected float32 (P, {gallery.dim}), "
            f"P at least 1. Embed the radiograph with {gallery.embedder}."
        )
    lengths = np.sqrt(np.einsum("pd,pd->p", probes, probes, dtype=np.float64))
    if not (np.abs(lengths - 1) <= UNIT_TOLERANCE).all():
        raise BoneprintError(
            f"probe rows of length {', '.join(f'{length:.6f}' for length in lengths)}, expected 1 within "
            f"{UNIT_TOLERANCE:g}: NaN or not normalised. Embed the radiograph again."
        )
