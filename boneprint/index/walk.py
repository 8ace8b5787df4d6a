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


def nearest(
    rows: Rows,
    cells: Cells | None,
    probes: FloatArray,
    k: int,
    bones: IntArray,
    numbers: IntArray,
    others: NDArray[np.float64],
    about: About,
) -> tuple[IntArray, float]:
    """Which of ``bones`` can be among the k nearest, and what proves that no other is.

    Parameters
    ----------
    rows : the views of all bones
    cells : which views lie in which cell; not needed where each of ``bones`` is one cell
    probes : (P, D) float32, unit rows
    bones, numbers : (B,) int64, rising; bones to find, and their numbers among ``cells``; more than k
    others : squared distances of bones that are looked at anyway
    about : of ``bones``

    Returns
    -------
    found : (F,) int64, rising
    proved_to : none of the others of ``bones`` is nearer than this
    """
    walk = _Walk(rows, cells, probes, k, bones, numbers, others, about)
    walk.look_at_candidates()
    walk.look_at_the_rest()
    walk.look_at_doubted()
    near = walk.squared <= walk.kth_squared() + 2 * squared_error(rows)
    return bones[near], float(about.bounds[~walk.looked].min(initial=np.inf))


class _Walk:
    """What one search has looked at so far, and how near it was."""

    def __init__(
        self,
        rows: Rows,
        cells: Cells | None,
        probes: FloatArray,
        k: int,
        bones: IntArray,
        numbers: IntArray,
        others: NDArray[np.float64],
        about: About,
    ) -> None:
        self._rows, self._cells, self._probes, self._k = rows, cells, probes, k
        self._bones, self._numbers, self._others, self._about = bones, numbers, others, about
        self._counts = np.diff(about.cells)
        self.looked = np.zeros(len(about.gaps), dtype=bool)
        self.squared = np.full(len(bones), np.inf)

    def kth_squared(self) -> float:
        """Squared distance of the k-th nearest so far."""
        return float(np.partition(np.concatenate([self._others, self.squared]), self._k - 1)[self._k - 1])

    def look_at_candidates(self) -> None:
        """Look at the cells with the nearest prototypes while one of the k nearest bones may be in others."""
        batch = max(FIRST_BATCH, self._k + FIRST_MORE)
        asked = max(CANDIDATES, CANDIDATES_PER_K * self._k)
        most = max(MOST_CELLS, MOST_CELLS_PER_FIRST * batch)
        candidates = self._candidates(asked)
        gains = np.empty(0)
        while len(candidates):
            gains = np.concatenate([gains, self._about.gaps[candidates[:batch]] - self._look_at(candidates[:batch])])
            candidates = candidates[batch:]
            if len(gains) >= most:
                return
            if not len(candidates):
                asked *= 2
                candidates = self._candidates(asked)
            kth_squared = self.kth_squared()
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
            surprise = np.maximum((self._about.gaps[candidates] - kth - usual) / spread, 0)
            missed = np.cumsum(np.exp(-0.5 * surprise[::-1] ** 2))[::-1] / 2
            worth = int(np.count_nonzero(missed >= LOST_SHARE * self._k))
            if not worth:
                return
            batch = min(max(worth, LEAST_BATCH), MOST_BATCH)

    def look_at_the_rest(self) -> None:
        """Look at whatever of the k nearest bones could be nearer still, until they are the k nearest."""
        while True:
            near = np.flatnonzero((self.squared <= self.kth_squared()) & (self._counts > 1))
            changed = False
            for bone in near.tolist():
                own = np.arange(self._about.cells[bone], self._about.cells[bone + 1])
                own = own[~self.looked[own]]
                before = self.squared[bone]
                open_ones = own[self._about.bounds[own] < _distance(before + squared_error(self._rows))]
                self.looked[own] = True
                if len(open_ones):
                    self._look_at(open_ones)
                    changed |= self.squared[bone] < before
            if not changed:
                return

    def look_at_doubted(self) -> None:
        """Look at cells that are not proved to be farther than the k-th, or else than the first, if they are few."""
        for squared in (self.kth_squared(), min(self._others.min(initial=np.inf), self.squared.min())):
            farthest = _distance(squared + squared_error(self._rows))
            doubted = np.flatnonzero(~self.looked & (self._about.bounds < farthest))
            owners = self._owners(doubted)
            views = float((self._rows.counts(self._bones[owners]) / self._counts[owners]).sum())
            if views <= PROOF_VIEWS:
                if len(doubted):
                    self._look_at(doubted)
                    self.look_at_the_rest()
                return

    def _candidates(self, asked: int) -> IntArray:
        """Of the cells with the nearest prototypes those not looked at, the nearest first."""
        gaps = self._about.gaps
        if asked < len(gaps):
            cells = np.flatnonzero(gaps <= np.partition(gaps, asked - 1)[asked - 1])
        else:
            cells = np.arange(len(gaps))
        cells = cells[np.argsort(gaps[cells], kind="stable")][:asked]
        return cells[~self.looked[cells]]

    def _owners(self, cells: IntArray) -> IntArray:
        """Places of the bones that cells belong to."""
        return np.searchsorted(self._about.cells, cells, side="right") - 1

    def _look_at(self, cells: IntArray) -> NDArray[np.float64]:
        """Look at some cells; how near the nearest view of each is."""
        owners = self._owners(cells)
        squared = np.empty(len(cells))
        alone = self._counts[owners] == 1
        order = np.argsort(owners[alone])
        if len(order):
            squared[np.flatnonzero(alone)[order]] = sweep(self._rows, self._probes, self._bones[owners[alone][order]])
        for place in np.flatnonzero(~alone).tolist():
            squared[place] = self._one_of_several(int(owners[place]), int(cells[place]))
        np.minimum.at(self.squared, owners, squared)
        self.looked[cells] = True
        return np.sqrt(np.maximum(squared, 0))

    def _one_of_several(self, bone: int, cell: int) -> float:
        """Squared distance of the nearest view in a cell, where its bone has several: never with several probes."""
        assert self._cells is not None
        own = self._cells.owners_of(int(self._numbers[bone])) == cell - self._about.cells[bone]
        views = self._rows.of(int(self._bones[bone]))[own].astype(np.float32, copy=False)
        return 2.0 - 2.0 * float((views @ self._probes[0]).max())


def _distance(squared: float) -> float:
    return float(np.sqrt(max(squared, 0.0)))
