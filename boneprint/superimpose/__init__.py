"""Superimpose an enrolled bone on a radiograph: find the pose in which its edges lie on those of the picture.

It is what an examiner does on a light box, by search. Unlike a fingerprint it has learnt nothing: it serves bones of
every kind, and its picture can be looked at.
"""

from boneprint.superimpose.overlay import draw
from boneprint.superimpose.placing import Placing
from boneprint.superimpose.refine import Overlay, likely_directions, superimpose
from boneprint.superimpose.sight import Sight
from boneprint.superimpose.solid import Solid

__all__ = ["Overlay", "Placing", "Sight", "Solid", "draw", "likely_directions", "superimpose"]
