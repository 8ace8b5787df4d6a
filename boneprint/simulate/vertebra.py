"""A lumbar vertebra (L3). ``length_mm`` runs from the front of the body (-y) to the tip of the spinous process (+y)."""

import math

import torch

from boneprint.simulate.clay import Clay
from boneprint.simulate.kind import Inside, Kind
from boneprint.simulate.shape import Numbers, Shape
from boneprint.simulate.solids import Ellipsoid, Place, Strand, Tube

# Mean and standard deviation between individuals; fractions of 86 mm. Sources (docs/simulation.md): body 35.7 +- 3.5 mm
# deep, 26-30 mm high, canal 15.6 +- 2.1 by 28.2 +- 3.1 mm, pedicle 12.9 +- 1.9 mm high at L5 (Int. J. Spine Surg.,
# table 6), narrowed towards L3. The rest, and what makes an L5 an L3, was chosen by hand.
_NUMBERS: Numbers = {
    "length_mm": (86.0, 6.0),
    "body_width": (0.265, 0.018),
    "body_depth": (0.205, 0.016),
    "body_height": (0.160, 0.010),
    "body_waist": (0.86, 0.03),
    "body_wedge": (0.0, 0.012),
    "endplate": (0.016, 0.006),
    "canal_width": (0.140, 0.012),
    "canal_depth": (0.100, 0.010),
    "pedicle_width": (0.056, 0.009),
    "pedicle_height": (0.088, 0.009),
    "pedicle_z": (0.055, 0.010),
    "lamina": (0.045, 0.006),
    "spinous_height": (0.125, 0.018),
    "spinous_width": (0.042, 0.007),
    "spinous_drop": (0.07, 0.03),
    "transverse": (0.47, 0.035),
    "transverse_size": (0.050, 0.007),
    "transverse_rise": (0.02, 0.03),
    "transverse_back": (0.06, 0.03),
    "side": (0.0, 0.012),
    "superior": (0.060, 0.007),
    "superior_top": (0.255, 0.020),
    "superior_x": (0.195, 0.014),
    "inferior": (0.055, 0.007),
    "inferior_bottom": (-0.315, 0.025),
    "inferior_x": (0.140, 0.013),
    "cortex": (0.0100, 0.0018),
    "spongy": (0.85, 0.12),
}


def _model(s: Shape, clay: Clay) -> None:
    wide, deep, high, waist = s["body_width"], s["body_depth"], s["body_height"], s["body_waist"]
    middle = deep - 0.5
    rows = [
        (-1.02, 1.0),
        (-0.85, 1.0),
        (-0.45, waist + 0.03),
        (0.0, waist),
        (0.45, waist + 0.03),
        (0.85, 0.98),
        (1.02, 0.98),
    ]
    clay.add(Tube([(f * high, 0.0, middle, w * wide, w * deep) for f, w in rows]), blend=0.03)
    for up in (1.0, -1.0):
        place = (0.0, middle, up * (1.02 * high - s["endplate"] + 0.40) + s["body_wedge"])
        clay.cut(Ellipsoid(place, (0.95 * wide, 0.95 * deep, 0.40)), blend=0.03)

    back = 2 * deep - 0.5
    canal = back + s["canal_depth"]
    for side in (1.0, -1.0):
        slack = 1.0 + side * s["side"]
        foot = (side * (s["canal_width"] + 0.6 * s["pedicle_width"]), back - 0.06, s["pedicle_z"])
        pillar = (foot[0] * 1.02, canal - 0.01, s["pedicle_z"] - 0.01)
        width, height = s["pedicle_width"], s["pedicle_height"]
        clay.add(Strand([foot, pillar], [height, height], ((1.0, 0.0, 0.0), width / height)), blend=0.05)
        spine = (0.0, canal + s["canal_depth"] + 0.035, -0.07)
        plate = s["lamina"]
        lamina = [pillar, (side * 0.12, canal + 0.8 * s["canal_depth"], -0.05), spine]
        clay.add(Strand(lamina, [2.0 * plate, 2.4 * plate, 2.2 * plate], ((0.0, 1.0, 0.0), 0.5)), blend=0.05)

        r = s["transverse_size"]
        tip = (
            side * slack * s["transverse"],
            canal - 0.02 + s["transverse_back"],
            s["pedicle_z"] + s["transverse_rise"],
        )
        arm = [pillar, tuple(0.5 * (a + b) for a, b in zip(pillar, tip)), tip]
        clay.add(Strand(arm, [1.5 * r, 1.1 * r, 0.9 * r], ((0.0, 1.0, 0.0), 0.6)), blend=0.05)  # type: ignore[arg-type]
        a = s["superior"]
        upper = (side * slack * s["superior_x"], canal + 0.02, s["superior_top"] - a)
        clay.add(Strand([pillar, upper], [1.1 * a, a]), blend=0.04)
        clay.add(
            Ellipsoid((upper[0] + side * 0.3 * a, upper[1] + 0.5 * a, upper[2] - 0.3 * a), (a, a, 1.3 * a)), blend=0.03
        )
        b = s["inferior"]
        lower = (side * slack * s["inferior_x"], canal + s["canal_depth"] + 0.03, s["inferior_bottom"] + b)
        clay.add(Strand([(side * 0.12, canal + s["canal_depth"], -0.06), lower], [1.2 * b, b]), blend=0.05)

    root, tall, thin = canal + s["canal_depth"] + 0.02, s["spinous_height"], s["spinous_width"]
    drop = s["spinous_drop"]
    blade: list[Place] = [
        (0.0, root, -0.05),
        (0.0, 0.5 * (root + 0.5), -0.05 - 0.6 * drop),
        (0.0, 0.5 - 0.7 * tall, -0.05 - drop),
    ]
    clay.add(Strand(blade, [0.85 * tall, 0.95 * tall, 0.8 * tall], ((1.0, 0.0, 0.0), thin / tall)), blend=0.04)
    hole = [(-0.6, 1.0), (0.0, 1.0), (0.6, 1.0)]
    clay.cut(
        Tube([(z, 0.0, canal, s["canal_width"], s["canal_depth"]) for z, _ in hole], 0.10, math.pi / 2), blend=0.02
    )


def _inside(s: Shape) -> Inside:
    return [(z, s["cortex"], min(s["spongy"], 1.0)) for z in (-0.5, 0.0, 0.5)]


def _neighbours(s: Shape, clay: Clay) -> None:
    """The vertebrae above and below: copies of this one, discs of 12 mm apart (chosen by hand)."""
    pitch = 2 * s["body_height"] + 12.0 / s["length_mm"]
    x, y, z = clay.points
    for number in (-3, -2, -1, 1, 2, 3):
        up = number * pitch
        other = Clay((clay.axes[0], clay.axes[1], clay.axes[2] - up), (x, y, z - up), clay.slack)
        _model(s, other)
        clay.distance = torch.minimum(clay.distance, other.distance)


VERTEBRA = Kind(
    "vertebra",
    {"human": _NUMBERS},
    _model,
    _inside,
    ((-0.62, 0.62), (-0.57, 0.59), (-0.44, 0.39)),
    lambda s: [(x, y, s["pedicle_z"]) for x, y in ((-0.19, -0.10), (0.0, -0.30), (0.19, -0.10))],
    _neighbours,
    tubular=False,
    paired=False,
    warp=((3, 0.010), (6, 0.007), (14, 0.0035)),
    around=((-0.62, 0.62), (-0.57, 0.59), (-1.6, 1.6)),
)
