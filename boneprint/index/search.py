"""Search: which bones are nearest to a probe, by looking at everything or at the graph's candidates."""

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError
from boneprint.index.exact import UNIT_TOLERANCE, exact_search
from boneprint.index.gallery import Gallery
from boneprint.index.graph import EXACT_VIEWS
from boneprint.index.hits import Hits

# FIELD section 7: exact re-ranking of the best 50-100 bones gives the ten nearest at 0.998-1.000.
CANDIDATES = 100
# FIELD section 7: where a filter leaves less than 5-10 % of the bones, looking at all of them is faster.
EXACT_FRACTION = 0.1


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
    exact : look at every view (True), at the graph's candidates (False), or choose by the size (None)

    Raises
    ------
    BoneprintError
        If the gallery or the subset is empty, k is less than 1, or the probes do not fit.
    """
    _check(gallery, probes, k)
    bones = _chosen(gallery, subset)
    # Bones that came after the graph was made are few, and looked at one by one.
    covered, later = bones[bones < gallery.graph_bones], bones[bones >= gallery.graph_bones]
    wanted = max(CANDIDATES, 4 * k)
    if exact is None:
        exact = gallery.graph_views <= EXACT_VIEWS or len(bones) < EXACT_FRACTION * gallery.bones
    if exact or len(covered) <= wanted:
        return exact_search(gallery.vectors, gallery.offsets, probes, k, bones)

    candidates = _candidates(gallery, probes, wanted, covered)
    hits = exact_search(gallery.vectors, gallery.offsets, probes, k, np.concatenate([candidates, later]))
    unvisited = np.setdiff1d(covered, candidates, assume_unique=True)
    certified = len(unvisited) == 0 or hits.distances[-1] <= gallery.graph.lower_bounds(probes)[unvisited].min()
    return Hits(hits.bones, hits.distances, hits.nearest_views, certified_exact=bool(certified))


def _candidates(
    gallery: Gallery, probes: NDArray[np.float32], wanted: int, covered: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Union over the probes of the bones with the nearest prototypes, at least ``wanted`` of ``covered``; rising."""
    allowed = np.zeros(gallery.graph_bones, dtype=bool)
    allowed[covered] = True
    # The graph knows no filter: ask for as many more as the filter will take away.
    count = int(np.ceil(wanted * gallery.graph_bones / len(covered)))
    while True:
        near = np.unique(np.concatenate([gallery.graph.nearest_bones(probe, count) for probe in probes]))
        near = near[allowed[near]]
        if len(near) >= wanted or count >= gallery.graph_bones:
            candidates: NDArray[np.int64] = near
            return candidates
        count *= 2


def _chosen(gallery: Gallery, subset: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    if subset is None:
        return np.arange(gallery.bones)
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
    lengths = np.linalg.norm(probes.astype(np.float64), axis=1)
    if not (np.abs(lengths - 1) <= UNIT_TOLERANCE).all():
        raise BoneprintError(
            f"probe rows of length {', '.join(f'{length:.6f}' for length in lengths)}, expected 1 within "
            f"{UNIT_TOLERANCE:g}: NaN or not normalised. Embed the radiograph again."
        )
