"""The heel bone. ``length_mm`` runs from the facet for the cuboid (-y) to the heel (+y); the sole is below (-z)."""

import math

import numpy as np

from boneprint.simulate.clay import Clay
from boneprint.simulate.kind import Inside, Kind
from boneprint.simulate.shape import Numbers, Shape
from boneprint.simulate.solids import Beyond, Ellipsoid, Place, Strand, ball

# Mean and standard deviation between individuals; fractions of 77 mm. Sources (docs/simulation.md): 74.2 +- 3.0 mm
# long, 43.0 +- 4.0 wide, 42.5 +- 3.0 high in 42 Koreans, who have smaller ones than others;
# the angle of Boehler 32 +- 5 degrees, the same. The rest was chosen by hand.
_NUMBERS: Numbers = {
    "length_mm": (77.0, 4.5),
    "heel_width": (0.195, 0.017),
    "heel_height": (0.265, 0.020),
    "heel_depth": (0.150, 0.015),
    "heel_lean": (0.010, 0.014),
    "heel_rise": (0.010, 0.016),
    "waist_width": (0.150, 0.014),
    "waist_height": (0.205, 0.016),
    "front_width": (0.155, 0.014),
    "front_height": (0.165, 0.015),
    "front_rise": (0.010, 0.015),
    "front_turn": (-0.020, 0.014),
    "thalamus": (0.150, 0.014),
    "thalamus_y": (-0.070, 0.015),
    "thalamus_top": (0.265, 0.017),
    "boehler_deg": (32.0, 5.0),
    "shelf_reach": (0.300, 0.022),
    "shelf_size": (0.075, 0.009),
    "shelf_y": (-0.130, 0.015),
    "shelf_z": (0.130, 0.017),
    "medial_process": (0.085, 0.012),
    "lateral_process": (0.062, 0.010),
    "peroneal": (0.045, 0.012),
    "peroneal_y": (-0.17, 0.02),
    "groove": (0.050, 0.010),
    "beak": (0.060, 0.012),
    "cortex": (0.0150, 0.0025),
    "spongy": (0.80, 0.12),
}


def _model(s: Shape, clay: Clay) -> None:
    """The right one: the shelf that carries the talus (sustentaculum) points to the middle, +x."""
    heel, high, deep = s["heel_width"], s["heel_height"], s["heel_depth"]
    back = (s["heel_lean"], 0.5 - deep, s["heel_rise"])
    middle = (0.0, 0.05, 0.010)
    front = (s["front_turn"], -0.5 + 0.14, s["front_rise"])
    clay.add(Ellipsoid(back, (heel, deep, high)))
    body: list[Place] = [(back[0], 0.25, 0.6 * back[2]), middle, (0.4 * front[0], -0.18, 0.005), front]
    tall = [0.92 * high, s["waist_height"], 0.95 * s["waist_height"], s["front_height"]]
    clay.add(Strand(body, tall, ((1.0, 0.0, 0.0), s["waist_width"] / s["waist_height"])), blend=0.08)
    clay.add(Ellipsoid(front, (s["front_width"], 0.15, s["front_height"])), blend=0.06)

    # The posterior facet slopes down to the front, and down to the heel's upper edge by the angle of Boehler.
    size, y, top = s["thalamus"], s["thalamus_y"], s["thalamus_top"]
    lean = math.radians(s["boehler_deg"])
    tipped = np.array([[1.0, 0.0, 0.0], [0.0, math.cos(lean), math.sin(lean)], [0.0, -math.sin(lean), math.cos(lean)]])
    clay.add(Ellipsoid((-0.02, y, top - 0.62 * size), (1.05 * size, 1.15 * size, 0.72 * size), tipped), blend=0.07)
    clay.cut(ball((0.02, y - 1.75 * size, top + 0.03), 0.105), blend=0.05)  # the sinus before it
    beak = s["beak"]
    clay.add(Ellipsoid((0.03, -0.5 + 0.16, s["front_rise"] + 0.80 * s["front_height"]), (0.09, 0.10, beak)), blend=0.05)

    thick = s["shelf_size"]
    root = (0.05, s["shelf_y"], s["shelf_z"] - 0.03)
    tip = (s["shelf_reach"] - thick, s["shelf_y"], s["shelf_z"])
    clay.add(Strand([root, tip], [1.5 * thick, thick], ((0.0, 0.0, 1.0), 0.75)), blend=0.06)
    groove = s["groove"]
    under: list[Place] = [(0.24, y, 0.0) for y in (-0.30, -0.12, 0.06)]
    clay.cut(Strand(under, [groove, groove, groove]), blend=0.05)

    inner, outer = s["medial_process"], s["lateral_process"]
    clay.add(
        Ellipsoid((back[0] + 0.095, 0.5 - 1.45 * deep, back[2] - 0.82 * high), (inner, 1.5 * inner, inner)), blend=0.06
    )
    clay.add(
        Ellipsoid((back[0] - 0.105, 0.5 - 1.55 * deep, back[2] - 0.78 * high), (outer, 1.4 * outer, outer)), blend=0.06
    )
    knob = s["peroneal"]
    clay.add(Ellipsoid((-s["waist_width"] - 0.006, s["peroneal_y"], -0.01), (knob, 1.4 * knob, knob)), blend=0.04)
    # The facet for the cuboid is a shallow saddle across the front.
    end = ((-0.4, 0.4), (-0.62, -0.40), (-0.4, 0.4))
    clay.cut(Beyond((front[0], -0.497, 0.0), (0.12, -1.0, -0.10), end), blend=0.03)
    clay.cut(Ellipsoid((front[0] - 0.03, -0.545, front[2] - 0.03), (0.20, 0.075, 0.10)), blend=0.03)


def _inside(s: Shape) -> Inside:
    return [(z, s["cortex"], min(s["spongy"], 1.0)) for z in (-0.5, 0.0, 0.5)]


def _neighbours(s: Shape, clay: Clay) -> None:
    """The talus above it, the cuboid and the navicular before it, and the lower end of the tibia."""
    top = s["thalamus_top"]
    clay.add(Ellipsoid((0.02, -0.08, top + 0.20), (0.21, 0.27, 0.16)))
    clay.add(Ellipsoid((0.06, -0.42, top + 0.09), (0.19, 0.17, 0.16)))
    clay.add(Ellipsoid((0.08, -0.68, top + 0.06), (0.24, 0.10, 0.21)))
    clay.add(Ellipsoid((s["front_turn"] - 0.02, -0.74, s["front_rise"] - 0.03), (0.19, 0.21, 0.17)))
    clay.add(Strand([(0.02, -0.06, top + 0.62), (0.02, -0.05, top + 1.0)], [0.25, 0.19]))
    clay.add(Strand([(-0.24, 0.0, top + 0.20), (-0.24, 0.0, top + 1.0)], [0.10, 0.09]))


CALCANEUS = Kind(
    "calcaneus",
    {"human": _NUMBERS},
    _model,
    _inside,
    ((-0.36, 0.42), (-0.59, 0.59), (-0.43, 0.44)),
    lambda s: [(0.0, y, 0.0) for y in (-0.30, -0.05, 0.20)],
    _neighbours,
    tubular=False,
    warp=((3, 0.010), (6, 0.007), (14, 0.0035)),
    around=((-0.55, 0.55), (-1.05, 0.62), (-0.45, 1.05)),
)
