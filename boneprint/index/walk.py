"""The rule by which a search in a large gallery chooses what it looks at, in numpy.

A bone's views lie in one cell or a few, each about a prototype. A search compares the probe with all prototypes at
once (as bytes of a known error) and looks at the cells with the nearest ones, batch by batch, until hardly one of the k
nearest bones can be expected in the others. Then it looks at the rest of the k bones it found, so that their distances
are those of their nearest views. This is an inverted file (IVF) whose cells hold views of one bone each.

`kernels.nearest` is the same rule, compiled: several times as fast, and used once a process has searched so often that
to load it pays (`compiled`). The two differ by no more than the rounding of float32 products.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boneprint.index.cells import Cells
from boneprint.index.exact import squared_error, sweep
from boneprint.index.rows import Rows

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

# So many cells are looked at first, and a few more than k; then in batches.
FIRST_BATCH, FIRST_MORE, LEAST_BATCH, MOST_BATCH = 16, 6, 8, 64
# So many of the nearest cells are candidates at first, or so many times k; and so many are looked at, at most.
CANDIDATES, CANDIDATES_PER_K = 192, 10
MOST_CELLS, MOST_CELLS_PER_FIRST = 1024, 4
# Batches go on until fewer than this share of the k nearest can be expected among the other cells. The bar is 0.99 of
# them found: benchmarks/index.py.
LOST_SHARE = 4e-4
# A great gain is one at this quantile; in a normal distribution it lies so many standard deviations above the median.
GREAT, GREAT_SD = 0.9, 1.2816
# What is not proved to be farther than the k nearest, or else than the first, is looked at too if it is not more views
# than this.
PROOF_VIEWS = 2048


@dataclass(frozen=True, eq=False)
class About:
    """How near the cells of B bones are to a probe.

    Parameters
    ----------
    cells : (B + 1,) int64; those of bone b are cells[b] to cells[b + 1]
    gaps : (C,) float32, about how near the prototype is
    bounds : (C,) float32; no view of the cell is nearer
    """

    cells: IntArray
    gaps: FloatArray
    bounds: FloatArray


def compared(cells: Cells, probes: FloatArray, numbers: IntArray) -> About:
    """Compare (P, D) probes with the cells of the bones with these (B,) numbers, rising.

    Several probes are fused bone by bone, as the root mean square of their nearest: each bone is then one cell.
    """
    counts = np.diff(cells.offsets)[numbers]
    ends = np.cumsum(counts)
    own = None
    if len(numbers) < cells.bones:
        own = np.repeat(cells.offsets[numbers] - ends + counts, counts) + np.arange(ends[-1])
    if len(probes) == 1:
        return About(np.concatenate([[0], ends]), *cells.codes.compared(probes[0], own))
    about = (cells.codes.compared(probe, own) for probe in probes)
    least = [[np.minimum.reduceat(each, ends - counts) for each in one] for one in about]
    gaps, bounds = np.sqrt(np.square(np.maximum(least, 0)).mean(axis=0))
    return About(np.arange(len(numbers) + 1), gaps, bounds)


@dataclass(eq=False)
class Walk:
    """One search: which of ``bones`` can be among the k nearest, and what it has looked at so far.

    Parameters
    ----------
    rows : the views of all bones
    cells : which views lie in which cell; not needed where each of ``bones`` is one cell
    probes : (P, D) float32, unit rows
    bones, numbers : (B,) int64, rising; bones to find, and their numbers among ``cells``; more than k
    others : squared distances of bones that are looked at anyway
    about : of ``bones``
    """

    rows: Rows
    cells: Cells | None
    probes: FloatArray
    k: int
    bones: IntArray
    numbers: IntArray
    others: NDArray[np.float64]
    about: About

    def __post_init__(self) -> None:
        self._counts = np.diff(self.about.cells)
        self._looked = np.zeros(len(self.about.gaps), dtype=bool)
        self._squared = np.full(len(self.bones), np.inf)

    def nearest(self) -> tuple[IntArray, float]:
        """Look at cells until it is known which bones can be among the k nearest, and what proves that no other is.

        Returns
        -------
        found : (F,) int64, rising
        proved_to : none of the others of ``bones`` is nearer than this
        """
        self._look_at_candidates()
        self._look_at_the_rest()
        self._look_at_doubted()
        near = self._squared <= self._kth_squared() + 2 * squared_error(self.rows)
        return self.bones[near], float(self.about.bounds[~self._looked].min(initial=np.inf))

    def _kth_squared(self) -> float:
        """Squared distance of the k-th nearest so far."""
        return float(np.partition(np.concatenate([self.others, self._squared]), self.k - 1)[self.k - 1])

    def _look_at_candidates(self) -> None:
        """Look at the cells with the nearest prototypes while one of the k nearest bones may be in others."""
        batch = max(FIRST_BATCH, self.k + FIRST_MORE)
        asked = max(CANDIDATES, CANDIDATES_PER_K * self.k)
        most = max(MOST_CELLS, MOST_CELLS_PER_FIRST * batch)
        candidates = self._candidates(asked)
        gains = np.empty(0)
        while len(candidates):
            gains = np.concatenate([gains, self.about.gaps[candidates[:batch]] - self._look_at(candidates[:batch])])
            candidates = candidates[batch:]
            if len(gains) >= most:
                return
            if not len(candidates):
                asked *= 2
                candidates = self._candidates(asked)
            kth_squared = self._kth_squared()
            if np.isinf(kth_squared):
                batch = LEAST_BATCH
                continue
            # How much nearer a cell's nearest view is than its prototype: as if normally distributed, with the spread
            # of the greater gains; the greatest is perhaps the right bone's own and no measure of a stranger's. Of the
            # n-th candidate and all after it, at most so many are then nearer than the k-th so far
            # (Q(z) <= exp(-z^2 / 2) / 2).
            rising = np.sort(gains)
            usual, great = rising[len(rising) // 2], rising[int(GREAT * len(rising))]
            spread = (great - usual) / GREAT_SD + 1e-6
            kth = np.sqrt(max(kth_squared, 0.0))
            surprise = np.maximum((self.about.gaps[candidates] - kth - usual) / spread, 0)
            missed = np.cumsum(np.exp(-0.5 * surprise[::-1] ** 2))[::-1] / 2
            worth = int(np.count_nonzero(missed >= LOST_SHARE * self.k))
            if not worth:
                return
            batch = min(max(worth, LEAST_BATCH), MOST_BATCH)

    def _look_at_the_rest(self) -> None:
        """Look at whatever of the k nearest bones could be nearer still, until they are the k nearest."""
        while True:
            near = np.flatnonzero((self._squared <= self._kth_squared()) & (self._counts > 1))
            changed = False
            for bone in near.tolist():
                own = np.arange(self.about.cells[bone], self.about.cells[bone + 1])
                own = own[~self._looked[own]]
                before = self._squared[bone]
                open_ones = own[self.about.bounds[own] < _distance(before + squared_error(self.rows))]
                self._looked[own] = True
                if len(open_ones):
                    self._look_at(open_ones)
                    changed |= self._squared[bone] < before
            if not changed:
                return

    def _look_at_doubted(self) -> None:
        """Look at cells that are not proved to be farther than the k-th, or else than the first, if they are few."""
        for squared in (self._kth_squared(), min(self.others.min(initial=np.inf), self._squared.min())):
            farthest = _distance(squared + squared_error(self.rows))
            doubted = np.flatnonzero(~self._looked & (self.about.bounds < farthest))
            owners = self._owners(doubted)
            views = float((self.rows.counts(self.bones[owners]) / self._counts[owners]).sum())
            if views <= PROOF_VIEWS:
                if len(doubted):
                    self._look_at(doubted)
                    self._look_at_the_rest()
                return

    def _candidates(self, asked: int) -> IntArray:
        """Of the cells with the nearest prototypes those not looked at, the nearest first."""
        gaps = self.about.gaps
        if asked < len(gaps):
            cells = np.flatnonzero(gaps <= np.partition(gaps, asked - 1)[asked - 1])
        else:
            cells = np.arange(len(gaps))
        cells = cells[np.argsort(gaps[cells], kind="stable")][:asked]
        return cells[~self._looked[cells]]

    def _owners(self, cells: IntArray) -> IntArray:
        """Places of the bones that cells belong to."""
        return np.searchsorted(self.about.cells, cells, side="right") - 1

    def _look_at(self, cells: IntArray) -> NDArray[np.float64]:
        """Look at some cells; how near the nearest view of each is."""
        owners = self._owners(cells)
        squared = np.empty(len(cells))
        alone = self._counts[owners] == 1
        order = np.argsort(owners[alone])
        if len(order):
            squared[np.flatnonzero(alone)[order]] = sweep(self.rows, self.probes, self.bones[owners[alone][order]])
        for place in np.flatnonzero(~alone).tolist():
            squared[place] = self._one_of_several(int(owners[place]), int(cells[place]))
        np.minimum.at(self._squared, owners, squared)
        self._looked[cells] = True
        return np.sqrt(np.maximum(squared, 0))

    def _one_of_several(self, bone: int, cell: int) -> float:
        """Squared distance of the nearest view in a cell, where its bone has several: never with several probes."""
        assert self.cells is not None
        own = self.cells.owners_of(int(self.numbers[bone])) == cell - self.about.cells[bone]
        views = self.rows.of(int(self.bones[bone]))[own].astype(np.float32, copy=False)
        return 2.0 - 2.0 * float((views @ self.probes[0]).max())


def _distance(squared: float) -> float:
    return float(np.sqrt(max(squared, 0.0)))
