"""What a kind of bone is: its numbers, its solid, its inside, and what lies beside it."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from boneprint.simulate.clay import Clay
from boneprint.simulate.shape import Numbers, Shape
from boneprint.simulate.solids import Bounds, Place

# (z, cortex thickness, share of spongy bone inside) from below to above, in fractions of the length.
Inside = list[tuple[float, float, float]]


@dataclass(frozen=True)
class Kind:
    """One kind of bone, in its bone frame of the right side: x to the patient's left, y to the back, z to the head.

    Parameters
    ----------
    numbers : by species
    model : puts the bone together
    inside : cortex and spongy bone along z
    box : what is modelled, in fractions of the length; leaves at least 0.05 around the bone
    axis : places along the middle of the bone, deep inside it: where a nail goes and screws meet
    neighbours : puts the adjacent bones together, on clay of their own; None: there are none
    around : what is modelled of these; beyond it they go on as they end there. None: what is modelled of the bone
    head : centre and radius of the ball that a prosthesis would replace, where there is one
    tubular : a nail can go along ``axis``
    paired : has a left and a right
    warp : control points along the longest side of the box, and amplitude, of each scale of the smooth random warp
    """

    name: str
    numbers: Mapping[str, Numbers]
    model: Callable[[Shape, Clay], None]
    inside: Callable[[Shape], Inside]
    box: Bounds
    axis: Callable[[Shape], list[Place]]
    neighbours: Callable[[Shape, Clay], None] | None = None
    head: Callable[[Shape], tuple[Place, float]] | None = None
    tubular: bool = True
    paired: bool = True
    warp: tuple[tuple[int, float], ...] = ((4, 0.009), (8, 0.0050), (18, 0.0026))
    around: Bounds | None = None

    @property
    def implants(self) -> tuple[str, ...]:
        """Which implants fit it."""
        return ("plate", "screws", *(["nail"] if self.tubular else []), *(["stem"] if self.head else []))


def long_bone(middle: float, end: float, centre: float) -> Inside:
    """A shaft with a thick cortex around a marrow cavity, ends with a thin one around spongy bone.

    Parameters
    ----------
    middle, end : thickness of the cortex in the shaft and at the ends
    centre : height at which it is thickest
    """
    heights = (-0.45, -0.38, -0.32, -0.26, -0.18, 0.0, 0.18, 0.26, 0.32, 0.38, 0.45)
    shares = (1.0, 0.9, 0.55, 0.12, 0.0, 0.0, 0.0, 0.1, 0.5, 0.9, 1.0)
    return [
        (z, end + (middle - end) * math.exp(-(((z - centre) / 0.27) ** 4)), share) for z, share in zip(heights, shares)
    ]
