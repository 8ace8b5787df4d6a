"""From a scan to upright specimens: isolation and canonical pose."""

from boneprint.bone.isolate import BONY_HU, Part, by_labels, isolate, split
from boneprint.bone.label_names import has_side
from boneprint.bone.pose import STANDARD_STEPS, Pose, extremes_mm, find_pose, stand_up, upright
from boneprint.bone.quality import Quality, quality_of
from boneprint.bone.side import IN_DOUBT, LATERALITIES, check_of_side, check_stated_side, seen_side, stated_side

__all__ = [
    "BONY_HU",
    "IN_DOUBT",
    "LATERALITIES",
    "STANDARD_STEPS",
    "Part",
    "Pose",
    "Quality",
    "by_labels",
    "check_of_side",
    "check_stated_side",
    "extremes_mm",
    "find_pose",
    "has_side",
    "isolate",
    "quality_of",
    "seen_side",
    "split",
    "stand_up",
    "stated_side",
    "upright",
]
