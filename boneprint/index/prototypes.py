"""What stands for all views of a bone in the graph: a few prototypes, and one ball around them all."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boneprint.index.codes import decoded

FloatArray = NDArray[np.float32]

# FIELD section 7: 1 to 8 prototypes do for most bones; where views spread more widely, more bones are looked at.
MOST_PROTOTYPES = 8
# A prototype is worth its place only where it stands for several views.
VIEWS_PER_PROTOTYPE = 6
# One will do for a bone whose views lie as near to it as this: half of what parts the views of two unrelated bones
# (1.25 and more in 128 dimensions) is far more than twice that. And for one whose views lie about it in every
# direction, so that many prototypes hardly bring them nearer.
ONE_WILL_DO = 0.3
WORTH_IT = 0.9
_LLOYD_ROUNDS = 3


@dataclass(frozen=True, eq=False)
class Cover:
    """Balls that hold the views of one bone.

    Parameters
    ----------
    prototypes : (C, D) float32, unit rows
    radii : (C,) float32; no view that a prototype stands for is farther from it
    slack : (C,) float32; the same of what is left of a prototype when it is coded, see `codes`
    owners : (V,) uint8, which prototype stands for each view
    centre : (D,) float32, unit
    reach : no view is farther from the centre
    """

    prototypes: FloatArray
    radii: FloatArray
    slack: FloatArray
    owners: NDArray[np.uint8]
    centre: FloatArray
    reach: np.float32


def cover_of(views: NDArray[Any]) -> Cover:
    """Cover a bone with one prototype, or with several where those lie clearly nearer to its views.

    Farthest-first seeds (T. F. Gonzalez, Theor. Comput. Sci. 38, 293-306, 1985) and a few rounds of spherical k-means.
    Deterministic.

    Parameters
    ----------
    views : (V, D) float32 or float16, about unit rows, V >= 1
    """
    rows = views.astype(np.float32, copy=False)
    single, alone = _clustered(rows, 1)
    reach = _farthest(rows, single.astype(np.float64), alone)
    most = min(MOST_PROTOTYPES, -(-len(rows) // VIEWS_PER_PROTOTYPE))
    if most > 1 and reach[0] > ONE_WILL_DO:
        several, owners = _clustered(rows, most)
        radii = _farthest(rows, several.astype(np.float64), owners)
        if radii.max() < WORTH_IT * reach[0]:
            return Cover(several, radii, _farthest(rows, decoded(several), owners), owners, single[0], reach[0])
    return Cover(single, reach, _farthest(rows, decoded(single), alone), alone, single[0], reach[0])


def _clustered(rows: FloatArray, count: int) -> tuple[FloatArray, NDArray[np.uint8]]:
    """Unit centres, and which of them each row has."""
    centres = _farthest_first(rows, count)
    for _ in range(_LLOYD_ROUNDS if count > 1 else 1):
        owner = (rows @ centres.T).argmax(axis=1)
        totals = (owner == np.arange(count)[:, None]).astype(np.float32) @ rows
        lengths = np.linalg.norm(totals, axis=1, keepdims=True)
        # Views that cancel out have no mean direction: the seed stays.
        centres = np.where(lengths > 1e-3, totals / np.maximum(lengths, 1e-3), centres)
    owner = (rows @ centres.T).argmax(axis=1)
    # One that stands for nothing is left out.
    used, owner = np.unique(owner, return_inverse=True)
    return centres[used], owner.astype(np.uint8)


def _farthest(rows: FloatArray, centres: NDArray[np.float64], owner: NDArray[np.uint8]) -> FloatArray:
    """For each centre the distance, rounded up, of the farthest row that has it."""
    # In float64, for these must hold.
    distances = np.linalg.norm(rows.astype(np.float64) - centres[owner], axis=1)
    radii = np.zeros(len(centres))
    np.maximum.at(radii, owner, distances)
    return np.nextafter(radii.astype(np.float32), np.float32(np.inf))


def _farthest_first(rows: FloatArray, count: int) -> FloatArray:
    chosen = [int((rows @ rows.sum(axis=0)).argmax())]
    alike = np.full(len(rows), -np.inf, np.float32)
    for _ in range(count - 1):
        alike = np.maximum(alike, rows @ rows[chosen[-1]])
        chosen.append(int(alike.argmin()))
    return rows[chosen]
