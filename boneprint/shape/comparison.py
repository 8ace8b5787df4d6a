"""How far two surfaces are apart once one has been laid onto the other, in the measures that papers report."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from boneprint.shape.align import refined_motion, rigid_motion
from boneprint.shape.mesh import distances_mm
from boneprint.shape.surface import FloatArray, Surface

# One point in 3 mm^2 of a human femur: the root mean square is good to 0.5 %.
SAMPLES = 20_000
# The largest distance is looked for at the vertices, too, which are where a surface sticks out; at no more than these.
_VERTICES = 10_000
# For ranking: points of either surface, and those that the other's are paired with.
_RANKED, _CLOUD = 2000, 20_000
# Below this share of the other's diagonal a surface is taken for a fragment: people's femora differ by 30 % at most.
_FRAGMENT_BELOW = 0.7


@dataclass(frozen=True)
class Distances:
    """Distances in mm from points on one surface to the other: evenly drawn ones, for the largest also the vertices."""

    rms_mm: float
    mean_mm: float
    hd95_mm: float
    hausdorff_mm: float

    @classmethod
    def between(cls, a: Surface, b: Surface, *, samples: int = SAMPLES, seed: int = 0) -> "Distances":
        """From ``a`` to ``b`` as they lie."""
        away = distances_mm(a.sampled(samples, seed)[0], b)
        largest = max(away.max(), distances_mm(a.vertices[np.unique(a.faces)], b).max())
        return cls(float(np.sqrt((away**2).mean())), float(away.mean()), float(np.quantile(away, 0.95)), float(largest))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two surfaces compared; the second is the measure.

    Attributes
    ----------
    a, b : the first, laid onto the second, and the second
    motion : (4, 4), what was done to the first; a reflection is in it where ``mirror`` was asked for
    a_to_b, b_to_a : distances; one of them is None where the other surface is a fragment
    fragment : "a", "b", or None where both are whole
    samples, seed : points drawn on each surface
    """

    a: Surface
    b: Surface
    motion: FloatArray
    a_to_b: Distances | None
    b_to_a: Distances | None
    fragment: str | None
    mirror: bool
    samples: int
    seed: int

    @property
    def _directions(self) -> list[Distances]:
        return [each for each in (self.a_to_b, self.b_to_a) if each is not None]

    @property
    def rms_mm(self) -> float:
        """Root mean square over both directions, each with the same weight."""
        return float(np.sqrt(np.mean([each.rms_mm**2 for each in self._directions])))

    @property
    def mean_mm(self) -> float:
        """Mean from A to B (from the fragment to the whole)."""
        return self._directions[0].mean_mm

    @property
    def assd_mm(self) -> float | None:
        """Average symmetric surface distance; None where one is a fragment."""
        return None if self.fragment else float(np.mean([each.mean_mm for each in self._directions]))

    @property
    def hd95_mm(self) -> float:
        """The larger of the two directions' 95th percentiles."""
        return max(each.hd95_mm for each in self._directions)

    @property
    def hausdorff_mm(self) -> float:
        """The largest distance in either direction."""
        return max(each.hausdorff_mm for each in self._directions)

    @property
    def diagonal_mm(self) -> float:
        """Of B's bounding box along its principal axes; of A's where B is a fragment."""
        return self.a.diagonal_mm if self.fragment == "b" else self.b.diagonal_mm

    @property
    def notes(self) -> list[str]:
        """Sentences for the user about the measurement and the meshes."""
        found = []
        if self.fragment:
            part, whole = ("A", "B") if self.fragment == "a" else ("B", "A")
            found.append(f"{part} is taken for a fragment: measured one-sidedly, from {part} to {whole}")
        if self.mirror:
            found.append("A was mirrored, left for right")
        return found + [f"{each.source}: {note}" for each in (self.a, self.b) for note in each.notes]


def compare(
    a: Surface,
    b: Surface,
    *,
    mirror: bool = False,
    fragment: str | None = None,
    align: bool = True,
    samples: int = SAMPLES,
    seed: int = 0,
) -> Comparison:
    """Lay one surface onto another, rigidly and without scale, and measure how far they are apart.

    Parameters
    ----------
    a, b : mm; b is the measure
    mirror : turn a's left and right round first: a left bone against a right one
    fragment : "a" or "b" is only a part of the other, "no": both are whole; None: decided by their sizes
    align : False measures them as they lie
    samples : points drawn evenly by area on either surface
    seed : of these points

    Returns
    -------
    Comparison
        Distances are from points to triangles, by MeshLab.
    """
    if fragment is None:
        smaller, larger = sorted([a.diagonal_mm, b.diagonal_mm])
        fragment = "no" if smaller > _FRAGMENT_BELOW * larger else "a" if a.diagonal_mm < b.diagonal_mm else "b"
    motion = np.diag([-1.0, 1.0, 1.0, 1.0]) if mirror else np.eye(4)
    if align:
        turned = a.moved(motion)
        if fragment == "b":
            motion = np.linalg.inv(rigid_motion(b, turned, fragment=True, seed=seed)) @ motion
        else:
            motion = rigid_motion(turned, b, fragment=fragment == "a", seed=seed) @ motion
    laid = a.moved(motion)
    return Comparison(
        a=laid,
        b=b,
        motion=motion,
        a_to_b=None if fragment == "b" else Distances.between(laid, b, samples=samples, seed=seed),
        b_to_a=None if fragment == "a" else Distances.between(b, laid, samples=samples, seed=seed),
        fragment=None if fragment == "no" else fragment,
        mirror=mirror,
        samples=samples,
        seed=seed,
    )


def rough_rms_mm(a: Surface, b: Surface) -> float:
    """RMS of both directions to 2 % or so, to rank many surfaces that stand in nearly one frame: no start is searched.

    Both are whole. Distances are between points, so that they do not fall below half a millimetre in human femora.
    """
    motion = np.eye(4)
    motion[:3, 3] = b.centre_mm - a.centre_mm
    moved = a.moved(refined_motion(a, b, motion, rough=True))
    both = [
        cKDTree(there.sampled(_CLOUD)[0]).query(here.sampled(_RANKED)[0])[0] for here, there in ((moved, b), (b, moved))
    ]
    return float(np.sqrt(np.mean(np.square(both))))
