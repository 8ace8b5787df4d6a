"""The humerus. The origin is half-way up the bone; the head points to +x (medial) and +y (back)."""

import math

from boneprint.simulate.clay import Clay
from boneprint.simulate.kind import Inside, Kind, long_bone
from boneprint.simulate.shape import Numbers, Shape
from boneprint.simulate.solids import Ellipsoid, Place, Rod, Strand, Tube, ball

# Mean and standard deviation between individuals. Sources (docs/simulation.md): head 44.8 +- 3.9 mm across, inclination
# 137.7 +- 4.9 degrees, medial offset 7.3 +- 2.5 mm, J. Orthop. Surg. Res. 18 (s13018-023-03504-2), 2023; retroversion
# 21.4 degrees Roberts 1991. The rest was chosen by hand.
_NUMBERS: Numbers = {
    "length_mm": (312.0, 20.0),
    "head_radius": (0.070, 0.0045),
    "inclination_deg": (137.0, 4.9),
    "retroversion_deg": (21.0, 9.0),
    "offset": (0.023, 0.007),
    "greater_size": (0.044, 0.004),
    "greater_height": (0.432, 0.007),
    "lesser_size": (0.026, 0.003),
    "groove": (0.011, 0.003),
    "shaft_radius": (0.035, 0.0028),
    "shaft_flatness": (1.0, 0.06),
    "proximal_flare": (1.0, 0.08),
    "deltoid": (0.013, 0.004),
    "deltoid_z": (0.05, 0.025),
    "bow": (0.006, 0.005),
    "side_bow": (0.0, 0.005),
    "carrying": (0.010, 0.005),
    "distal_width": (0.094, 0.006),
    "distal_depth": (0.026, 0.0025),
    "trochlea": (0.040, 0.003),
    "capitellum": (0.034, 0.003),
    "medial_epicondyle": (0.019, 0.003),
    "lateral_epicondyle": (0.015, 0.003),
    "fossa": (0.027, 0.003),
    "cortex_mid": (0.0145, 0.002),
    "cortex_end": (0.0040, 0.0008),
    "cortex_z": (-0.03, 0.05),
}


def _axis(s: Shape, z: float) -> tuple[float, float]:
    arch = 1 - (z / 0.46) ** 2
    return s["side_bow"] * arch - s["carrying"] * min(z, 0.0), 0.004 - s["bow"] * math.sin(5.5 * z)


def _head(s: Shape) -> Place:
    turn = math.radians(s["retroversion_deg"])
    return 0.010 + s["offset"] * math.cos(turn), s["offset"] * math.sin(turn), 0.5 - s["head_radius"]


def _model(s: Shape, clay: Clay) -> None:
    r, wide, deep, flare = s["shaft_radius"], s["distal_width"], s["distal_depth"], s["proximal_flare"]
    flat = s["shaft_flatness"]
    widths = [
        (-0.47, 0.80 * wide, deep),
        (-0.43, 0.90 * wide, deep),
        (-0.38, 0.70 * wide, 1.02 * deep),
        (-0.31, 0.48 * wide, 1.08 * deep),
        (-0.22, 1.10 * r, 0.90 * r),
        (-0.08, 0.97 * r * flat, 0.97 * r / flat),
        (0.10, r * flat, r / flat),
        (0.24, 1.08 * r * flare, 1.08 * r * flare),
        (0.33, 1.35 * r * flare, 1.32 * r * flare),
        (0.40, 1.70 * r * flare, 1.62 * r * flare),
        (0.43, 1.70 * r * flare, 1.62 * r * flare),
    ]
    clay.add(Tube([(z, *_axis(s, z), a, b) for z, a, b in widths]))
    head, head_r = _head(s), s["head_radius"]
    clay.add(ball(head, head_r), blend=0.020)
    size, high = s["greater_size"], s["greater_height"]
    greater = (-0.044, -0.004, high)
    clay.add(Ellipsoid(greater, (0.86 * size, 1.15 * size, 1.05 * size)), blend=0.024)
    lesser = (0.010, -0.050, high - 0.018)
    clay.add(Ellipsoid(lesser, (s["lesser_size"], 0.85 * s["lesser_size"], 1.3 * s["lesser_size"])), blend=0.020)
    groove = s["groove"]
    clay.cut(Rod((-0.026, -0.062, 0.48), (-0.018, -0.058, 0.28), groove, 0.7 * groove), blend=0.014)
    # The anatomical neck: a shallow furrow between head and tuberosities, square to the head's axis.
    lean = math.radians(s["inclination_deg"] - 90.0)
    clay.cut(
        ball(
            (head[0] - 1.06 * head_r * math.cos(lean) + 0.012, head[1], head[2] + 1.12 * head_r * math.sin(lean)), 0.020
        ),
        blend=0.016,
    )

    z = s["deltoid_z"]
    x, y = _axis(s, z)
    swelling = [(x - 0.94 * r, y - 0.2 * r, z + d) for d in (0.07, 0.0, -0.06)]
    clay.add(Strand(swelling, [0.5 * s["deltoid"], s["deltoid"], 0.5 * s["deltoid"]]), blend=0.016)

    x, y = _axis(s, -0.45)
    drum, knob = s["trochlea"], s["capitellum"]
    clay.add(Rod((x + 0.062, y - 0.006, -0.458), (x - 0.020, y - 0.006, -0.458), 0.72 * drum, 0.68 * drum), blend=0.010)
    clay.add(Ellipsoid((x + 0.052, y - 0.006, -0.5 + 1.1 * drum), (0.016, 1.05 * drum, 1.1 * drum)), blend=0.016)
    clay.add(Ellipsoid((x + 0.002, y - 0.006, -0.458), (0.012, 0.88 * drum, 0.90 * drum)), blend=0.016)
    clay.add(ball((x - 0.042, y - 0.012, -0.460), knob), blend=0.012)
    inner, outer = s["medial_epicondyle"], s["lateral_epicondyle"]
    clay.add(Ellipsoid((x + wide, y + 0.006, -0.415), (1.15 * inner, 0.75 * inner, 1.4 * inner)), blend=0.026)
    clay.add(Ellipsoid((x - 0.80 * wide, y + 0.002, -0.420), (outer, 0.9 * outer, 1.9 * outer)), blend=0.026)
    fossa = s["fossa"]
    clay.cut(
        Ellipsoid((x + 0.016, y + 0.90 * deep + 0.006, -0.398), (1.25 * fossa, 0.80 * fossa, 1.15 * fossa)), blend=0.014
    )
    clay.cut(
        Ellipsoid((x + 0.018, y - 0.90 * deep - 0.006, -0.400), (0.95 * fossa, 0.60 * fossa, 0.8 * fossa)), blend=0.014
    )


def _inside(s: Shape) -> Inside:
    return long_bone(s["cortex_mid"], s["cortex_end"], s["cortex_z"])


def _neighbours(s: Shape, clay: Clay) -> None:
    """The shoulder blade's socket, the ulna's olecranon, and the head of the radius."""
    head, head_r = _head(s), s["head_radius"]
    clay.add(Ellipsoid((head[0] + head_r + 0.045, head[1] + 0.03, head[2] + 0.01), (0.045, 0.040, 0.065)))
    clay.add(Strand([(-0.06, 0.02, 0.56), (0.06, 0.06, 0.57), (0.16, 0.10, 0.56)], [0.022, 0.020, 0.016]))
    clay.cut(ball(head, head_r + 0.012))
    x, y = _axis(s, -0.45)
    clay.add(
        Strand(
            [(x + 0.016, y + 0.055, -0.42), (x + 0.018, y + 0.05, -0.49), (x + 0.02, y + 0.01, -0.58)],
            [0.028, 0.034, 0.040],
        )
    )
    clay.add(Rod((x - 0.042, y - 0.012, -0.512), (x - 0.040, y - 0.012, -0.60), 0.036, 0.026))


HUMERUS = Kind(
    "humerus",
    {"human": _NUMBERS},
    _model,
    _inside,
    ((-0.19, 0.21), (-0.17, 0.17), (-0.56, 0.56)),
    lambda s: [(*_axis(s, z), z) for z in (-0.32, -0.15, 0.0, 0.2, 0.38)],
    _neighbours,
    lambda s: (_head(s), s["head_radius"]),
)
