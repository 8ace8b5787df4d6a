"""Laying one surface onto another: rigidly, without scale, from wherever it starts.

Many starts from the principal axes (for a fragment: from rotations and places all over the whole bone) are followed a
few steps each with few points; the best are followed further with more, and the last one until it stands still.
Nearest points are paired both ways and moved onto each other's tangent planes.

References
----------
P. J. Besl, N. D. McKay, IEEE Trans. Pattern Anal. 14(2), 239-256, 1992; Y. Chen, G. Medioni, Image Vis. Comput. 10(3),
145-155, 1992 (point to plane).
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product

import numpy as np
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from boneprint.shape.surface import FloatArray, Surface

# Points drawn on a surface: one in 2 mm^2 of a human femur. Their planes, not they, are met.
_CLOUD = 30_000
# Stages: points that are moved, points that they are paired with, most steps, how many starts go on to the next.
_STAGES = ((120, 1000, 4, 32), (300, 3000, 12, 4), (1500, 10_000, 30, 1), (5000, _CLOUD, 60, 1))
_STILL_MM = 1e-5
# A whole bone with one axis this much longer than the others can only lie along it, one way or the other.
_LONG = 2.0
_TURNS = 8
_FRAGMENT_TURNS, _FRAGMENT_PLACES = 96, 7
_FRAGMENT_KEPT = 0.9  # share of a fragment's points that count: its rim is broken


@dataclass(frozen=True, eq=False)
class _Cloud:
    points: FloatArray
    normals: FloatArray

    @classmethod
    def of(cls, surface: Surface, seed: int) -> "_Cloud":
        points, faces = surface.sampled(_CLOUD, seed)
        order = np.random.default_rng(seed).permutation(_CLOUD)  # so that any first n are even, too
        return cls(points[order], surface.face_normals[faces[order]])

    @cached_property
    def _trees(self) -> dict[int, cKDTree]:
        return {}

    def tree(self, size: int) -> cKDTree:
        """Of the first points."""
        if size not in self._trees:
            self._trees[size] = cKDTree(self.points[:size])
        return self._trees[size]


def rigid_motion(
    moving: Surface, fixed: Surface, *, fragment: bool = False, rough: bool = False, seed: int = 0
) -> FloatArray:
    """The (4, 4) rigid motion that lays ``moving`` onto ``fixed``.

    Parameters
    ----------
    fragment : whether ``moving`` is only a part of what ``fixed`` shows; then it is laid onto it one-sidedly
    rough : leave the last stage out, where something else follows
    seed : of the points drawn on the surfaces
    """
    a, b = _clouds(moving, fixed, seed)
    found = [(0.0, start) for start in (_fragment_starts if fragment else _starts)(moving, fixed, seed)]
    for number, (_, _, _, kept) in enumerate(_STAGES[: -1 if rough else None]):
        found = [_followed(a, b, start, number, fragment) for _, start in found]
        found = sorted(found, key=lambda each: each[0])[: kept * (2 if fragment and kept > 1 else 1)]
    return found[0][1]


def refined_motion(
    moving: Surface, fixed: Surface, start: FloatArray, *, rough: bool = False, seed: int = 0
) -> FloatArray:
    """The same from one start that is nearly right."""
    return _followed(*_clouds(moving, fixed, seed), start, len(_STAGES) - (2 if rough else 1), fragment=False)[1]


def _clouds(moving: Surface, fixed: Surface, seed: int) -> tuple[_Cloud, _Cloud]:
    """Drawn apart: a body laid onto itself shall not find its own points again."""
    return _Cloud.of(moving, seed), _Cloud.of(fixed, seed + 1)


def _starts(moving: Surface, fixed: Surface, seed: int) -> list[FloatArray]:
    """Principal axes onto principal axes, in all ways that may be meant."""
    turns = [
        Rotation.from_euler("x", turn, degrees=True).as_matrix() @ flip
        for turn in np.arange(_TURNS) * 360 / _TURNS
        for flip in (np.eye(3), np.diag([-1.0, 1.0, -1.0]))
    ]
    if _elongation(moving) < _LONG:
        for order, signs in product(permutations(range(3)), product((1.0, -1.0), repeat=3)):
            turn = np.eye(3)[list(order)] * np.array(signs)[:, None]
            if np.linalg.det(turn) > 0:
                turns.append(turn)
    return [_motion(fixed.axes.T @ turn @ moving.axes, moving.centre_mm, fixed.centre_mm) for turn in turns]


def _fragment_starts(moving: Surface, fixed: Surface, seed: int) -> list[FloatArray]:
    along = (fixed.vertices - fixed.centre_mm) @ fixed.axes[0]
    places = np.linspace(along.min(), along.max(), _FRAGMENT_PLACES + 2)[1:-1]
    turns = Rotation.random(_FRAGMENT_TURNS, rng=np.random.default_rng(seed)).as_matrix()
    return [
        _motion(turn, moving.centre_mm, fixed.centre_mm + place * fixed.axes[0]) for turn in turns for place in places
    ]


def _elongation(surface: Surface) -> float:
    extents = np.ptp(surface.vertices @ surface.axes.T, axis=0)
    return float(extents[0] / max(extents[1], 1e-9))


def _motion(turn: FloatArray, centre: FloatArray, onto: FloatArray) -> FloatArray:
    motion = np.eye(4)
    motion[:3, :3] = turn
    motion[:3, 3] = onto - turn @ centre
    return motion


def _followed(a: _Cloud, b: _Cloud, motion: FloatArray, stage: int, fragment: bool) -> tuple[float, FloatArray]:
    """Root mean square distance in mm where it stands still, and the motion that led there."""
    points, size, steps, _ = _STAGES[stage]
    last = stage == len(_STAGES) - 1
    error = np.inf
    best = motion
    for _ in range(steps):
        turn, shift = motion[:3, :3], motion[:3, 3]
        moved = a.points[:points] @ turn.T + shift
        away, at = b.tree(size).query(moved)
        source, target, normals = moved, b.points[at], b.normals[at]
        if not fragment:
            there = b.points[:points]
            back, at = a.tree(size).query((there - shift) @ turn)
            source = np.concatenate([source, a.points[at] @ turn.T + shift])
            target = np.concatenate([target, there])
            normals = np.concatenate([normals, a.normals[at] @ turn.T])
            away = np.concatenate([away, back])
        else:
            near = away <= np.quantile(away, _FRAGMENT_KEPT)
            source, target, normals, away = source[near], target[near], normals[near], away[near]
        gap = np.einsum("nd,nd->n", normals, target - source)
        # Far off, the distance to the point tells more than the distance to its plane.
        now = float(np.sqrt(((gap if last else away) ** 2).mean()))
        if now < error:
            best = motion
        if abs(error - now) < _STILL_MM * max(1.0, now):
            break
        error = min(error, now)
        middle = source.mean(axis=0)
        rows = np.hstack([np.cross(source - middle, normals), normals])
        # The ridge keeps a body of revolution from spinning; it is far below what any other direction weighs.
        step = np.linalg.solve(rows.T @ rows + 1e-9 * np.trace(rows.T @ rows) * np.eye(6), rows.T @ gap)
        small = np.eye(4)
        small[:3, :3] = Rotation.from_rotvec(step[:3]).as_matrix()
        small[:3, 3] = middle + step[3:] - small[:3, :3] @ middle
        motion = small @ motion
    return error, best
