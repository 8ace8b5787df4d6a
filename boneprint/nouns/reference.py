"""What is enrolled, what a search returns, and how a verification is said."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Reference:
    """An enrolled bone.

    ``part`` names the bone within its source ("whole", "part:part-2", "label:MAP:femur_left"); (source_hash, part) is
    what makes ingestion resumable. ``canvas_mm`` is the height of the field of view its views were embedded on.
    ``laterality`` and ``species`` are None where unknown. ``quality`` is the record of what the scan held of the bone,
    as JSON text, and ``notes`` what there was to say of it; None where there is nothing.
    """

    bone_id: str
    subject_id: str
    bone: str
    laterality: str | None
    source: str
    source_hash: str
    part: str
    canvas_mm: float
    species: str | None = None
    quality: str | None = None
    notes: str | None = None


@dataclass(frozen=True, eq=False)
class Enrolment:
    """A reference with the fingerprints of its views, ready to be stored.

    Parameters
    ----------
    reference : who it is
    vectors : (V, D) float32, unit rows
    angles_deg : (V,) float32, rotation of each view about the long axis (0 = AP, 90 = ML); NaN where unknown
    pictures : the V views as PNG files, to be looked at later; or none
    """

    reference: Reference
    vectors: FloatArray
    angles_deg: FloatArray
    pictures: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Threshold:
    """A distance below which two things are called alike, with where the number comes from."""

    value: float
    kind: str
    false_match_rate: float
    false_match_interval: tuple[float, float]
    false_non_match_rate: float
    false_non_match_interval: tuple[float, float]
    data: str
    bones: int
    embedder: str
    date: str


@dataclass(frozen=True)
class Candidate:
    """One bone of a search result.

    ``angle_deg`` is the enrolled view nearest to the first probe, ``picture`` that view as a PNG file where the
    database keeps pictures. ``log10_lr`` is None where the embedder was not calibrated for such a comparison: another
    size of bone, more than two probes.
    """

    rank: int
    reference: Reference
    distance: float
    angle_deg: float
    within_margin: bool
    log10_lr: float | None
    picture: bytes | None = field(default=None, repr=False)

    @property
    def view(self) -> str:
        """The nearest enrolled view in words."""
        return "view" if math.isnan(self.angle_deg) else f"view at {self.angle_deg:.0f} deg"


@dataclass(frozen=True)
class SearchResult:
    """Candidates of one search, best first, and what was searched.

    Of the first ``certified`` candidates it is proved that no other bone is nearer; ``certified_exact`` says whether
    that is all of them. ``scores`` is the distance of every bone that was searched, by bone id, where asked for.
    """

    candidates: tuple[Candidate, ...]
    bones: int
    views: int
    generation: int
    threshold: Threshold
    certified: int
    seconds: float
    scores: Mapping[str, float] | None = field(default=None, repr=False)

    @property
    def certified_exact(self) -> bool:
        """Whether the candidates are proved to be the nearest bones, in this order."""
        return self.certified == len(self.candidates)


@dataclass(frozen=True)
class Verification:
    """Two radiographs compared: the margin verdict and the likelihood ratio within what calibration supports.

    ``log10_lr`` is None where pictures of that size were not calibrated.
    """

    distance: float
    threshold: Threshold
    within_margin: bool
    log10_lr: float | None
    log10_lr_bounds: tuple[float, float]
