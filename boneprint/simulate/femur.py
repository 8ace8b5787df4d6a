"""The femur. The origin is half-way up the bone; the head points to +x (medial), the condyles bulge to +y (back)."""

import math

from boneprint.simulate.clay import Clay
from boneprint.simulate.kind import Inside, Kind, long_bone
from boneprint.simulate.shape import Numbers, Shape
from boneprint.simulate.solids import Ellipsoid, Place, Rod, Strand, Tube, ball

# Mean and standard deviation between individuals. Sources (docs/simulation.md): length Solan & Kulkarni 2013
# (435 +- 27 mm); head 44.8 mm, epicondyles 78 mm and shaft perimeter 86 mm on 419 mm, J. Clin. Med. Res. 11, 740, 2019;
# neck-shaft 129 and version 9.7 degrees Toogood 2009; radius of the bow 943 mm, PLoS One (PMC6177158). The rest was
# chosen by hand; a cat's length of about 110 mm is S1's.
_HUMAN: Numbers = {
    "length_mm": (435.0, 24.0),
    "neck_shaft_deg": (129.0, 6.0),
    "anteversion_deg": (10.0, 8.0),
    "head_radius": (0.0535, 0.0032),
    "offset": (0.098, 0.009),
    "neck_radius": (0.036, 0.0030),
    "shaft_radius": (0.0325, 0.0024),
    "bow": (0.034, 0.008),
    "condyle_width": (0.184, 0.009),
}
_CAT: Numbers = {
    "length_mm": (110.0, 7.0),
    "neck_shaft_deg": (132.0, 5.0),
    "anteversion_deg": (18.0, 8.0),
    "head_radius": (0.0440, 0.0028),
    "offset": (0.084, 0.008),
    "neck_radius": (0.030, 0.0026),
    "shaft_radius": (0.0370, 0.0026),
    "bow": (0.014, 0.006),
    "condyle_width": (0.168, 0.010),
}
_ANY: Numbers = {
    "shaft_flatness": (1.0, 0.07),
    "isthmus_z": (0.08, 0.05),
    "distal_flare": (0.86, 0.06),
    "distal_depth": (0.054, 0.004),
    "proximal_flare": (1.45, 0.12),
    "lateral_bow": (0.0, 0.006),
    "valgus": (0.030, 0.008),
    "greater_height": (0.052, 0.012),
    "greater_lateral": (0.054, 0.006),
    "greater_back": (0.012, 0.007),
    "greater_size": (0.040, 0.004),
    "lesser_z": (0.335, 0.014),
    "lesser_angle_deg": (45.0, 14.0),
    "lesser_size": (0.020, 0.0035),
    "medial_condyle": (0.037, 0.0028),
    "lateral_condyle": (0.036, 0.0028),
    "condyle_depth": (0.068, 0.004),
    "condyle_height": (0.054, 0.004),
    "condyle_tilt": (0.0, 0.006),
    "notch": (0.022, 0.004),
    "groove": (0.020, 0.005),
    "trochlea": (0.036, 0.003),
    "medial_epicondyle": (0.017, 0.003),
    "lateral_epicondyle": (0.015, 0.003),
    "linea_aspera": (0.0065, 0.0022),
    "crest": (0.012, 0.003),
    "cortex_mid": (0.45, 0.06),
    "cortex_end": (0.0034, 0.0007),
    "cortex_z": (0.03, 0.05),
}


def _axis(s: Shape, z: float) -> tuple[float, float]:
    """Middle of the shaft at a height: bowed to the front, leaning outwards on its way up."""
    arch = 1 - (z / 0.46) ** 2
    return s["lateral_bow"] * arch + s["valgus"] * (0.25 - z) * 0.35 - 0.004, 0.010 - s["bow"] * arch


def _head(s: Shape) -> Place:
    version = math.radians(s["anteversion_deg"])
    return s["offset"] * math.cos(version), -s["offset"] * math.sin(version), 0.5 - s["head_radius"]


def _model(s: Shape, clay: Clay) -> None:
    r, half = s["shaft_radius"], s["condyle_width"] / 2
    width, depth = s["shaft_flatness"], 1 / s["shaft_flatness"]
    flare, low, deep = s["proximal_flare"], s["distal_flare"] * half, s["distal_depth"]
    widths = [
        (-0.46, low, deep),
        (-0.42, 0.88 * low, 0.86 * deep),
        (-0.37, 0.66 * low, 0.72 * deep),
        (-0.29, 1.25 * r * width, 1.12 * r * depth),
        (-0.12, 1.03 * r * width, 1.03 * r * depth),
        (s["isthmus_z"], r * width, r * depth),
        (0.24, 1.06 * r * width, 1.03 * r * depth),
        (0.32, (0.35 + 0.65 * flare) * r, (0.55 + 0.45 * flare) * r),
        (0.41, flare * r, (0.30 + 0.70 * flare) * r),
    ]
    clay.add(Tube([(z, *_axis(s, z), rx, ry) for z, rx, ry in widths]))

    head, head_r = _head(s), s["head_radius"]
    rise = s["offset"] / math.tan(math.radians(180.0 - s["neck_shaft_deg"]))
    root = (-0.004, 0.0, head[2] - rise - 0.006)
    clay.add(ball(head, head_r))
    clay.add(Rod(root, head, s["neck_radius"] * 1.18, s["neck_radius"] * 0.92), blend=0.020)
    fovea = (head[0] + 0.90 * head_r, head[1] + 0.20 * head_r, head[2] + 0.42 * head_r)
    clay.cut(ball(fovea, 0.012))

    size = s["greater_size"]
    greater = (0.006 - s["greater_lateral"], s["greater_back"], 0.5 - 2 * head_r + s["greater_height"] - 0.9 * size)
    clay.add(Ellipsoid(greater, (0.72 * size, size, 1.25 * size)), blend=0.020)
    clay.add(Rod(root, greater, s["neck_radius"], 0.62 * size), blend=0.020)
    saddle = (0.4 * (greater[0] + head[0]), 0.5 * head[1], 0.5 * (root[2] + head[2]))
    clay.add(Rod(greater, saddle, 0.50 * size, 0.6 * s["neck_radius"]), blend=0.030)
    turn = math.radians(s["lesser_angle_deg"])
    lesser = (1.25 * r * math.cos(turn), 1.25 * r * math.sin(turn), s["lesser_z"])
    clay.add(Ellipsoid(lesser, (s["lesser_size"], s["lesser_size"], 1.3 * s["lesser_size"])), blend=0.016)
    behind = (greater[0] + 0.01, greater[1] + 0.7 * size, greater[2])
    between = (-0.008, 0.030, 0.5 * (greater[2] + lesser[2]))
    clay.add(Strand([behind, between, lesser], [s["crest"], s["crest"], 0.8 * s["crest"]]), blend=0.014)
    clay.cut(ball((greater[0] + 0.038, greater[1] + 0.026, greater[2] + 0.030), 0.016), blend=0.012)

    heights = (-0.30, -0.15, 0.0, 0.15, 0.28)
    backs = [(x, y + 0.98 * r * depth, z) for z in heights for x, y in [_axis(s, z)]]
    aspera = s["linea_aspera"]
    clay.add(Strand(backs, [0.4 * aspera, aspera, 1.3 * aspera, aspera, 0.6 * aspera]))

    x, tilt, tall = s["valgus"] * 0.26, s["condyle_tilt"], s["condyle_height"]
    medial = (x + half - s["medial_condyle"], 0.020, -0.5 + tall + max(-tilt, 0.0))
    lateral = (x - half + s["lateral_condyle"], 0.018, -0.5 + tall + max(tilt, 0.0))
    clay.add(Ellipsoid(medial, (s["medial_condyle"], s["condyle_depth"], tall)), blend=0.014)
    clay.add(Ellipsoid(lateral, (s["lateral_condyle"], 0.97 * s["condyle_depth"], tall)), blend=0.014)
    front = (x, -0.022, -0.488 + tall)
    clay.add(Ellipsoid(front, (0.78 * half, s["trochlea"], tall)), blend=0.014)
    clay.add(ball((x + half - 0.002, 0.008, -0.432), s["medial_epicondyle"]), blend=0.016)
    clay.add(ball((x - half + 0.002, 0.008, -0.436), s["lateral_epicondyle"]), blend=0.016)
    clay.cut(Ellipsoid((x, 0.066, -0.495), (s["notch"], 0.056, 0.056)), blend=0.010)
    clay.cut(Ellipsoid((x, -0.034 - s["trochlea"], -0.465), (s["groove"], 0.022, 0.07)), blend=0.012)


def _inside(s: Shape) -> Inside:
    return long_bone(s["cortex_mid"] * s["shaft_radius"], s["cortex_end"], s["cortex_z"])


def _neighbours(s: Shape, clay: Clay) -> None:
    """A stub of pelvis with its socket, the tibial plateau, and the patella; gaps are joint spaces of about 4 mm."""
    head, head_r = _head(s), s["head_radius"]
    clay.add(Ellipsoid((head[0] + 0.03, head[1] - 0.005, head[2] + 0.035), (0.075, 0.07, 0.085)))
    clay.cut(ball(head, head_r + 0.010))
    clay.cut(Ellipsoid((head[0] - 0.10, head[1], head[2] - 0.08), (0.10, 0.12, 0.11)))
    x, half = s["valgus"] * 0.26, s["condyle_width"] / 2
    clay.add(Tube([(-0.64, x, 0.01, 0.6 * half, 0.045), (-0.512, x, 0.01, 0.95 * half, 0.062)]))
    clay.add(Ellipsoid((x - 0.004, -0.092, -0.43), (0.052, 0.024, 0.052)))


FEMUR = Kind(
    "femur",
    {"human": {**_HUMAN, **_ANY}, "cat": {**_CAT, **_ANY}},
    _model,
    _inside,
    ((-0.17, 0.21), (-0.17, 0.17), (-0.55, 0.55)),
    lambda s: [(*_axis(s, z), z) for z in (-0.36, -0.18, 0.0, 0.18, 0.40)],
    _neighbours,
    lambda s: (_head(s), s["head_radius"]),
)
