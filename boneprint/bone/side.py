"""Which side a bone is of, seen from its shape: a check on what tags and label names say, never a replacement.

Of four bones a part faces the middle of the body: the head of a femur and of a humerus, the inner ankle of a tibia, the
pubis of a hip bone. In patient axes it lies to the right of the rest of a left bone. A scan that was mirrored on its
way, a swapped tag and a swapped label are seen in this way.

A radius has no such part: its forearm turns by half a circle, and with it what faces the body.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boneprint.bone.isolate import BONY_HU
from boneprint.bone.pose import find_pose
from boneprint.nouns import Volume


@dataclass(frozen=True)
class _Inward:
    """What faces the middle of the body: the part, and the rest it is compared with.

    ``part`` and ``rest`` are ranges of depth below the upper end, and ``front`` of distance from the foremost point of
    the part, all as shares of the length; as is ``least``, the smallest distance between their middles that tells.
    """

    part: tuple[float, float]
    rest: tuple[float, float]
    front: float = 1.0
    least: float = 0.01


# Measured distances: least and median of 40 simulated bones; least of the real ones (5 femora, 5 tibiae, 6 hip bones).
_INWARD = {
    "femur": _Inward(part=(0.0, 0.03), rest=(0.15, 0.25)),  # 0.061, 0.086; 0.051
    "humerus": _Inward(part=(0.0, 0.03), rest=(0.15, 0.25)),  # -0.004, 0.028: some have none to tell
    "tibia": _Inward(part=(0.985, 1.0), rest=(0.92, 0.95)),  # 0.028, 0.041; 0.036
    "hip": _Inward(part=(0.5, 1.0), rest=(0.0, 1.0), front=0.2),  # 0.138, 0.191; 0.105
}
_FLAT = ("hip",)  # stands in the patient's own axes, whatever its longest extent


def seen_side(bone: Volume, kind: str) -> str | None:
    """Return "L" or "R" by where a part of a whole bone stands; None for other kinds, or where unsure.

    Parameters
    ----------
    bone : isolated, in patient axes, whole
    kind : "femur", "humerus", "tibia" or "hip"
    """
    inward = _INWARD.get(kind)
    if inward is None:
        return None
    pose = find_pose(bone, long=False if kind in _FLAT else None)
    if not (pose.long or kind in _FLAT):
        return None
    points = bone.to_patient(np.argwhere(bone.hu >= BONY_HU)[:, ::-1].astype(float)) @ pose.axes.T
    length = float(np.ptp(points[:, 2]))
    below = (points[:, 2].max() - points[:, 2]) / length

    def within(depths: tuple[float, float]) -> NDArray[np.float64]:
        return np.asarray(points[(below >= depths[0]) & (below <= depths[1])])

    part, rest = within(inward.part), within(inward.rest)
    part = part[part[:, 1] <= part[:, 1].min() + inward.front * length]  # y rises to the back
    x_mm = float(part[:, 0].mean() - rest[:, 0].mean()) if len(rest) else 0.0
    if abs(x_mm) < inward.least * length:
        return None
    return "L" if x_mm < 0 else "R"  # x rises to the patient's left
