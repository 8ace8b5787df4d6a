"""Which side a bone is of: what is said of it, and a check on that by the bone's own shape, never a replacement.

A scan that was mirrored on its way, a swapped tag and a swapped label are seen in this way. Long bones are told by
their shape in whatever way they lie (`boneprint.bone.handedness`). A hip bone is told in patient axes, by its pubis,
which lies towards the middle of the body. Where a side cannot be checked, that is said.
"""

from collections.abc import Mapping

import numpy as np

from boneprint.bone import handedness
from boneprint.bone.isolate import BONY_HU
from boneprint.bone.label_names import has_side
from boneprint.bone.pose import find_pose
from boneprint.errors import BoneprintError
from boneprint.nouns import Volume

LATERALITIES = ("L", "R")
IN_DOUBT = "LATERALITY IN DOUBT"
NOT_CHECKED = "SIDE NOT CHECKED"

_FEWEST = 500  # bony voxels: fewer show no shape
# The pubis: in the lower half, of what is foremost there. Shares of the length; the distance of its middle from that of
# the whole bone was at least 0.138 in 40 simulated hip bones and 0.105 in 6 real ones.
_PUBIS_BELOW, _PUBIS_FRONT, _LEAST = 0.5, 0.2, 0.01


def check_stated_side(laterality: str | None, kind: str | None) -> None:
    """Refuse a side that is none, or that a bone of this kind cannot have.

    Raises
    ------
    BoneprintError
        With the way out.
    """
    if laterality not in (None, *LATERALITIES):
        raise BoneprintError(f"side '{laterality}', expected L or R.")
    if laterality and kind and not has_side(kind):
        raise BoneprintError(
            f"side {laterality} was given for a {kind}, which is neither left nor right; leave it out."
        )


def stated_side(said: Mapping[str, str | None], kind: str) -> tuple[str | None, tuple[str, ...]]:
    """The side that is said of a bone, and doubts where those who say it disagree.

    Parameters
    ----------
    said : who says it ("--side", "the label", "the file") to "L", "R" or None; the first who says anything is believed
    kind : of bone; one that is neither left nor right gets no side

    Returns
    -------
    "L", "R" or None; and notes
    """
    named = {who: side for who, side in said.items() if side}
    if not named:
        return None, ()
    who, side = next(iter(named.items()))
    if not has_side(kind):
        return None, (f"{IN_DOUBT}: {who} says {side}, but a {kind} is neither left nor right",)
    others = [f"{other} says {its}" for other, its in named.items() if its != side]
    return side, (f"{IN_DOUBT}: {who} says {side}, {', '.join(others)}",) if others else ()


def check_of_side(bone: Volume, kind: str, side: str, *, complete: bool) -> str | None:
    """Compare a bone's side with its shape: None where they agree, else a note that says what is wrong or unknown.

    Parameters
    ----------
    bone : isolated, in patient axes
    complete : whether the scan holds all of it
    """
    if not tells_side(kind):
        return f"{NOT_CHECKED}: {side} as said; no check by shape is known for '{kind}'"
    if not complete:
        return f"{NOT_CHECKED}: {side} as said; the scan holds only a part of the {kind}"
    seen = seen_side(bone, kind)
    if seen is None:
        return f"{NOT_CHECKED}: {side} as said; the shape of this {kind} does not tell clearly"
    return None if seen == side else f"{IN_DOUBT}: {side} as said, but this {kind} has the shape of the other side's"


def tells_side(kind: str) -> bool:
    """Whether the shape of such a bone can tell its side."""
    return kind in handedness.TOLD or kind == "hip"


def seen_side(bone: Volume, kind: str) -> str | None:
    """Return "L" or "R" by the shape of a whole bone; None for kinds that are not known, or where unsure.

    Parameters
    ----------
    bone : isolated, in patient axes, whole
    kind : "femur", "tibia", "humerus", "radius" or "hip"
    """
    if not tells_side(kind) or np.count_nonzero(bone.hu >= BONY_HU) < _FEWEST:
        return None
    if kind == "hip":
        return _side_of_hip(bone)
    return handedness.hand(bone, kind) if find_pose(bone).long else None


def _side_of_hip(bone: Volume) -> str | None:
    points = bone.to_patient(np.argwhere(bone.hu >= BONY_HU)[:, ::-1].astype(float))
    length = float(np.ptp(points[:, 2]))
    lower = points[points[:, 2] < points[:, 2].max() - _PUBIS_BELOW * length]
    pubis = lower[lower[:, 1] <= lower[:, 1].min() + _PUBIS_FRONT * length]  # y rises to the back
    x_mm = float(pubis[:, 0].mean() - points[:, 0].mean())
    if abs(x_mm) < _LEAST * length:
        return None
    return "L" if x_mm < 0 else "R"  # x rises to the patient's left
