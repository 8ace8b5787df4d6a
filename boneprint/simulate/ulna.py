"""The ulna. The origin is half-way up the bone; the olecranon is above, its notch opens to the front (-y)."""

import math

from boneprint.simulate.clay import Clay
from boneprint.simulate.kind import Inside, Kind, long_bone
from boneprint.simulate.shape import Numbers, Shape
from boneprint.simulate.solids import Ellipsoid, Place, Rod, Strand, Tube, ball, curve

# Mean and standard deviation between individuals. Sources (docs/simulation.md): length 251 mm; olecranon 17.8 mm deep
# and 19.6 wide; 16.8 by 16.5 mm where it bends to the front and 14.1 by 15.1 mm where it bends sideways; cortex 3.6 to
# 4.3 mm there: Erdem, 82 ulnae. The rest was chosen by hand.
_NUMBERS: Numbers = {
    "length_mm": (251.0, 16.0),
    "olecranon_width": (0.039, 0.0035),
    "olecranon_depth": (0.036, 0.0035),
    "olecranon_beak": (0.026, 0.004),
    "notch": (0.044, 0.0035),
    "notch_z": (0.433, 0.006),
    "coronoid": (0.034, 0.0035),
    "coronoid_lean": (0.004, 0.005),
    "radial_notch": (0.040, 0.004),
    "tuberosity": (0.013, 0.003),
    "upper_width": (0.033, 0.0028),
    "upper_depth": (0.034, 0.0028),
    "front_bend": (0.016, 0.005),
    "side_bend": (0.014, 0.006),
    "bend_z": (0.22, 0.03),
    "middle_width": (0.027, 0.0024),
    "middle_depth": (0.0265, 0.0024),
    "triangle": (0.10, 0.03),
    "interosseous": (0.009, 0.002),
    "lower_radius": (0.0205, 0.002),
    "lower_z": (-0.34, 0.03),
    "head_radius": (0.031, 0.003),
    "styloid": (0.011, 0.002),
    "styloid_length": (0.026, 0.006),
    "styloid_turn_deg": (50.0, 12.0),
    "cortex_mid": (0.0155, 0.002),
    "cortex_end": (0.0048, 0.0009),
    "cortex_z": (0.02, 0.05),
}


def _axis(s: Shape, z: float) -> tuple[float, float]:
    bend = s["bend_z"]
    x = curve((-0.5, -0.25, bend - 0.12, bend, 0.42, 0.5), (0.0, 0.004, 0.7, 1.0, 0.0, -0.1), z)
    y = curve((-0.5, -0.25, 0.0, bend, 0.42, 0.5), (0.1, 0.35, 0.8, 1.0, 0.2, 0.0), z)
    return -s["side_bend"] * x, s["front_bend"] * (y - 0.5)


def _model(s: Shape, clay: Clay) -> None:
    wide, deep = s["upper_width"], s["upper_depth"]
    rx, ry, low, end = s["middle_width"], s["middle_depth"], s["lower_radius"], s["head_radius"]
    widths = [
        (-0.475, 0.80 * end, 0.80 * end),
        (-0.42, 0.80 * end, 0.80 * end),
        (s["lower_z"], low, low),
        (-0.15, 0.92 * rx, 0.94 * ry),
        (0.02, rx, ry),
        (0.18, 0.5 * (rx + wide), 0.5 * (ry + deep)),
        (0.29, wide, deep),
        (0.37, 1.16 * wide, 1.10 * deep),
        (0.455, s["olecranon_width"], s["olecranon_depth"]),
        (0.482, 0.90 * s["olecranon_width"], 0.86 * s["olecranon_depth"]),
    ]
    clay.add(Tube([(z, *_axis(s, z), a, b) for z, a, b in widths], s["triangle"], math.pi))
    x, y = _axis(s, 0.44)
    notch, high = s["notch"], s["notch_z"]
    top = (x, y + 0.004, 0.5 - 0.70 * s["olecranon_depth"])
    clay.add(
        Ellipsoid(top, (0.95 * s["olecranon_width"], s["olecranon_depth"], 0.70 * s["olecranon_depth"])), blend=0.014
    )
    beak = (x, y - 0.62 * notch, 0.5 - 0.75 * s["olecranon_beak"])
    clay.add(
        Ellipsoid(beak, (0.80 * s["olecranon_width"], s["olecranon_beak"], 0.62 * s["olecranon_beak"])), blend=0.016
    )
    knob = s["coronoid"]
    shelf = (x + s["coronoid_lean"], y - 0.95 * notch, high - 1.02 * notch)
    clay.add(Ellipsoid(shelf, (1.15 * knob, 1.15 * knob, 0.80 * knob)), blend=0.022)
    below = (x, y - 0.55 * notch, shelf[2] - 0.75 * knob)
    clay.add(Ellipsoid(below, (1.05 * knob, 1.10 * knob, 1.40 * knob)), blend=0.030)
    across = y - 0.92 * notch
    clay.cut(Rod((x - 0.12, across, high), (x + 0.12, across, high), notch, notch), blend=0.010)
    # The ridge that runs down the notch and fits the trochlea's groove.
    ridge: list[Place] = [
        (x, across + 1.02 * notch * math.cos(a), high + 1.02 * notch * math.sin(a)) for a in (-1.0, 0.0, 0.9)
    ]
    clay.add(Strand(ridge, [0.006, 0.007, 0.006]), blend=0.012)
    clay.cut(
        ball((x - s["upper_width"] - 0.72 * s["radial_notch"], y - 0.030, high - 1.50 * notch), s["radial_notch"]),
        blend=0.012,
    )
    rough = s["tuberosity"]
    clay.add(Ellipsoid((x + 0.006, y - 0.92 * deep, high - 2.5 * notch), (rough, rough, 1.8 * rough)), blend=0.018)
    heights = {0.24: 0.95, 0.10: 0.95, -0.05: 0.95, -0.20: 0.85, -0.33: 0.55}
    edge = [(x - out * rx, y - 0.1 * ry, z) for z, out in heights.items() for x, y in [_axis(s, z)]]
    sharp = s["interosseous"]
    clay.add(Strand(edge, [0.6 * sharp, sharp, 1.1 * sharp, 0.8 * sharp, 0.4 * sharp]), blend=0.014)

    x, y = _axis(s, -0.46)
    clay.add(ball((x - 0.004, y, -0.5 + s["styloid_length"] - 0.006 + 0.9 * end), end), blend=0.014)
    turn, thin = math.radians(s["styloid_turn_deg"]), s["styloid"]
    out = 0.66 * end
    foot = (x + out * math.cos(turn), y + out * math.sin(turn), -0.5 + 1.4 * s["styloid_length"] + 0.012)
    tip = (foot[0] + 0.004, foot[1] + 0.002, -0.5 + 0.8 * thin)
    clay.add(Strand([foot, tip], [1.25 * thin, 0.8 * thin]), blend=0.012)


def _inside(s: Shape) -> Inside:
    return long_bone(s["cortex_mid"], s["cortex_end"], s["cortex_z"])


def _neighbours(s: Shape, clay: Clay) -> None:
    """The radius, two bones of the wrist, and the humerus."""
    places: list[Place] = [
        (-0.075, -0.050, 0.365),
        (-0.072, -0.040, 0.30),
        (-0.085, -0.020, 0.05),
        (-0.090, -0.015, -0.20),
        (-0.085, -0.015, -0.42),
        (-0.085, -0.015, -0.485),
    ]
    clay.add(Strand(places, [0.044, 0.028, 0.028, 0.028, 0.042, 0.055]))
    clay.add(Ellipsoid((-0.040, -0.010, -0.575), (0.045, 0.034, 0.040)))
    clay.add(Ellipsoid((-0.115, -0.015, -0.585), (0.045, 0.034, 0.042)))
    x, y = _axis(s, 0.44)
    middle = (x, y - 0.92 * s["notch"], s["notch_z"])
    drum = 0.80 * s["notch"]
    clay.add(Rod((middle[0] - 0.08, *middle[1:]), (middle[0] + 0.045, *middle[1:]), drum, drum))
    clay.add(Strand([(x - 0.02, middle[1], 0.46), (x - 0.02, middle[1] - 0.01, 0.66)], [0.06, 0.045]))


ULNA = Kind(
    "ulna",
    {"human": _NUMBERS},
    _model,
    _inside,
    ((-0.16, 0.16), (-0.18, 0.15), (-0.57, 0.56)),
    lambda s: [(*_axis(s, z), z) for z in (-0.38, -0.2, 0.0, 0.2, 0.36)],
    _neighbours,
    around=((-0.20, 0.16), (-0.18, 0.15), (-0.62, 0.62)),
)
