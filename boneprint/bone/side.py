"""Which side a bone is of, seen from its shape: a check on what tags and label names say, never a replacement.

The head of a femur or humerus faces the middle of the body. In patient axes the head of a left bone therefore lies to
the right of its shaft. A scan that was mirrored on its way, a swapped tag and a swapped label are seen in this way.
"""

import numpy as np
from numpy.typing import NDArray

from boneprint.bone.isolate import BONY_HU
from boneprint.bone.pose import find_pose
from boneprint.nouns import Volume

HEADED = ("femur", "humerus")
_LEAST = 0.01  # of the length: a head that stands off its shaft by less faces nowhere
_END = 0.05  # of the length: the head lies within it, above the shaft's own end
_SHAFT = (0.3, 0.6)  # of the length, from the upper end


def seen_side(bone: Volume, kind: str) -> str | None:
    """Return "L" or "R" by where the upper end of a whole long bone stands; None for other kinds, or where unsure.

    Parameters
    ----------
    bone : isolated, in patient axes, whole
    kind : e.g. "femur"
    """
    if kind not in HEADED:
        return None
    pose = find_pose(bone)
    if not pose.long:
        return None
    points = bone.to_patient(np.argwhere(bone.hu >= BONY_HU)[:, ::-1].astype(float)) @ pose.axes.T
    z = points[:, 2]
    length = float(np.ptp(z))
    below = (z.max() - z) / length
    head, shaft = points[below < _END], points[(below > _SHAFT[0]) & (below < _SHAFT[1])]
    if not len(head) or not len(shaft):
        return None
    x_mm = _middle(head) - _line(shaft, head)
    if abs(x_mm) < _LEAST * length:
        return None
    return "L" if x_mm < 0 else "R"  # x rises to the patient's left


def _middle(points: NDArray[np.float64]) -> float:
    return float(points[:, 0].min() + points[:, 0].max()) / 2


def _line(shaft: NDArray[np.float64], head: NDArray[np.float64]) -> float:
    """Where the shaft's own axis would stand at the height of the head."""
    slope, offset = np.polyfit(shaft[:, 2], shaft[:, 0], 1)
    return float(slope * head[:, 2].mean() + offset)
