"""The road of a CT: folder -> specimens -> views -> fingerprints, ready to be enrolled."""

import hashlib
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boneprint import bone, drr
from boneprint.errors import BoneprintError, ReadError
from boneprint.nouns import Enrolment, Reference, Scan, Volume
from boneprint.read import CtSource, LabelMap, read_labels

if TYPE_CHECKING:
    from boneprint.embed import Embedder

LATERALITIES = ("L", "R")


@dataclass(frozen=True)
class Options:
    """What the user says of the CTs; None leaves it to the files.

    ``labels`` and ``split`` make several bones of a series; without either a series is one specimen.
    """

    bone: str | None = None
    subject_id: str | None = None
    laterality: str | None = None
    labels: Path | None = None
    split: bool = False

    def __post_init__(self) -> None:
        if self.labels and self.split:
            raise BoneprintError("--labels and --split both make several bones of a series; give one of them.")
        if self.laterality not in (None, *LATERALITIES):
            raise BoneprintError(f"side '{self.laterality}', expected L or R.")

    @property
    def prefix(self) -> str:
        """How the parts of a source are named in the store: what was made of it can be told from another way."""
        return "label:" if self.labels else "part:" if self.split else "whole"


@dataclass(frozen=True, eq=False)
class Specimen:
    """One bone, or one body region taken as one, isolated from its scan."""

    volume: Volume
    part: str
    bone: str
    laterality: str | None
    notes: tuple[str, ...] = ()


def enrolled_already(source: CtSource, options: Options, enrolled: Set[tuple[str, str]]) -> bool:
    """Whether a store holds this content, taken apart in this way."""
    return any(known == source.source_hash and part.startswith(options.prefix) for known, part in enrolled)


def specimens(scan: Scan, options: Options) -> list[Specimen]:
    """Isolate what is bony, as one specimen or as several bones.

    Raises
    ------
    ReadError
        If nothing bony is found.
    """
    kind = (options.bone or scan.body_part or "unknown").lower()
    side = options.laterality or scan.laterality
    if options.labels:
        labels: LabelMap = read_labels(options.labels)
        parts = bone.by_labels(scan.volume, labels.labels_on(scan.volume), labels.names)
        found = [
            Specimen(p.volume, f"label:{p.name}", p.bone or kind, options.laterality or p.laterality, p.notes)
            for p in parts
        ]
    elif options.split:
        parts = bone.split(scan.volume)
        found = [Specimen(p.volume, f"part:{p.name}", kind, side, p.notes) for p in parts]
    else:
        found = [Specimen(bone.isolate(scan.volume), "whole", kind, side)]
    if not found:
        raise ReadError(f"{scan.source}: no bone was found in it. Check the label map, or ingest without --labels.")
    return found


def specimen_again(scan: Scan, part: str) -> Specimen:
    """The specimen that was enrolled as ``part``, isolated once more.

    Raises
    ------
    BoneprintError
        If it was cut out by a label map (which is not kept), or is no longer found.
    """
    if part.startswith("label:"):
        raise BoneprintError(f"{scan.source}: '{part}' was cut out by a label map, which the database does not keep.")
    for specimen in specimens(scan, Options(split=part.startswith("part:"))):
        if specimen.part == part:
            return specimen
    raise BoneprintError(f"{scan.source}: no '{part}' in it any more; it was enrolled by another version.")


def enrol(specimen: Specimen, scan: Scan, place: Path, options: Options, embedder: "Embedder") -> Enrolment:
    """Bring a specimen upright, project it from every side, and embed the views.

    Parameters
    ----------
    place : folder or file where the CT lies; kept, so that its views can be made again for an examiner
    """
    pose = bone.find_pose(specimen.volume)
    upright = bone.upright(specimen.volume, pose)
    canvas = drr.canvas_of(upright, long=pose.long)
    views = drr.enrolment_views(upright, scan.source)
    reference = Reference(
        bone_id=hashlib.sha256(f"{scan.source_hash}/{specimen.part}".encode()).hexdigest()[:12],
        subject_id=options.subject_id or scan.subject_id,
        bone=specimen.bone,
        laterality=specimen.laterality,
        source=str(place.resolve()),
        source_hash=scan.source_hash,
        part=specimen.part,
        canvas_mm=canvas.height_mm,
    )
    return Enrolment(reference, embedder.embed(views, canvas), np.array(drr.ENROLMENT_ANGLES, dtype=np.float32))
