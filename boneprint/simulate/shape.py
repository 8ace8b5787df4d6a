"""The numbers that make one bone, and how they vary between individuals, siblings and the two sides of one body."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# Mean and standard deviation between individuals; the first is always "length_mm", the bone's size.
Numbers = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Shape:
    """``values`` follow ``names``; lengths are fractions of ``length_mm`` unless a name ends in _mm or _deg."""

    names: tuple[str, ...]
    values: tuple[float, ...]

    def __getitem__(self, name: str) -> float:
        return self.values[self.names.index(name)]

    @classmethod
    def sample(
        cls,
        rng: np.random.Generator,
        numbers: Numbers,
        *,
        around: "Shape | None" = None,
        spread: float = 1.0,
        size_spread: float | None = None,
    ) -> "Shape":
        """Draw one: normal in every number, cut at 2.5 standard deviations.

        Parameters
        ----------
        around : draw near this shape (a sibling, the other side) instead of near the mean
        spread, size_spread : standard deviations as a share of those between individuals; of the length its own
        """
        mean, deviation = np.array(list(numbers.values())).T
        shares = np.full(len(mean), spread)
        shares[0] = spread if size_spread is None else size_spread
        centre = mean if around is None else np.array(around.values)
        drawn = centre + shares * deviation * np.clip(rng.standard_normal(len(mean)), -2.5, 2.5)
        # A solid needs positive sizes however far a family strays.
        drawn = np.where(mean > 0, np.maximum(drawn, 0.15 * mean), drawn)
        return cls(tuple(numbers), tuple(float(v) for v in drawn))
