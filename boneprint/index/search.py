"""Search: which bones are nearest to a probe, by looking at everything or at the graph's candidates."""

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError
from boneprint.index.exact import FloatArray, exact_search, ranked, shortlist, sweep, sweep_scattered
from boneprint.index.gallery import Gallery
from boneprint.index.graph import EXACT_VIEWS, WALKED_CROWDING
from boneprint.index.hits import Hits
from boneprint.index.rows import UNIT_TOLERANCE

IntArray = NDArray[np.int64]

# Where a filter leaves no more views than this, all of them are looked at: at scattered places that costs some 2 ms,
# what the graph needs (FIELD section 7: 0.8 ms for 10,000 views).
FILTERED_VIEWS = 20_000
# Candidates are looked at in batches, until fewer than this share of the k nearest can be expected among the others
# (the bar is 0.99 of them found). FIELD section 7: 50-100 bones are enough, or more where views spread widely.
BATCH, LEAST_BATCH, MOST_BATCH = 32, 8, 64
# So many batches of bones are asked for at once. On the wide manifold four found 0.990 of the ten nearest, five 0.993.
ASKED_BATCHES = 5
MOST_CANDIDATES = 512
LOST_SHARE = 1e-3
# The gains of bones with several prototypes are far from normally distributed: with the share above 0.982 of the ten
# nearest were found on benchmarks/index.py's wide manifold, with this one 0.995.
LOST_SHARE_WIDE = 1e-5
# A great gain is one at this quantile; in a normal distribution it lies so many standard deviations above the median.
_GREAT, _GREAT_SD = 0.9, 1.2816
# To prove an answer, at most so many more bones are measured against their prototypes, and so many of these looked at.
_MOST_DOUBTED, _MOST_VISITED = 512, 64


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
    StoreError
        If views that are looked at do not match their checksum.
    """
    _check(gallery, probes, k)
    bones = _chosen(gallery, subset)
    indexed = bones[: np.searchsorted(bones, gallery.indexed_bones)]
    if exact is None:
        few = EXACT_VIEWS if len(bones) == gallery.bones else FILTERED_VIEWS
        exact = int(gallery.rows.counts()[indexed].sum()) <= few
    if exact or len(indexed) <= max(BATCH, 4 * k):
        return exact_search(gallery.rows, probes, k, bones)
    return _Walk(gallery, probes, k, bones, indexed).hits()


class _Walk:
    """One search by the graph: the bones looked at so far, and how near they are."""

    def __init__(
        self, gallery: Gallery, probes: NDArray[np.float32], k: int, bones: IntArray, indexed: IntArray
    ) -> None:
        self._gallery, self._probes, self._k = gallery, probes, k
        self._graph, numbers = gallery.graph
        # Bones of the graph are meant by their place among those that may be found.
        self._bones, self._numbers = indexed, numbers[indexed]
        self._sweepable = self._graph.sweepable
        # By their nearest prototypes, or by their centres.
        about = self._graph.swept if self._sweepable else self._graph.balls
        self._gaps, self._bounds = about(probes, self._numbers)
        self._unseen = np.ones(len(indexed), dtype=bool)
        # Bones that came after the graph was made are few, and looked at one by one.
        self._seen = bones[len(indexed) :]
        self._swept = sweep(gallery.rows, probes, self._seen) if len(self._seen) else np.empty(0)

    def hits(self) -> Hits:
        """The k nearest that were found, and how far that is proved."""
        self._look_at_candidates()
        doubted = self._doubted()
        if 0 < len(doubted) <= _MOST_VISITED:
            self._look_at(doubted)
        near = shortlist(self._gallery.rows, self._swept, self._seen, self._k)
        hits = ranked(self._gallery.rows, self._probes, self._k, near)
        proved_to = float(self._bounds[self._unseen].min(initial=np.inf))
        return Hits(hits.bones, hits.distances, hits.nearest_views, proved_to)

    def _look_at_candidates(self) -> None:
        """Look at the bones with the nearest prototypes, batch by batch, while others may be among the k nearest."""
        batch = max(BATCH, 2 * self._k)
        most = min(max(MOST_CANDIDATES, 4 * batch), len(self._bones))
        asked = ASKED_BATCHES * batch
        lost = self._k * (LOST_SHARE if self._graph.crowding < WALKED_CROWDING else LOST_SHARE_WIDE)
        places, gaps = self._candidates(asked)
        gains = np.empty(0)
        while True:
            # How much nearer a bone's nearest view is than its nearest prototype.
            gains = np.concatenate([gains, gaps[:batch] - self._look_at(places[:batch])])
            places, gaps = places[batch:], gaps[batch:]
            if len(gains) >= most:
                return
            if not len(places):
                asked *= 2
                places, gaps = self._candidates(asked)
            # As if gains were normally distributed, with the spread of the greater ones; the greatest is perhaps the
            # right bone's own and no measure of a stranger's. Of the n-th candidate and all after it, at most so many
            # are then nearer than the k-th so far (Q(z) <= exp(-z^2 / 2) / 2).
            rising = np.sort(gains)
            usual, great = rising[len(rising) // 2], rising[int(_GREAT * len(rising))]
            spread = (great - usual) / _GREAT_SD + 1e-6
            surprise = np.maximum((gaps - self._kth() - usual) / spread, 0)
            missed = np.cumsum(np.exp(-0.5 * surprise[::-1] ** 2))[::-1] / 2
            worth = int(np.count_nonzero(missed >= lost))
            if not worth:
                return
            batch = min(max(worth, LEAST_BATCH), MOST_BATCH)

    def _candidates(self, count: int) -> tuple[IntArray, FloatArray]:
        """Bones not yet looked at, those with the nearest prototypes first, and how near these are."""
        if self._sweepable:
            near = min(count, len(self._bones))
            places, gaps = np.argpartition(self._gaps, near - 1)[:near], self._gaps
        else:
            places, gaps = self._walked(count)
        places = places[self._unseen[places]]
        places = places[np.argsort(gaps[places], kind="stable")]
        return places, gaps[places]

    def _walked(self, count: int) -> tuple[IntArray, FloatArray]:
        """Bones with the nearest prototypes or the nearest centres, and, of these, how near the former are."""
        # Where a bone has several prototypes its centre says less.
        near = min(round(count * self._graph.crowding), len(self._bones))
        places = np.argpartition(self._gaps, near - 1)[:near]
        gaps = self._gaps.copy()
        several = places[self._graph.several[self._numbers[places]]]
        if len(several):
            gaps[several] = self._graph.gaps(self._probes, self._numbers[several])
        walked, walked_gaps = self._graph.walked(self._probes, count, share=len(self._bones) / self._graph.bones)
        if len(walked):
            at = np.minimum(np.searchsorted(self._numbers, walked), len(self._numbers) - 1)
            found = self._numbers[at] == walked
            gaps[at[found]] = walked_gaps[found]
            places = np.union1d(places, at[found])
        return places, gaps

    def _look_at(self, places: IntArray) -> NDArray[np.float64]:
        """Sweep some bones; how near each is."""
        order = np.argsort(places)
        bones = self._bones[places[order]]
        swept = (sweep_scattered if self._sweepable else sweep)(self._gallery.rows, self._probes, bones)
        self._unseen[places] = False
        self._seen = np.concatenate([self._seen, bones])
        self._swept = np.concatenate([self._swept, swept])
        distances = np.empty(len(places))
        distances[order] = np.sqrt(np.maximum(swept, 0))
        return distances

    def _kth(self) -> float:
        """Distance of the k-th nearest so far."""
        return float(np.sqrt(max(np.partition(self._swept, self._k - 1)[self._k - 1], 0)))

    def _doubted(self) -> IntArray:
        """Bones not looked at that are not proved to be farther than the k-th."""
        doubted = np.flatnonzero(self._unseen & (self._bounds < self._kth()))
        if 0 < len(doubted) <= _MOST_DOUBTED:
            closer = self._graph.lower_bounds(self._probes, self._numbers[doubted])
            self._bounds[doubted] = np.maximum(self._bounds[doubted], closer)
            doubted = doubted[self._bounds[doubted] < self._kth()]
        return doubted


def _chosen(gallery: Gallery, subset: NDArray[np.bool_] | None) -> IntArray:
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
