"""The tibia. The origin is half-way up the bone; the plateau is above, the malleolus points down at +x (medial)."""

import math

from boneprint.simulate.clay import Clay
from boneprint.simulate.kind import Inside, Kind, long_bone
from boneprint.simulate.shape import Numbers, Shape
from boneprint.simulate.solids import Beyond, Ellipsoid, Place, Strand, Tube, ball

# Mean and standard deviation between individuals. Sources (docs/simulation.md): plateau 72.6 mm wide, 50 and 45 mm deep
# on the two sides, mean of men and women of Cheng et al. as tabulated in PMC9703208. The rest was chosen by hand.
_NUMBERS: Numbers = {
    "length_mm": (365.0, 23.0),
    "plateau_width": (0.198, 0.009),
    "plateau_depth": (0.134, 0.007),
    "slope_deg": (8.0, 3.0),
    "varus_deg": (2.5, 2.0),
    "eminence": (0.022, 0.003),
    "tuberosity_z": (0.385, 0.012),
    "tuberosity_size": (0.019, 0.003),
    "crest": (0.012, 0.002),
    "shaft_width": (0.031, 0.0022),
    "shaft_depth": (0.039, 0.0028),
    "triangle": (0.09, 0.025),
    "bow_back": (0.006, 0.006),
    "bow_side": (0.004, 0.005),
    "taper_z": (-0.24, 0.03),
    "proximal_flare": (1.0, 0.07),
    "distal_width": (0.063, 0.004),
    "distal_depth": (0.050, 0.004),
    "torsion_deg": (24.0, 8.0),
    "malleolus": (0.021, 0.002),
    "malleolus_length": (0.038, 0.004),
    "gerdy": (0.014, 0.003),
    "fibular_facet": (0.016, 0.003),
    "cortex_mid": (0.019, 0.0025),
    "cortex_end": (0.0036, 0.0007),
    "cortex_z": (0.0, 0.05),
}


def _axis(s: Shape, z: float) -> tuple[float, float]:
    arch = 1 - (z / 0.48) ** 2
    return 0.004 + s["bow_side"] * math.sin(6.0 * z) * arch, 0.010 - s["bow_back"] * arch


def _model(s: Shape, clay: Clay) -> None:
    wide, deep, flare = s["plateau_width"] / 2, s["plateau_depth"] / 2, s["proximal_flare"]
    rx, ry, thin = s["shaft_width"], s["shaft_depth"], s["taper_z"]
    widths = [
        (-0.49, s["distal_width"], s["distal_depth"]),
        (-0.455, 0.95 * s["distal_width"], 0.97 * s["distal_depth"]),
        (-0.41, 0.70 * s["distal_width"], 0.78 * s["distal_depth"]),
        (-0.34, 1.05 * rx, 0.84 * ry),
        (thin, 0.93 * rx, 0.84 * ry),
        (0.0, rx, ry),
        (0.18, 1.12 * rx, 1.06 * ry),
        (0.29, 1.35 * rx * flare, 1.15 * ry),
        (0.37, 0.58 * wide * flare, 0.78 * deep),
        (0.42, 0.82 * wide, 0.90 * deep),
        (0.455, 0.97 * wide, deep),
        (0.51, wide, deep),
    ]
    # The crest in front, turned a little outwards, is the first lobe.
    clay.add(Tube([(z, *_axis(s, z), a, b) for z, a, b in widths], s["triangle"], math.radians(-97.0)))
    slope, varus = math.radians(s["slope_deg"]), math.radians(s["varus_deg"])
    top = ((-0.3, 0.3), (-0.3, 0.3), (0.44, 0.56))
    clay.cut(Beyond((0.0, 0.01, 0.478), (math.sin(varus), math.sin(slope), 1.0), top), blend=0.016)
    clay.cut(Ellipsoid((0.52 * wide, 0.012, 0.508), (0.40 * wide, 0.72 * deep, 0.036)), blend=0.014)
    clay.cut(Ellipsoid((-0.54 * wide, 0.012, 0.510), (0.38 * wide, 0.66 * deep, 0.036)), blend=0.014)
    clay.cut(Ellipsoid((0.0, 1.28 * deep, 0.47), (0.20 * wide, 0.42 * deep, 0.07)), blend=0.016)
    for x, high in ((0.014, 1.0), (-0.014, 0.85)):
        clay.add(Ellipsoid((x, 0.010, 0.478), (0.010, 0.022, high * s["eminence"])), blend=0.014)

    size, z = s["tuberosity_size"], s["tuberosity_z"]
    x, y = _axis(s, z)
    clay.add(Ellipsoid((x - 0.004, y - 0.80 * deep, z), (1.1 * size, size, 1.9 * size)), blend=0.020)
    heights = (z, 0.28, 0.12, -0.04, -0.18)
    fronts = [
        (x - 0.006, y - f * ry, h) for h, f in zip(heights, (1.35, 1.12, 1.0, 0.92, 0.72)) for x, y in [_axis(s, h)]
    ]
    crest = s["crest"]
    clay.add(Strand(fronts, [1.1 * crest, crest, 0.9 * crest, 0.8 * crest, 0.6 * crest]), blend=0.016)
    clay.add(ball((-0.60 * wide, -0.56 * deep, 0.435), s["gerdy"]), blend=0.018)
    clay.add(ball((-0.84 * wide, 0.50 * deep, 0.432), s["fibular_facet"]), blend=0.018)

    turn = math.radians(s["torsion_deg"])
    x, y = _axis(s, -0.48)
    reach = 0.86 * s["distal_width"]
    malleolus = (x + reach * math.cos(turn), y - reach * math.sin(turn), s["malleolus_length"] - 0.5)
    clay.cut(Ellipsoid((x - 0.014, y, -0.510), (0.056, 0.09, 0.040)), blend=0.012)
    clay.add(Ellipsoid(malleolus, (s["malleolus"], 1.5 * s["malleolus"], s["malleolus_length"])), blend=0.014)
    notch = (x - 1.25 * s["distal_width"] * math.cos(turn), y + 1.25 * s["distal_width"] * math.sin(turn), -0.455)
    clay.cut(Ellipsoid(notch, (0.030, 0.030, 0.055)), blend=0.012)


def _inside(s: Shape) -> Inside:
    return long_bone(s["cortex_mid"], s["cortex_end"], s["cortex_z"])


def _neighbours(s: Shape, clay: Clay) -> None:
    """Fibula, the femoral condyles, and the talus."""
    wide, deep = s["plateau_width"] / 2, s["plateau_depth"] / 2
    places: list[Place] = [
        (-0.95 * wide, 0.85 * deep, 0.40),
        (-0.95 * wide, 0.80 * deep, 0.30),
        (-0.80 * wide, 0.55 * deep, 0.0),
        (-0.75 * wide, 0.35 * deep, -0.30),
        (-0.80 * wide, 0.25 * deep, -0.53),
    ]
    clay.add(Strand(places, [0.032, 0.018, 0.019, 0.018, 0.030]))
    for x in (0.52 * wide, -0.52 * wide):
        clay.add(Ellipsoid((x, 0.014, 0.565), (0.44 * wide, 0.085, 0.075)))
    clay.add(Ellipsoid((0.0, -0.03, -0.545), (0.050, 0.085, 0.045)))


TIBIA = Kind(
    "tibia",
    {"human": _NUMBERS},
    _model,
    _inside,
    ((-0.18, 0.18), (-0.16, 0.16), (-0.57, 0.56)),
    lambda s: [(*_axis(s, z), z) for z in (-0.40, -0.2, 0.0, 0.2, 0.40)],
    _neighbours,
)
