"""The radius. The origin is half-way up the bone; the head is above, the styloid points down at -x (thumb side)."""

import math

from boneprint.simulate.clay import Clay
from boneprint.simulate.kind import Inside, Kind, long_bone
from boneprint.simulate.shape import Numbers, Shape
from boneprint.simulate.solids import Beyond, Ellipsoid, Place, Strand, Tube, ball, curve

# Mean and standard deviation between individuals. Sources (docs/simulation.md): length 235 mm (207-269), neck 13 mm,
# van Riet 2004; head 20.1 +- 1.9 mm across, bow 9.1 +- 2.0 mm, distal end 17.8 +- 1.6 mm thick, Shetty & Shetty 2024.
# The rest was chosen by hand.
_NUMBERS: Numbers = {
    "length_mm": (235.0, 15.0),
    "head_radius": (0.0430, 0.0040),
    "head_height": (0.042, 0.005),
    "head_oval": (1.0, 0.03),
    "neck_radius": (0.029, 0.0025),
    "neck_lean": (0.018, 0.008),
    "tuberosity": (0.017, 0.003),
    "tuberosity_z": (0.365, 0.012),
    "tuberosity_turn_deg": (-35.0, 15.0),
    "bow": (0.031, 0.0080),
    "bow_z": (-0.02, 0.04),
    "bow_front": (0.006, 0.006),
    "shaft_width": (0.0275, 0.0024),
    "shaft_depth": (0.0245, 0.0022),
    "interosseous": (0.010, 0.002),
    "distal_width": (0.064, 0.005),
    "distal_depth": (0.040, 0.0034),
    "distal_z": (-0.30, 0.025),
    "inclination_deg": (23.0, 3.0),
    "tilt_deg": (11.0, 4.0),
    "lister": (0.010, 0.003),
    "notch": (0.030, 0.004),
    "cortex_mid": (0.0140, 0.002),
    "cortex_end": (0.0045, 0.0009),
    "cortex_z": (0.05, 0.05),
}


def _axis(s: Shape, z: float) -> tuple[float, float]:
    knots = (-0.5, -0.42, s["bow_z"] - 0.1, s["bow_z"] + 0.1, 0.36, 0.5)
    x = curve(knots, (0.0, 0.0, -0.95 * s["bow"], -0.95 * s["bow"], 0.0, s["neck_lean"]), z)
    return x, -s["bow_front"] * math.cos(3.0 * z)


def _model(s: Shape, clay: Clay) -> None:
    rx, ry, wide, deep, low = (s[n] for n in ("shaft_width", "shaft_depth", "distal_width", "distal_depth", "distal_z"))
    widths = [
        (-0.51, wide, deep),
        (-0.455, 0.97 * wide, deep),
        (-0.40, 0.80 * wide, 0.86 * deep),
        (low, 1.18 * rx, 1.08 * ry),
        (-0.10, rx, ry),
        (0.10, 0.96 * rx, 0.98 * ry),
        (0.26, 0.90 * rx, ry),
        (0.40, s["neck_radius"], s["neck_radius"]),
        (0.47, s["neck_radius"], s["neck_radius"]),
    ]
    clay.add(Tube([(z, *_axis(s, z), a, b) for z, a, b in widths]))
    radius, tall, oval = s["head_radius"], s["head_height"], s["head_oval"]
    rim = [
        (0.5 - tall - 0.02, 0.72),
        (0.5 - tall, 0.95),
        (0.5 - 0.6 * tall, 1.0),
        (0.5 - 0.15 * tall, 1.0),
        (0.5, 0.90),
    ]
    clay.add(Tube([(z, *_axis(s, 0.48), f * radius * oval, f * radius / oval) for z, f in rim]), blend=0.012)
    x, y = _axis(s, 0.5)
    clay.cut(ball((x, y, 0.5 + 1.5 * radius), 1.65 * radius), blend=0.008)

    size, z, turn = s["tuberosity"], s["tuberosity_z"], math.radians(s["tuberosity_turn_deg"])
    x, y = _axis(s, z)
    reach = 0.028
    knob = (x + reach * math.cos(turn), y + reach * math.sin(turn), z)
    clay.add(Ellipsoid(knob, (size, size, 2.2 * size)), blend=0.018)
    heights = (0.26, 0.12, -0.04, -0.20, -0.34)
    edge = [(x + rx, y, z) for z in heights for x, y in [_axis(s, z)]]
    sharp = s["interosseous"]
    clay.add(Strand(edge, [0.6 * sharp, sharp, 1.1 * sharp, sharp, 0.6 * sharp]), blend=0.014)

    lean, tilt = math.tan(math.radians(s["inclination_deg"])), math.tan(math.radians(s["tilt_deg"]))
    end = ((-0.3, 0.3), (-0.3, 0.3), (-0.56, -0.40))
    clay.cut(Beyond((-0.90 * wide, 0.0, -0.502), (-lean, -tilt, -1.0), end), blend=0.016)
    clay.cut(Ellipsoid((0.05 * wide, 0.0, -0.516), (0.70 * wide, 0.80 * deep, 0.040)), blend=0.012)
    clay.cut(ball((1.28 * wide, 0.0, -0.440), s["notch"]), blend=0.012)
    lister = s["lister"]
    clay.add(Strand([(0.004, 0.96 * deep, -0.405), (0.0, 1.02 * deep, -0.450)], [0.6 * lister, lister]), blend=0.014)


def _inside(s: Shape) -> Inside:
    return long_bone(s["cortex_mid"], s["cortex_end"], s["cortex_z"])


def _neighbours(s: Shape, clay: Clay) -> None:
    """The ulna, two bones of the wrist, and the humerus."""
    places: list[Place] = [
        (0.085, 0.09, 0.55),
        (0.085, 0.060, 0.44),
        (0.070, 0.040, 0.25),
        (0.078, 0.020, 0.0),
        (0.085, 0.010, -0.30),
        (0.098, 0.008, -0.44),
    ]
    clay.add(Strand(places, [0.050, 0.052, 0.034, 0.028, 0.024, 0.034]))
    wide = s["distal_width"]
    clay.add(Ellipsoid((-0.45 * wide, 0.0, -0.555), (0.045, 0.035, 0.045)))
    clay.add(Ellipsoid((0.55 * wide, 0.0, -0.540), (0.036, 0.035, 0.040)))
    x, y = _axis(s, 0.5)
    clay.add(ball((x, y, 0.565), 0.052))


RADIUS = Kind(
    "radius",
    {"human": _NUMBERS},
    _model,
    _inside,
    ((-0.17, 0.18), (-0.13, 0.14), (-0.57, 0.56)),
    lambda s: [(*_axis(s, z), z) for z in (-0.38, -0.2, 0.0, 0.2, 0.40)],
    _neighbours,
)
