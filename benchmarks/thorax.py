"""Simulated rib cages, for one experiment (``chest.py``): ribs, spine, breastbone, collar bones and shoulder blades.

Every number was chosen by hand, after the look of a thorax; nothing was fitted, and nobody is shipped. A person is seen
on three visits, each with another breath and other shoulders. What is no bone and is seen on every chest radiograph,
the heart and what lies below the diaphragm, is drawn over the projections: another one in every picture.
"""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from boneprint import training_set as miniature
from boneprint.drr.ensemble import Ensemble, Looks, Miniature
from boneprint.embed import weights
from boneprint.simulate import TRAINING, Body
from boneprint.simulate.clay import Clay
from boneprint.simulate.kind import Inside, Kind
from boneprint.simulate.kinds import KINDS
from boneprint.simulate.shape import Numbers, Shape
from boneprint.simulate.solids import Ellipsoid, Place, Rod, Strand

NAME = "thorax"
VISITS = 3
CANVAS_MM = 480.0
_CLOSER = 0.75  # a chest fills its picture, whose longer side is taken to be 430 mm: how large it was is not known
_PAIRS = 12
_HEART_PER_MM = 0.008  # of soft tissue among lungs, at 60 keV, in the units of a projection

# Of each pair of ribs, from above: half the cage's width and depth there, how far the rib sinks, and where around the
# cage its bone ends (0 at the spine, pi at the breastbone).
_HALF_WIDTH = (0.19, 0.265, 0.32, 0.36, 0.39, 0.41, 0.42, 0.425, 0.42, 0.405, 0.375, 0.33)
_HALF_DEPTH = (0.12, 0.17, 0.21, 0.24, 0.26, 0.275, 0.285, 0.285, 0.28, 0.27, 0.26, 0.25)
_SINK = (0.13, 0.18, 0.225, 0.26, 0.29, 0.31, 0.32, 0.315, 0.30, 0.27, 0.20, 0.13)
_END = (2.5, 2.5, 2.5, 2.45, 2.4, 2.35, 2.25, 2.1, 1.95, 1.8, 1.35, 0.9)
_TOP, _BOTTOM = 0.40, -0.40  # heads of the first and the last rib


def _numbers() -> Numbers:
    found = {"length_mm": (330.0, 24.0), "wide": (1.0, 0.07), "deep": (1.0, 0.10), "sink": (1.0, 0.16)}
    found |= {"rib": (0.0125, 0.0015), "kyphosis": (0.07, 0.025), "scoliosis": (0.0, 0.012), "narrow": (0.0, 0.05)}
    found |= {"body": (0.042, 0.004), "spinous": (0.10, 0.015), "transverse": (0.085, 0.008), "cortex": (0.006, 0.0010)}
    found |= {"sternum": (0.34, 0.03), "manubrium": (0.055, 0.008), "spongy": (0.7, 0.15)}
    for pair in range(_PAIRS):
        found |= {f"{what}{pair}": (0.0, each) for what, each in (("space", 0.006), ("dip", 0.014), ("out", 0.010))}
        found |= {f"{what}{pair}": (0.0, each) for what, each in (("skew", 0.008), ("stop", 0.09), ("bow", 0.008))}
    for side in ("L", "R"):
        found |= {f"{part}_{axis}_{side}": (0.0, 0.014) for part in ("clavicle", "shoulder", "blade") for axis in "xyz"}
        found |= {f"blade_long_{side}": (0.40, 0.025), f"clavicle_bow_{side}": (0.045, 0.012)}
        found |= {f"clavicle_r_{side}": (0.016, 0.002)}
    return found


# What differs from visit to visit, as shares of the differences between people: breath, stance and shoulders.
_BETWEEN_VISITS = {
    "sink": 0.5,
    "deep": 0.2,
    "kyphosis": 0.5,
    "scoliosis": 0.4,
    "clavicle": 0.8,
    "shoulder": 1.0,
    "blade": 1.0,
}


def _spine(s: Shape, z: float) -> tuple[float, float]:
    """Middle of the vertebral bodies at a height: x and y."""
    return s["scoliosis"] * math.sin(5 * z + 1), 0.20 - s["kyphosis"] * (4 * z * z)


def _ribs(s: Shape, clay: Clay) -> None:
    for pair in range(_PAIRS):
        head = _TOP + (_BOTTOM - _TOP) * pair / (_PAIRS - 1) + s[f"space{pair}"]
        x0, y0 = _spine(s, head)
        wide = s["wide"] * _HALF_WIDTH[pair] * (1 + s["narrow"] * head) + s[f"out{pair}"]
        deep = s["deep"] * _HALF_DEPTH[pair]
        for side in (1.0, -1.0):
            sink = s["sink"] * _SINK[pair] + s[f"dip{pair}"] + side * s[f"skew{pair}"]
            around = np.linspace(0.10, _END[pair] + s[f"stop{pair}"], 15)
            # The back of a rib bulges behind the spine; from there it sinks towards the front.
            way: list[Place] = [
                (
                    x0 + side * wide * math.sin(a) ** 0.85,
                    y0 + 0.02 + deep * (math.cos(a) - 1) + 0.05 * math.sin(min(2 * a, math.pi)),
                    head - sink * (1 - math.cos(0.95 * a)) / 2 + s[f"bow{pair}"] * math.sin(2 * a),
                )
                for a in around.tolist()
            ]
            # Flat on the outside: taller than thick.
            for a, b in pairwise(way):
                for up in (0.55, -0.55):
                    low, high = ((*place[:2], place[2] + up * s["rib"]) for place in (a, b))
                    clay.add(Rod(low, high, 0.75 * s["rib"], 0.75 * s["rib"]), blend=0.004)


def _column(s: Shape, clay: Clay) -> None:
    step = (_TOP - _BOTTOM) / (_PAIRS - 1)
    for number in range(-2, _PAIRS + 2):
        z = _TOP - number * step
        x, y = _spine(s, z)
        size = s["body"] * (0.8 + 0.03 * max(number, 0))
        clay.add(Ellipsoid((x, y - size, z), (1.15 * size, size, 0.46 * step)), blend=0.012)
        back = y + 0.06
        for side in (1.0, -1.0):
            clay.add(Rod((x + side * 0.5 * size, y, z), (x + side * s["transverse"], back, z + 0.01), 0.016, 0.012))
        clay.add(Rod((x, back - 0.02, z), (x, back + 0.6 * s["spinous"], z - 0.7 * s["spinous"]), 0.016, 0.009))


def _front(s: Shape, clay: Clay) -> None:
    y = 0.20 - 2 * s["deep"] * 0.215
    top = _TOP - 0.55 * s["sink"] * _SINK[0]
    m = s["manubrium"]
    way: list[Place] = [(0.0, y, top), (0.0, y - 0.03, top - 0.12), (0.0, y - 0.055, top - s["sternum"])]
    clay.add(Strand(way, [1.1 * m, 0.75 * m, 0.6 * m], ((0.0, 1.0, 0.0), 0.35)), blend=0.02)
    for side, name in ((1.0, "L"), (-1.0, "R")):

        def at(part: str, x: float, y: float, z: float, name: str = name, side: float = side) -> Place:
            dx, dy, dz = (s[f"{part}_{axis}_{name}"] for axis in "xyz")
            return side * (s["wide"] * x + dx), y + dy, z + dz

        tip = at("shoulder", 0.445, 0.06, 0.40)
        inner = (side * 0.055, y - 0.01, top)
        bow = s[f"clavicle_bow_{name}"]
        middle = [tuple(a + t * (b - a) for a, b in zip(inner, tip)) for t in (0.33, 0.72)]
        bent = [
            (middle[0][0], middle[0][1] - bow, middle[0][2]),
            (middle[1][0], middle[1][1] + bow, middle[1][2] + 0.01),
        ]
        r = s[f"clavicle_r_{name}"]
        clay.add(Strand([inner, *bent, tip], [1.3 * r, r, 0.95 * r, 1.1 * r]))  # type: ignore[list-item]
        socket, upper = at("shoulder", 0.43, 0.11, 0.33), at("blade", 0.25, 0.245, 0.38)
        lower = at("blade", 0.33, 0.26, 0.36 - s[f"blade_long_{name}"])
        for a, b, r in ((upper, lower, 0.010), (lower, socket, 0.014), (socket, upper, 0.009)):
            clay.add(Rod(a, b, r, r))
        ridge = tuple(0.65 * a + 0.35 * b for a, b in zip(upper, lower))
        clay.add(Rod(ridge, (tip[0], tip[1] + 0.03, tip[2]), 0.010, 0.015))  # type: ignore[arg-type]
        clay.add(Ellipsoid((socket[0] + side * 0.06, socket[1] - 0.01, socket[2]), (0.066, 0.066, 0.07)))


def _model(s: Shape, clay: Clay) -> None:
    _ribs(s, clay)
    _column(s, clay)
    _front(s, clay)


def _inside(s: Shape) -> Inside:
    return [(z, s["cortex"], min(s["spongy"], 1.0)) for z in (-0.5, 0.0, 0.5)]


KIND = Kind(
    NAME,
    {"human": _numbers()},
    _model,
    _inside,
    ((-0.64, 0.64), (-0.42, 0.42), (-0.56, 0.56)),
    lambda s: [(0.0, 0.15, z) for z in (-0.2, 0.0, 0.2)],
    tubular=False,
    paired=False,
    warp=((4, 0.010), (8, 0.004)),
)


def visits(seed: int, index: int) -> list[Body]:
    """A person on every visit."""
    KINDS[NAME] = KIND
    numbers = KIND.numbers["human"]
    entropy = (seed, TRAINING, index, *NAME.encode())
    rng = np.random.default_rng(np.random.SeedSequence(entropy))
    person = Shape.sample(rng, numbers)
    share = np.array([_BETWEEN_VISITS.get(name.split("_")[0], 0.0) for name in numbers])
    spread = share * np.array([deviation for _, deviation in numbers.values()])
    drawn = [np.array(person.values) + spread * rng.standard_normal(len(spread)).clip(-2, 2) for _ in range(VISITS)]
    shapes = [Shape(person.names, tuple(each.tolist())) for each in drawn]
    return [Body(f"THORAX-{seed}-{index:04d}", "human", None, shape, entropy, NAME) for shape in shapes]


def person(seed: int, folder: Path, index: int) -> Path:
    """Scan a person on every visit and keep the miniatures."""
    path = folder / f"{index:05d}.npz"
    if not path.exists():
        made = [miniature.miniatures(body)[0][0] for body in visits(seed, index)]
        written = path.with_suffix(".tmp.npz")
        arrays = {f"levels_{at}": each.levels for at, each in enumerate(made)}
        np.savez_compressed(written, **arrays, **{f"affine_{at}": each.affine for at, each in enumerate(made)})
        written.replace(path)
    return path


def training_set(seed: int, people: int, folder: Path) -> miniature.TrainingSet:
    """People of a seed, made or read again: all on the canvas that chests are searched on."""
    folder.mkdir(parents=True, exist_ok=True)
    small = [each for index in range(people) for each in _read(person(seed, folder, index))]
    return miniature.TrainingSet(
        Chested(small, weights.device()),
        np.arange(len(small)).reshape(people, VISITS),
        np.full(people, CANVAS_MM),
        np.zeros(people, dtype=bool),
        np.full(people, -1),
        np.full(people, NAME),
        f"{people} rib cages of seed {seed}",
    )


def _read(path: Path) -> Iterator[Miniature]:
    with np.load(path, allow_pickle=False) as stored:
        for at in range(VISITS):
            yield Miniature(stored[f"levels_{at}"], stored[f"affine_{at}"])


class Chested(Ensemble):
    """Rib cages, seen from the front or the back only, with a heart and a diaphragm drawn over each view."""

    def project(self, members: NDArray[np.int64], looks: Looks, rows: int, columns: int) -> torch.Tensor:
        """As an `Ensemble`; whoever is looked at from the side turns by a quarter."""
        beam = looks.axes[:, 2]
        aside = np.abs(beam[:, 0]).mean() > np.abs(beam[:, 1]).mean()
        if aside:
            turn = np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
            looks = replace(looks, axes=looks.axes @ turn, centre_mm=looks.centre_mm @ turn)
        looks = replace(looks, pixel_mm=_CLOSER * looks.pixel_mm, centre_mm=_CLOSER * looks.centre_mm)
        views = super().project(members, looks, rows, columns)
        rng = np.random.default_rng([int(each) for each in members[:4]] + [int(abs(looks.axes[0, 0, 0]) * 1e9)])
        views[:, 0] += torch.from_numpy(_organs(rng, looks.pixel_mm, rows, columns)).to(views)
        return views


def _organs(rng: np.random.Generator, pixel_mm: NDArray[np.float64], rows: int, columns: int) -> NDArray[np.float32]:
    """Heart, great vessels, and what lies below the diaphragm: (N, rows, columns), as a projection has them."""
    n = len(pixel_mm)

    def drawn(low: float, high: float) -> NDArray[np.float64]:
        return rng.uniform(low, high, (n, 1, 1))

    y = (np.arange(rows) - (rows - 1) / 2)[None, :, None] * pixel_mm[:, None, None]
    x = (np.arange(columns) - (columns - 1) / 2)[None, None, :] * pixel_mm[:, None, None]
    left = rng.choice([-1.0, 1.0])  # the picture's left or right: from the front or the back
    lean = drawn(0.3, 0.9)
    across, along = x - left * drawn(5, 30), y - drawn(10, 60)
    u, v = across * np.cos(lean) + left * along * np.sin(lean), along * np.cos(lean) - left * across * np.sin(lean)
    heart = drawn(70, 120) * np.clip(1 - (u / drawn(50, 80)) ** 2 - (v / drawn(40, 60)) ** 2, 0, None) ** 0.7
    vessels = drawn(20, 60) * np.exp(-((x / drawn(18, 30)) ** 4)) / (1 + np.exp((y - 50) / 10))
    total = heart + vessels
    for side in (1.0, -1.0):
        dome = drawn(40, 110) + ((x - side * drawn(55, 85)) / drawn(60, 90)) ** 2 * drawn(10, 35)
        total = total + drawn(60, 130) / (1 + np.exp(-side * x / 6)) * (1 - np.exp(-np.clip(y - dome, 0, None) / 15))
    return np.asarray(_HEART_PER_MM * drawn(0.3, 1.0) * total, dtype=np.float32)
