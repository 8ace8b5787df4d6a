"""What can have happened to a bone, or lies beside it: one option each, reproducible by a seed."""

from dataclasses import dataclass

import numpy as np

from boneprint.errors import BoneprintError

IMPLANTS = ("nail", "plate", "screws", "stem")


@dataclass(frozen=True)
class Condition:
    """The state of a bone when it was scanned; the default is healthy, whole and alone.

    Parameters
    ----------
    neighbours : the adjacent bones are in the picture
    implant : "nail", "plate", "screws" or "stem" (with its ball), of metal; None: none
    fractured : broken across once, a little displaced
    missing_below, missing_above : share of the length that is gone at the lower and the upper end, 0 to 0.9
    erosion_mm : how deep the ground has eaten into the surface at its worst places
    osteoporosis : 0 healthy to 1 severe: thinner cortex (down to 55 %), sparser spongy bone (down to 45 %)
    seed : of where and how; the same seed gives the same fracture, screws and pits

    Raises
    ------
    BoneprintError
        If an option is out of its range.
    """

    neighbours: bool = False
    implant: str | None = None
    fractured: bool = False
    missing_below: float = 0.0
    missing_above: float = 0.0
    erosion_mm: float = 0.0
    osteoporosis: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.implant is not None and self.implant not in IMPLANTS:
            raise BoneprintError(f"implant '{self.implant}' is unknown; choose one of: {', '.join(IMPLANTS)}.")
        if min(self.missing_below, self.missing_above) < 0 or self.missing_below + self.missing_above > 0.9:
            raise BoneprintError(
                f"missing ends of {self.missing_below:g} and {self.missing_above:g} of the length, "
                "expected two shares of at least 0, together at most 0.9."
            )
        if not 0 <= self.osteoporosis <= 1 or self.erosion_mm < 0:
            raise BoneprintError(
                f"osteoporosis {self.osteoporosis:g}, erosion {self.erosion_mm:g} mm; "
                "expected 0 to 1, and a depth of at least 0 mm."
            )

    @property
    def harmed(self) -> bool:
        """Whether the outer surface is another one than the healthy bone's."""
        return self.fractured or self.erosion_mm > 0 or self.missing_below > 0 or self.missing_above > 0

    @classmethod
    def drawn(
        cls, rng: np.random.Generator, *, share: float = 0.25, implants: tuple[str, ...] = IMPLANTS
    ) -> "Condition":
        """Some condition: every option is present in ``share`` of the draws, by itself and independently.

        Parameters
        ----------
        implants : that fit the bone (`Body.implants`)
        """
        neighbours, implant, fractured, missing, eroded, porous = rng.random(6) < share
        below, above = rng.uniform(0.0, 0.4, 2) * (rng.permutation(2) if missing else 0)
        return cls(
            neighbours=bool(neighbours),
            implant=str(rng.choice(implants)) if implant else None,
            fractured=bool(fractured),
            missing_below=float(below),
            missing_above=float(above),
            erosion_mm=float(rng.uniform(0.5, 3.0)) if eroded else 0.0,
            osteoporosis=float(rng.uniform(0.2, 1.0)) if porous else 0.0,
            seed=int(rng.integers(2**31)),
        )


HEALTHY = Condition()
