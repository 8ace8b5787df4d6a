"""Exact search over all views, in numpy: what small galleries use, and the oracle that the graph is held to."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from boneprint.index.hits import Hits

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

# How far from 1 the length of a stored or searched row may be. Normalising in float32 leaves about 1e-7, in float16
# 1e-3 (its eps): such rows, and those that were not normalised at all, are refused.
UNIT_TOLERANCE = 1e-4
# Rows per matrix product: 65,536 x 128 float32 are 32 MiB of vectors and a quarter MiB of products per probe.
_BLOCK_ROWS = 65_536


def exact_search(vectors: FloatArray, offsets: IntArray, probes: FloatArray, k: int, bones: IntArray) -> Hits:
    """The k nearest of ``bones``, by looking at every view of each.

    Parameters
    ----------
    vectors : (M, D) float32, unit rows, ordered by bone
    offsets : (N + 1,) int64
    probes : (P, D) float32, unit rows, views of one bone
    k : at most this many are returned
    bones : (B,) int64, rising; which bones to look at

    Returns
    -------
    Hits
        min(k, B) bones.
    """
    near = shortlist(vectors, offsets, probes, k, bones)
    squared, nearest = measure(vectors, offsets, probes, near)
    fused = squared.mean(axis=1)
    best = np.lexsort((near, fused))[:k]
    return Hits(near[best], np.sqrt(fused[best]).astype(np.float32), nearest[best], certified_exact=True)


def shortlist(vectors: FloatArray, offsets: IntArray, probes: FloatArray, k: int, bones: IntArray) -> IntArray:
    """Those of ``bones`` that can be among the k nearest, by one matrix product and its error bound; rising."""
    if len(bones) <= k:
        return bones
    fused = sweep(vectors, offsets, probes, bones).mean(axis=1)
    kth = np.partition(fused, k - 1)[k - 1]
    return np.asarray(bones[fused <= kth + 2 * squared_error(vectors.shape[1])])


def squared_error(dim: int) -> float:
    """Most by which 2 - 2 v.q in float32 can miss |v - q|^2, for rows of unit length within UNIT_TOLERANCE.

    Each squared length is off by at most 2 UNIT_TOLERANCE (and its square), and a float32 dot product of D terms by
    D eps |v||q| (N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).
    """
    return 4 * UNIT_TOLERANCE + 2 * UNIT_TOLERANCE**2 + 4 * dim * float(np.finfo(np.float32).eps)


def sweep(vectors: FloatArray, offsets: IntArray, probes: FloatArray, bones: IntArray) -> NDArray[np.float64]:
    """(B, P) squared distance of each bone's nearest view to each probe, within `squared_error`."""
    largest = np.empty((len(probes), len(bones)), dtype=np.float32)
    begins, ends = offsets[bones], offsets[bones + 1]
    for first, last in _runs(begins, ends):
        products = probes @ vectors[begins[first] : ends[last - 1]].T
        largest[:, first:last] = np.maximum.reduceat(products, begins[first:last] - begins[first], axis=1)
    return 2.0 - 2.0 * largest.T.astype(np.float64)


def measure(
    vectors: FloatArray, offsets: IntArray, probes: FloatArray, bones: IntArray
) -> tuple[NDArray[np.float64], IntArray]:
    """Squared distance to, and row of, each bone's nearest view to each probe: (B, P) float64 and (B, P) int64.

    By differences in float64, row by row: the same row gives the same number wherever it stands, so that equal bones
    are equal and an identical view is at distance 0.
    """
    squared = np.empty((len(bones), len(probes)))
    nearest = np.empty((len(bones), len(probes)), dtype=np.int64)
    for place, bone in enumerate(bones):
        begin, end = offsets[bone], offsets[bone + 1]
        views = vectors[begin:end].astype(np.float64)
        for column, probe in enumerate(probes.astype(np.float64)):
            distances = np.square(views - probe).sum(axis=1)
            row = int(distances.argmin())
            squared[place, column], nearest[place, column] = distances[row], begin + row
    return squared, nearest


def _runs(begins: IntArray, ends: IntArray) -> Iterator[tuple[int, int]]:
    """Ranges of bones whose rows follow each other and fill about one block at most."""
    jumps = (np.flatnonzero(begins[1:] != ends[:-1]) + 1).tolist()
    for first, last in zip([0, *jumps], [*jumps, len(begins)]):
        while ends[last - 1] - begins[first] > _BLOCK_ROWS and last - first > 1:
            fitting = int(np.searchsorted(ends[first:last], begins[first] + _BLOCK_ROWS, side="right"))
            yield first, first + max(fitting, 1)
            first += max(fitting, 1)
        yield first, last
