"""What a search finds."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Hits:
    """The k nearest bones, nearest first; equal distances in the order of the gallery.

    Parameters
    ----------
    bones : (k,) int64, row in gallery.references
    distances : (k,) float32, Euclidean between unit vectors (0 to 2); root mean square over the P probes
    nearest_views : (k, P) int64, row in gallery.angles_deg of the view nearest to each probe
    proved_to : no bone that was not looked at is nearer than this distance; infinite where all were
    """

    bones: NDArray[np.int64]
    distances: NDArray[np.float32]
    nearest_views: NDArray[np.int64]
    proved_to: float

    @property
    def certified_exact(self) -> bool:
        """Whether it is proved that no other bone is nearer than any of these."""
        return bool((self.distances <= self.proved_to).all())
