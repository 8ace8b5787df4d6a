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
    solid : the bone itself as an encoded grid, to be superimposed on probes later; or nothing
    tilts_deg : (V,) float32, how far the source of each view has moved towards the head; None: they are level
    """

    reference: Reference
    vectors: FloatArray
    angles_deg: FloatArray
    pictures: tuple[bytes, ...] = ()
    solid: bytes = b""
    tilts_deg: FloatArray | None = None


@dataclass(frozen=True)
class Threshold:
    """A distance below which two things are called alike, with where the number comes from.

    ``kind`` is the kind of comparison, ``bone`` the kind of bone that the rates were measured on.
    """

    value: float
    kind: str
    bone: str
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

    ``distance`` is the distance of the fingerprints times ``factor``, which is more than 1 for a bone that strangers'
    radiographs come nearer to than usual. ``angle_deg`` is the enrolled view nearest to the first probe, taken with the
    source ``tilt_deg`` towards the head, ``picture`` that view as a PNG file where the database keeps pictures.
    ``threshold`` is the margin of this candidate's kind of bone. Where the embedder was not calibrated for such a
    comparison (another kind or size of bone, more than two probes) ``uncalibrated`` says so in words, ``threshold`` is
    the strictest that there is, and ``log10_lr`` is None.
    """

    rank: int
    reference: Reference
    distance: float
    angle_deg: float
    threshold: Threshold
    within_margin: bool
    log10_lr: float | None
    uncalibrated: str | None
    factor: float = 1.0
    tilt_deg: float = 0.0
    picture: bytes | None = field(default=None, repr=False)

    @property
    def view(self) -> str:
        """The nearest enrolled view in words."""
        if math.isnan(self.angle_deg):
            return "view"
        return f"view at {self.angle_deg:.0f} deg" + (f", tilted {self.tilt_deg:+.0f}" if self.tilt_deg else "")


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
    certified: int
    seconds: float
    scores: Mapping[str, float] | None = field(default=None, repr=False)

    @property
    def threshold(self) -> Threshold:
        """The candidates' margin; the strictest, where they are of several kinds of bone."""
        return min((candidate.threshold for candidate in self.candidates), key=lambda threshold: threshold.value)

    @property
    def certified_exact(self) -> bool:
        """Whether the candidates are proved to be the nearest bones, in this order."""
        return self.certified == len(self.candidates)


@dataclass(frozen=True)
class Verification:
    """Two radiographs compared: the margin verdict and the likelihood ratio within what calibration supports.

    Where such pictures were not calibrated ``uncalibrated`` says so in words, ``threshold`` is the strictest that there
    is, and ``log10_lr`` is None.
    """

    distance: float
    threshold: Threshold
    within_margin: bool
    log10_lr: float | None
    log10_lr_bounds: tuple[float, float]
    uncalibrated: str | None
