"""Whether a long bone is a left or a right one, seen from its own shape, in whatever position it lies.

A left bone is the mirror image of a right one, so only three directions together tell: up, inward (to the middle of
the body) and back. Each is found from the bone itself. Up: which of its ends is which. The broad end gives the line on
which inward and outward lie, and anatomy says which is which: what stands out, and to what side a cross-section tapers.
Back is told in the same way. Up, inward and back are the axes of a right-handed frame in a right bone, and of a
left-handed one in a left bone.

Neither the patient's axes, nor the position of a limb, nor the twist between the ends of the bone matters.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from boneprint.bone.isolate import BONY_HU
from boneprint.nouns import Volume

_SHAFT = (0.25, 0.75)  # of the length: the line through its middles is what the ends are measured from
_SLABS = 11
_BULKY = ((0.0, 0.05), (0.95, 1.0))  # by which the ends are told apart: how much bone is there
_SECTIONS = ((0.02, 0.08), (0.92, 0.98))  # or how wide or flat it is
_ENOUGH = 200_000  # voxels in all: more tell nothing new
_FEWEST = 30  # voxels of a section: a third moment of fewer is noise


@dataclass(frozen=True)
class _Sign:
    """What a part of a bone says of one direction.

    ``moment`` is what is measured in the part between two ``depths`` below the upper end (shares of the length), along
    the direction a and across it b: "a", its mean distance from the shaft's line, or "edges", the middle between its
    two edges, as shares of the length; or the third moments "aaa" and "abb" (with the signs' own unit variance): to
    which side a section has its tail, and on which side it is broader across. ``usual`` is its mean in right bones.
    """

    moment: str
    depths: tuple[float, float]
    usual: float


@dataclass(frozen=True)
class _Kind:
    """How one kind of bone is told.

    Parameters
    ----------
    broad : depths of the section whose longer axis is inward and outward
    lower : what the lower end is, beside the upper one: "bulky", "slender", "wide" or "flat"
    least : both directions must be at least so clear, 1 being usual
    roundest : shorter axis by longer of the broad section; rounder ones have no direction
    """

    broad: tuple[float, float]
    lower: Literal["bulky", "slender", "wide", "flat"]
    inward: tuple[_Sign, ...]
    back: tuple[_Sign, ...]
    least: float = 0.15
    roundest: float = 0.9


# ``usual``: of femora and tibiae about the means of 5 real ones each and of 120 simulated ones, which agree in every
# sign; of humeri and radii of 80 simulated ones. Of these two the signs were compared with anatomy, and with the coarse
# surfaces of a right arm in the package myo-sim 0.2.4, which agree in every one.
_KINDS = {
    # Inward: the head, above; the inner side of the condyles, less deep. Back: the condyles.
    "femur": _Kind(
        broad=(0.92, 0.99),
        lower="bulky",
        inward=(_Sign("a", (0.0, 0.04), 0.066), _Sign("abb", (0.88, 0.93), -0.18)),
        back=(
            _Sign("abb", (0.88, 0.98), 0.24),
            _Sign("a", (0.96, 1.0), 0.055),
            _Sign("edges", (0.90, 0.94), 0.050),
        ),
    ),
    # Inward: the ankle; the flat inner side of the shaft. Back: its broad side, with crest and tuberosity in front.
    "tibia": _Kind(
        broad=(0.01, 0.06),
        lower="slender",
        inward=(
            _Sign("a", (0.985, 1.0), 0.055),
            _Sign("a", (0.96, 1.0), 0.030),
            _Sign("abb", (0.45, 0.60), -0.10),
        ),
        back=(
            _Sign("abb", (0.06, 0.12), 0.18),
            _Sign("abb", (0.10, 0.16), 0.17),
            _Sign("aaa", (0.10, 0.16), -0.20),
            _Sign("abb", (0.80, 0.88), 0.11),
        ),
        roundest=0.95,
    ),
    # Inward: the head; the inner epicondyle, and the edge of the shaft above it, less deep than the outer one. Back:
    # the hollow for the tip of the elbow, and the epicondyles, with the joint in front of them.
    "humerus": _Kind(
        broad=(0.90, 0.98),
        lower="flat",
        inward=(
            _Sign("abb", (0.03, 0.10), 0.08),
            _Sign("a", (0.0, 0.04), 0.026),
            _Sign("abb", (0.85, 0.90), -0.10),
            _Sign("aaa", (0.88, 0.93), 0.16),
        ),
        back=(
            _Sign("aaa", (0.88, 0.98), -0.25),
            _Sign("abb", (0.90, 0.94), 0.12),
            _Sign("edges", (0.96, 1.0), -0.016),
        ),
    ),
    # Inward: the sharp edge towards the ulna, the tuberosity, and both ends, as the shaft bows outward. Back: Lister's
    # tubercle, and the narrower side of the lower end, whose front is broad and flat.
    "radius": _Kind(
        broad=(0.90, 0.97),
        lower="wide",
        inward=(
            _Sign("abb", (0.30, 0.45), -0.10),
            _Sign("abb", (0.45, 0.60), -0.10),
            _Sign("aaa", (0.60, 0.75), 0.074),
            _Sign("a", (0.10, 0.16), 0.024),
            _Sign("a", (0.75, 0.85), 0.014),
        ),
        back=(
            _Sign("abb", (0.88, 0.93), -0.055),
            _Sign("aaa", (0.88, 0.93), 0.087),
            _Sign("abb", (0.90, 0.94), -0.06),
            _Sign("aaa", (0.90, 0.94), 0.087),
        ),
        least=0.25,
    ),
}

TOLD = tuple(_KINDS)


def hand(bone: Volume, kind: str) -> str | None:
    """Return "L" or "R" by the shape of a whole long bone; None where it does not tell clearly.

    Parameters
    ----------
    bone : isolated, whole, lying in any way
    kind : one of ``TOLD``
    """
    told = _KINDS[kind]
    voxels = np.argwhere(bone.hu >= BONY_HU)[:, ::-1]
    points = bone.to_patient(voxels[:: max(1, len(voxels) // _ENOUGH)].astype(float))
    _, axes = _principal(points)
    up = axes[0]
    height = points @ up
    length = float(np.ptp(height))
    depth = (height.max() - height) / length
    upper, lower = _ends(points, depth, up, told.lower)
    if (lower > upper) != (told.lower != "slender"):
        up, depth = -up, 1 - depth
    section = points[_within(depth, told.broad)]
    if len(section) < _FEWEST:
        return None
    broad, directions = _principal(_pressed(section, up))
    if broad[1] > told.roundest * broad[0]:
        return None
    inward = directions[0] - (directions[0] @ up) * up
    inward /= np.linalg.norm(inward)
    offsets = (points - _shaft_line(points, depth)) / length
    a, b = offsets @ inward, offsets @ np.cross(up, inward)
    clear_inward, clear_back = _clear(told.inward, depth, a, b), _clear(told.back, depth, b, a)
    if min(abs(clear_inward), abs(clear_back)) < told.least:
        return None
    return "R" if clear_inward * clear_back > 0 else "L"


def _clear(
    signs: tuple[_Sign, ...], depth: NDArray[np.float64], a: NDArray[np.float64], b: NDArray[np.float64]
) -> float:
    """How clearly signs point along ``a``: 1 as usual, -1 as clearly the other way."""
    return float(np.mean([_measured(sign.moment, depth, sign.depths, a, b) / sign.usual for sign in signs]))


def _measured(
    moment: str,
    depth: NDArray[np.float64],
    depths: tuple[float, float],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
) -> float:
    there = _within(depth, depths)
    if np.count_nonzero(there) < _FEWEST:
        return 0.0
    a, b = a[there], b[there]
    if moment == "a":
        return float(a.mean())
    if moment == "edges":
        return float(a.max() + a.min()) / 2
    across, aside = (a - a.mean()) / a.std(), (b - b.mean()) / b.std()
    return float((across**3).mean() if moment == "aaa" else (across * aside**2).mean())


def _within(depth: NDArray[np.float64], depths: tuple[float, float]) -> NDArray[np.bool_]:
    return np.asarray((depth >= depths[0]) & (depth <= depths[1]))


def _principal(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Standard deviations, the largest first, and their directions as rows."""
    variances, directions = np.linalg.eigh(np.cov(points.T))
    return np.sqrt(np.maximum(variances[::-1], 0.0)), directions[:, ::-1].T


def _pressed(points: NDArray[np.float64], up: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points pressed onto a plane across ``up``."""
    return points - np.outer(points @ up, up)


def _ends(
    points: NDArray[np.float64], depth: NDArray[np.float64], up: NDArray[np.float64], by: str
) -> tuple[float, float]:
    """What the ends are told apart by, of the upper and of the lower one."""
    if by in ("bulky", "slender"):
        first, last = (float(np.count_nonzero(_within(depth, end))) for end in _BULKY)
        return first, last
    measured = []
    for end in _SECTIONS:
        section = points[_within(depth, end)]
        longer, shorter, _ = _principal(_pressed(section, up))[0] if len(section) >= _FEWEST else (0.0, 1.0, 0.0)
        measured.append(float(longer / max(shorter, 1e-6) if by == "flat" else longer))
    return measured[0], measured[1]


def _shaft_line(points: NDArray[np.float64], depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """The place on the line through the shaft's middles at the height of each point: (N, 3)."""
    bounds = np.linspace(*_SHAFT, _SLABS + 1)
    slabs = [_within(depth, (low, high)) for low, high in pairwise(bounds)]
    middles = np.array([points[slab].mean(axis=0) for slab in slabs if slab.any()])
    depths = np.array([depth[slab].mean() for slab in slabs if slab.any()])
    slope, start = np.polyfit(depths, middles, 1)
    return np.asarray(np.outer(depth, slope) + start)
