"""From a scan to upright specimens: isolation and canonical pose."""

from boneprint.bone.isolate import Part, by_labels, isolate, split
from boneprint.bone.pose import Pose, extremes_mm, find_pose, stand_up, upright

__all__ = ["Part", "Pose", "by_labels", "extremes_mm", "find_pose", "isolate", "split", "stand_up", "upright"]
