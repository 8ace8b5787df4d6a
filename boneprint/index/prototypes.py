"""A few prototypes that stand for all views of a bone: as many as its views need."""

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

# FIELD section 7: 1 to 8 prototypes do for most bones; bones whose views spread widely need 8 to 16.
MOST_PROTOTYPES = 16
COVER_RADIUS = 0.35
_LLOYD_ROUNDS = 3


def prototypes_of(views: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Prototypes such that every view has one within COVER_RADIUS, where 16 can do it.

    Farthest-first seeds (T. F. Gonzalez, Theor. Comput. Sci. 38, 293-306, 1985) and a few rounds of spherical
    k-means; the number is doubled until the radius is small enough. Deterministic.

    Parameters
    ----------
    views : (V, D) float32, unit rows, V >= 1

    Returns
    -------
    (C, D) float32, (C,) float32
        Unit rows, and for each the distance, rounded up, to the farthest view that it stands for.
    """
    rows = views.astype(np.float64)
    count = 1
    while True:
        centres, owner, distance = _clustered(rows, min(count, len(rows)))
        if count >= min(MOST_PROTOTYPES, len(rows)) or distance.max() <= COVER_RADIUS:
            break
        count *= 2
    radii = np.zeros(len(centres))
    np.maximum.at(radii, owner, distance)
    return centres, np.nextafter(radii.astype(np.float32), np.float32(np.inf))


def _clustered(rows: NDArray[np.float64], count: int) -> tuple[FloatArray, NDArray[np.int64], NDArray[np.float64]]:
    centres = _farthest_first(rows, count)
    for _ in range(_LLOYD_ROUNDS):
        owner = _squared(rows, centres).argmin(axis=1)
        for cluster in range(count):
            total = rows[owner == cluster].sum(axis=0)
            length = np.linalg.norm(total)
            # Views that cancel out have no mean direction: the seed stays.
            if length > 1e-6:
                centres[cluster] = total / length
    # As they will be stored: the radii must hold for the float32 centres.
    stored = centres.astype(np.float32)
    centres = stored.astype(np.float64)
    owner = _squared(rows, centres).argmin(axis=1)
    return stored, owner, np.linalg.norm(rows - centres[owner], axis=1)


def _farthest_first(rows: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    chosen = [int((rows @ rows.sum(axis=0)).argmax())]
    gap = np.full(len(rows), np.inf)
    for _ in range(count - 1):
        gap = np.minimum(gap, _squared(rows, rows[chosen[-1:]])[:, 0])
        chosen.append(int(gap.argmax()))
    return rows[chosen]


def _squared(rows: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.square(rows).sum(axis=1)[:, None] + np.square(centres).sum(axis=1)
    return np.asarray(lengths - 2 * rows @ centres.T)
