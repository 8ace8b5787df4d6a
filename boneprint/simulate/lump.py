"""Random bodies of bone: smooth solids with knobs, ridges and holes that are no bone at all, and teach shape as such.

Every number was chosen by hand, so that the solids are connected, stay in their box, and differ as much as can be.
"""

import math

import numpy as np

from boneprint.simulate.clay import Clay
from boneprint.simulate.kind import Inside, Kind
from boneprint.simulate.shape import Numbers, Shape
from boneprint.simulate.solids import Ellipsoid, Place, Rod, Strand

_KNOBS, _HOLES, _RIDGES = 7, 3, 3
_REACH = 0.32  # of the middle of any knob from the centre


def _numbers() -> Numbers:
    found: dict[str, tuple[float, float]] = {"length_mm": (150.0, 45.0)}
    found.update({f"stretch_{axis}": (1.0, 0.35) for axis in "xyz"})
    for part, count in (("knob", _KNOBS), ("hole", _HOLES), ("ridge_from", _RIDGES), ("ridge_to", _RIDGES)):
        found.update({f"{part}{i}_{axis}": (0.0, 0.30) for i in range(count) for axis in "xyz"})
    found.update({f"knob{i}_r{axis}": (0.12, 0.035) for i in range(_KNOBS) for axis in "xyz"})
    found.update({f"bridge{i}": (0.080, 0.022) for i in range(1, _KNOBS)})
    found.update({f"hole{i}_share": (0.35, 0.08) for i in range(_HOLES)})
    found.update({f"ridge{i}_r": (0.028, 0.010) for i in range(_RIDGES)})
    found.update({f"cortex_{place}": (0.014, 0.005) for place in ("below", "middle", "above")})
    found.update({f"spongy_{place}": (0.6, 0.4) for place in ("below", "middle", "above")})
    return found


def _place(s: Shape, part: str) -> Place:
    x, y, z = (_REACH * math.tanh(s[f"stretch_{axis}"] * s[f"{part}_{axis}"] / _REACH) for axis in "xyz")
    return x, y, z


def _model(s: Shape, clay: Clay) -> None:
    knobs = [_place(s, f"knob{i}") for i in range(_KNOBS)]
    for i, knob in enumerate(knobs):
        rx, ry, rz = (s[f"knob{i}_r{axis}"] for axis in "xyz")
        clay.add(Ellipsoid(knob, (rx, ry, rz)), blend=0.06)
        if i:
            # Every knob hangs on an earlier one, so the body is one piece.
            clay.add(Rod(knob, knobs[i // 2], s[f"bridge{i}"], s[f"bridge{i}"]), blend=0.06)
    for i in range(_RIDGES):
        r, centre = s[f"ridge{i}_r"], np.array(knobs[i])
        radii = np.array([s[f"knob{i}_r{axis}"] for axis in "xyz"])
        ends = [np.array([s[f"ridge_{end}{i}_{axis}"] for axis in "xyz"]) for end in ("from", "to")]
        ways = [ends[0], ends[0] + ends[1], ends[1]]
        over = [tuple(centre + 1.05 * radii * way / (np.linalg.norm(way) + 1e-6)) for way in ways]
        clay.add(Strand(over, [0.6 * r, r, 0.6 * r]), blend=0.03)
    for i in range(_HOLES):
        # Through a knob, and thinner than it: what is left is a ring, still in one piece.
        pierced, way = i + _RIDGES, np.array([s[f"hole{i}_{axis}"] for axis in "xyz"])
        r = s[f"hole{i}_share"] * min(s[f"knob{pierced}_r{axis}"] for axis in "xyz")
        middle, way = np.array(knobs[pierced]), 0.3 * way / (np.linalg.norm(way) + 1e-6)
        clay.cut(Rod(tuple(middle - way), tuple(middle + way), r, r), blend=0.02)


def _inside(s: Shape) -> Inside:
    rows = ((-0.35, "below"), (0.0, "middle"), (0.35, "above"))
    return [(z, max(s[f"cortex_{where}"], 0.004), min(max(s[f"spongy_{where}"], 0.0), 1.0)) for z, where in rows]


LUMP = Kind(
    "lump",
    {"human": _numbers()},
    _model,
    _inside,
    ((-0.62, 0.62), (-0.62, 0.62), (-0.62, 0.62)),
    lambda s: [_place(s, f"knob{i}") for i in range(3)],
    tubular=False,
    paired=False,
    warp=((4, 0.02), (8, 0.010), (18, 0.004)),
)
