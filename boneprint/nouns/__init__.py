"""Frozen nouns: what the rooms hand each other. numpy only."""

from boneprint.nouns.canvas import Canvas, canvas_for, canvas_of_height
from boneprint.nouns.fingerprint import Fingerprint
from boneprint.nouns.radiograph import Radiograph
from boneprint.nouns.reference import (
    Candidate,
    Enrolment,
    Reference,
    SearchResult,
    Threshold,
    Verification,
)
from boneprint.nouns.volume import AIR_HU, Scan, Volume

__all__ = [
    "AIR_HU",
    "Candidate",
    "Canvas",
    "Enrolment",
    "Fingerprint",
    "Radiograph",
    "Reference",
    "Scan",
    "SearchResult",
    "Threshold",
    "Verification",
    "Volume",
    "canvas_for",
    "canvas_of_height",
]
