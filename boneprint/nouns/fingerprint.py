"""A template: what is left of radiographs once they have been embedded."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """P radiographs of one bone, embedded; can be stored and searched with later, without torch.

    Parameters
    ----------
    vectors : for each canvas height in mm, (P, D) float32 unit rows
    embedder : id of what made them
    """

    vectors: Mapping[float, NDArray[np.float32]]
    embedder: str

    @property
    def probes(self) -> int:
        """P, the number of radiographs."""
        return len(next(iter(self.vectors.values())))
