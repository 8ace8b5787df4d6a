"""From a scan to upright specimens: isolation and canonical pose."""

from boneprint.bone.isolate import BONY_HU, Part, by_labels, isolate, split
from boneprint.bone.pose import STANDARD_STEPS, Pose, extremes_mm, find_pose, stand_up, upright
from boneprint.bone.quality import Quality, quality_of
from boneprint.bone.side import seen_side

__all__ = [
    "BONY_HU",
    "STANDARD_STEPS",
    "Part",
    "Pose",
    "Quality",
    "by_labels",
    "extremes_mm",
    "find_pose",
    "isolate",
    "quality_of",
    "seen_side",
    "split",
    "stand_up",
    "upright",
]
