"""Exact search over all views, in numpy: what small galleries use, and the oracle that the graph is held to."""

import numpy as np
from numpy.typing import NDArray

from boneprint.index.hits import Hits
from boneprint.index.rows import BLOCK_ROWS, UNIT_TOLERANCE, Rows

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

_EPS = float(np.finfo(np.float32).eps)


def exact_search(rows: Rows, probes: FloatArray, k: int, bones: IntArray) -> Hits:
    """The k nearest of ``bones``, by looking at every view of each.

    Parameters
    ----------
    rows : the views of all bones
    probes : (P, D) float32, unit rows, views of one bone
    k : at most this many are returned
    bones : (B,) int64, rising; which bones to look at

    Returns
    -------
    Hits
        min(k, B) bones.
    """
    if len(bones) > k:
        bones = shortlist(rows, sweep(rows, probes, bones), bones, k)
    return ranked(rows, probes, k, bones)


def ranked(rows: Rows, probes: FloatArray, k: int, bones: IntArray) -> Hits:
    """The k nearest of ``bones``, each of them measured."""
    squared, nearest = measure(rows, probes, bones)
    fused = squared.mean(axis=1)
    best = np.lexsort((bones, fused))[:k]
    return Hits(bones[best], np.sqrt(fused[best]).astype(np.float32), nearest[best], proved_to=np.inf)


def shortlist(rows: Rows, swept: NDArray[np.float64], bones: IntArray, k: int) -> IntArray:
    """Those of more than k ``bones``, swept by one matrix product, that can be among the k nearest; rising."""
    kth = np.partition(swept, k - 1)[k - 1]
    return np.sort(bones[swept <= kth + 2 * squared_error(rows)])


def squared_error(rows: Rows) -> float:
    """Most by which 2 - 2 v.q in float32 can miss |v - q|^2, for rows and probes of about unit length.

    A squared length is off by at most twice the tolerance and its square, and a float32 dot product of D terms by
    D eps |v||q| (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).
    """
    off = rows.tolerance, UNIT_TOLERANCE
    return sum(2 * each + each**2 for each in off) + 4 * rows.dim * _EPS


def sweep(rows: Rows, probes: FloatArray, bones: IntArray) -> NDArray[np.float64]:
    """(B,) squared distance of each bone's nearest view, mean over the probes, within `squared_error`."""
    if not len(bones):
        return np.empty(0)
    counts = rows.counts(bones)
    stops = np.cumsum(counts)
    products = np.empty((len(probes), int(stops[-1])), dtype=np.float32)
    row = 0
    for run in rows.runs(bones):
        for column, probe in enumerate(probes):
            np.dot(run, probe, out=products[column, row : row + len(run)])
        row += len(run)
    return _squared(np.maximum.reduceat(products, stops - counts, axis=1))


def _squared(largest: FloatArray) -> NDArray[np.float64]:
    """(B,) squared distances, fused, of (P, B) products of unit rows."""
    squared: NDArray[np.float64] = 2.0 - 2.0 * largest.mean(axis=0, dtype=np.float64)
    return squared


def measure(rows: Rows, probes: FloatArray, bones: IntArray) -> tuple[NDArray[np.float64], IntArray]:
    """Squared distance to, and row of, each bone's nearest view to each probe: (B, P) float64 and (B, P) int64.

    By differences in float64, row by row: the same row gives the same number wherever it stands, so that equal bones
    are equal and an identical view is at distance 0.
    """
    squared = np.empty((len(bones), len(probes)))
    nearest = np.empty((len(bones), len(probes)), dtype=np.int64)
    blocks = -(-int(rows.counts(bones).sum()) // BLOCK_ROWS)
    for part in np.array_split(np.arange(len(bones)), max(blocks, 1)):
        squared[part], nearest[part] = _measured(rows, probes, bones[part])
    return squared, nearest


def _measured(rows: Rows, probes: FloatArray, bones: IntArray) -> tuple[NDArray[np.float64], IntArray]:
    """What `measure` gives, of so few bones that their rows are copied."""
    counts = rows.counts(bones)
    starts = np.cumsum(counts) - counts
    views = np.concatenate([np.zeros((0, rows.dim), np.float32), *rows.runs(bones)])
    owners = np.repeat(np.arange(len(bones)), counts)
    squared = np.empty((len(bones), len(probes)))
    nearest = np.empty((len(bones), len(probes)), dtype=np.int64)
    error = np.float32(squared_error(rows))
    for column, probe in enumerate(probes):
        products = views @ probe
        near = np.flatnonzero(products >= np.maximum.reduceat(products, starts)[owners] - error)
        distances = np.square(views[near].astype(np.float64) - probe.astype(np.float64)).sum(axis=1)
        # Bone by bone, the nearest first; of equal ones the first.
        order = np.lexsort((distances, owners[near]))
        best = order[np.searchsorted(owners[near][order], np.arange(len(bones)))]
        squared[:, column] = distances[best]
        nearest[:, column] = rows.begins[bones] - starts + near[best]
    return squared, nearest
