"""Frozen nouns: what the rooms hand each other. numpy only."""

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
    "Enrolment",
    "Radiograph",
    "Reference",
    "Scan",
    "SearchResult",
    "Threshold",
    "Verification",
    "Volume",
]
