"""The hip bone, half a pelvis. ``length_mm`` is its height; the body's midline lies at about x = +0.36."""

import math

import numpy as np
import torch

from boneprint.simulate.clay import Clay
from boneprint.simulate.kind import Inside, Kind
from boneprint.simulate.shape import Numbers, Shape
from boneprint.simulate.solids import Beyond, Both, Ellipsoid, Place, Rod, Sheet, Strand, ball, closed_curve

# Mean and standard deviation between individuals, chosen by hand around a hip bone 210 mm high and 155 mm broad with a
# socket 52 mm across, as anatomy books show it; acetabular anteversion 18.8 degrees, PMC4616413.
_NUMBERS: Numbers = {
    "length_mm": (210.0, 12.0),
    "socket_radius": (0.124, 0.007),
    "socket_wall": (0.040, 0.004),
    "socket_x": (-0.045, 0.010),
    "socket_z": (-0.13, 0.012),
    "inclination_deg": (45.0, 4.0),
    "anteversion_deg": (18.0, 5.0),
    "breadth": (1.0, 0.045),
    "wing_height": (1.0, 0.035),
    "flare": (0.60, 0.07),
    "turn": (0.51, 0.06),
    "fossa": (0.035, 0.010),
    "wing_half": (0.013, 0.0025),
    "crest": (0.028, 0.003),
    "front_spine": (0.030, 0.005),
    "notch": (0.035, 0.018),
    "auricular": (0.055, 0.008),
    "ischium_x": (0.010, 0.015),
    "ischium_y": (0.120, 0.014),
    "tuberosity": (0.058, 0.005),
    "ischial_spine": (0.075, 0.014),
    "pubis_x": (0.335, 0.020),
    "pubis_y": (-0.320, 0.018),
    "pubis_z": (-0.270, 0.015),
    "pubis_size": (0.042, 0.004),
    "symphysis": (0.090, 0.010),
    "superior_ramus": (0.043, 0.005),
    "inferior_ramus": (0.034, 0.004),
    "arch": (0.0, 0.020),
    "cortex": (0.0070, 0.0012),
    "spongy": (0.75, 0.12),
}

# The ilium seen from the side, as (y, z): front spine, crest, back spine, sciatic notch, and down into the socket.
_ILIUM = (
    *((-0.335, 0.180), (-0.340, 0.240), (-0.280, 0.360), (-0.160, 0.450), (-0.020, 0.488), (0.120, 0.470)),
    *((0.250, 0.400), (0.350, 0.315), (0.400, 0.220), (0.385, 0.150), (0.330, 0.090), (0.245, 0.078)),
    *((0.185, 0.040), (0.160, -0.030), (0.150, -0.110), (0.050, -0.150), (-0.120, -0.150), (-0.220, -0.060)),
    *((-0.262, 0.020), (-0.240, 0.075), (-0.285, 0.120)),
)
_CREST = (1, 2, 3, 4, 5, 6, 7, 8)


def _socket(s: Shape) -> Place:
    return s["socket_x"], 0.0, s["socket_z"]


def _outline(s: Shape) -> list[tuple[float, float]]:
    found = []
    for y, z in _ILIUM:
        notched = s["notch"] - 0.035 if 0.10 < y < 0.30 and z < 0.09 else 0.0
        found.append((y * s["breadth"] - notched, z * s["wing_height"] if z > 0 else z))
    return found


def _model(s: Shape, clay: Clay) -> None:
    def bend(y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        hollow = torch.exp(-(((y + 0.08) / 0.18) ** 2) - ((z - 0.22) / 0.18) ** 2)
        return 0.055 + s["turn"] * y - s["flare"] * z - s["fossa"] * hollow

    def half(y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        # Thin in the middle of the wing, a buttress above the socket and a thick part at the sacrum.
        below = torch.exp(-(((z + 0.06).clamp(min=0) / 0.10) ** 2))
        behind = torch.sigmoid((y - 0.26) / 0.04)
        return s["wing_half"] * 1.27 + 0.045 * below + 0.5 * s["auricular"] * behind

    outline = _outline(s)
    clay.add(Sheet(closed_curve(outline, 64), bend, half, (-0.40, 0.36)), blend=0.03)
    rim = np.array([outline[i] for i in _CREST])
    x = bend(torch.tensor(rim[:, 0]), torch.tensor(rim[:, 1])).numpy()
    crest: list[Place] = [(float(a), float(y) * 0.97, float(z) - 0.012) for a, (y, z) in zip(x, rim)]
    size = s["crest"]
    clay.add(Strand(crest, [size, 0.9 * size, 1.1 * size, size, 0.85 * size, 0.9 * size, size, 1.1 * size]), blend=0.03)
    front = (float(bend(torch.tensor(-0.26), torch.tensor(0.02))), -0.245 * s["breadth"], 0.015)
    clay.add(Ellipsoid(front, (s["front_spine"], s["front_spine"], 1.5 * s["front_spine"])), blend=0.03)

    socket, r, wall = _socket(s), s["socket_radius"], s["socket_wall"]
    lean, turn = math.radians(s["inclination_deg"]), math.radians(s["anteversion_deg"])
    out = (-math.sin(lean) * math.cos(turn), -math.sin(lean) * math.sin(turn), -math.cos(lean))
    face = tuple(c + 0.10 * r * n for c, n in zip(socket, out))
    around = ball(socket, r + wall)
    # Beyond is negative beyond its plane, so the plane faces into the bone here.
    inward = Beyond(face, (-out[0], -out[1], -out[2]), around.bounds)  # type: ignore[arg-type]
    clay.add(Both(around, inward), blend=0.04)
    line: list[Place] = [(0.01, 0.02, -0.04), (0.055, 0.13, 0.05), (0.125, 0.26, 0.14), (0.155, 0.33, 0.20)]
    clay.add(Strand(line, [0.070, 0.058, 0.050, s["auricular"]]), blend=0.04)

    ix, iy, size = s["ischium_x"], s["ischium_y"], s["tuberosity"]
    down: list[Place] = [(0.0, 0.08, -0.20), (ix + 0.015, iy + 0.01, -0.33), (ix, iy, -0.5 + 1.2 * size)]
    clay.add(Strand(down, [0.075, 0.050, size]), blend=0.04)
    clay.add(Ellipsoid((ix - 0.005, iy - 0.01, -0.5 + 1.35 * size), (0.85 * size, size, 1.35 * size)), blend=0.04)
    reach = s["ischial_spine"]
    clay.add(Rod((0.045, 0.12, -0.17), (0.075, 0.12 + reach, -0.20), 0.032, 0.010), blend=0.04)

    px, py, pz, size = s["pubis_x"], s["pubis_y"], s["pubis_z"], s["pubis_size"]
    clay.add(Ellipsoid((px, py, pz), (size, 1.2 * size, s["symphysis"])), blend=0.03)
    upper = s["superior_ramus"]
    above: list[Place] = [
        (socket[0] + 0.08, -0.09, -0.10),
        (0.45 * px, 0.68 * py, -0.135),
        (0.78 * px, 0.95 * py, -0.175),
        (0.98 * px, py, pz + 0.06),
    ]
    clay.add(Strand(above, [1.6 * upper, upper, 0.95 * upper, upper]), blend=0.04)
    lower, arch = s["inferior_ramus"], s["arch"]
    below: list[Place] = [
        (0.96 * px, 0.96 * py, pz - 0.07),
        (0.62 * px, 0.55 * py, -0.40 + arch),
        (0.30 * px, 0.02, -0.445 + 0.5 * arch),
        (ix + 0.02, iy - 0.03, -0.44),
    ]
    clay.add(Strand(below, [1.2 * lower, lower, 1.1 * lower, 1.4 * lower]), blend=0.03)

    clay.cut(ball(socket, r), blend=0.010)
    fossa = tuple(c - 0.62 * r * n + d for c, n, d in zip(socket, out, (0.0, 0.0, -0.04)))
    clay.cut(ball(fossa, 0.50 * r), blend=0.012)  # type: ignore[arg-type]
    clay.cut(ball((socket[0] + 0.02, -0.055, socket[2] - r), 0.040), blend=0.016)


def _inside(s: Shape) -> Inside:
    return [(z, s["cortex"], min(s["spongy"], 1.0)) for z in (-0.5, 0.0, 0.5)]


def _neighbours(s: Shape, clay: Clay) -> None:
    """The sacrum, the other hip bone, and the femur's head, neck and shaft."""
    clay.add(Ellipsoid((0.37, 0.28, 0.15), (0.21, 0.09, 0.19)))
    socket, r = _socket(s), s["socket_radius"]
    clay.add(ball(socket, r - 0.016))
    knee = (socket[0] - 0.25, 0.02, socket[2] - 0.18)
    clay.add(Rod(socket, knee, 0.075, 0.09))
    clay.add(Rod(knee, (knee[0] + 0.06, 0.02, -1.2), 0.09, 0.065))
    # It is the mirror image of this one: the middle plane is half a symphysis of 5 mm (chosen by hand) from the pubis.
    twice_middle = 2 * (s["pubis_x"] + s["pubis_size"]) + 5.0 / s["length_mm"]
    x, y, z = clay.points
    other = Clay((twice_middle - clay.axes[0].flip(0), *clay.axes[1:]), (twice_middle - x.flip(2), y, z), clay.slack)
    _model(s, other)
    clay.distance = torch.minimum(clay.distance, other.distance.flip(2))


HIP = Kind(
    "hip",
    {"human": _NUMBERS},
    _model,
    _inside,
    ((-0.46, 0.50), (-0.47, 0.52), (-0.57, 0.58)),
    lambda s: [(s["ischium_x"], s["ischium_y"], -0.40), (0.0, 0.11, -0.2), (0.02, 0.04, -0.02), (0.09, 0.2, 0.1)],
    _neighbours,
    tubular=False,
    warp=((4, 0.010), (8, 0.006), (18, 0.0028)),
    around=((-0.75, 1.0), (-0.47, 0.55), (-1.05, 0.60)),
)
