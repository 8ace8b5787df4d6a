"""The road of a CT: folder -> specimens -> views -> fingerprints, ready to be enrolled."""

import hashlib
from collections.abc import Iterable, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boneprint import bone, drr
from boneprint.errors import BoneprintError, ReadError
from boneprint.nouns import Enrolment, Reference, Scan, Volume
from boneprint.read import CtSource, Discovery, LabelMap, find_series, read_labels

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
        if self.labels and not self.labels.is_file():
            raise ReadError(f"{self.labels}: no such label map. Check the spelling after --labels.")
        if self.laterality not in (None, *LATERALITIES):
            raise BoneprintError(f"side '{self.laterality}', expected L or R.")

    @cached_property
    def prefix(self) -> str:
        """How the parts of a source are named in the store: what was made of it can be told from another way."""
        if self.labels:
            return f"label:{hashlib.sha256(self.labels.read_bytes()).hexdigest()[:8]}:"
        return "part:" if self.split else "whole"

    @cached_property
    def label_map(self) -> LabelMap:
        """The label map, read once.

        Raises
        ------
        ReadError
            If it cannot be read.
        """
        assert self.labels is not None
        return read_labels(self.labels)


@dataclass(frozen=True, eq=False)
class Specimen:
    """One bone, or one body region taken as one, isolated from its scan."""

    volume: Volume
    part: str
    bone: str
    laterality: str | None
    notes: tuple[str, ...] = ()


def discover(paths: str | Path | Iterable[str | Path]) -> Discovery:
    """Every CT below some folders.

    Raises
    ------
    ReadError
        If there is none, nor anything that should have been one.
    """
    found = find_series(paths)
    if not found.sources and not found.failed:
        stray, reason = found.skipped[0]
        raise ReadError(
            f"{stray}: {reason}; there is no CT among {len(found.skipped)} files. Give the folder of a CT series."
        )
    return found


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
        labels = options.label_map
        parts = bone.by_labels(scan.volume, labels.labels_on(scan.volume), labels.names)
        return [
            Specimen(p.volume, options.prefix + p.name, p.bone or kind, options.laterality or p.laterality, p.notes)
            for p in parts
        ]
    if options.split:
        return [Specimen(p.volume, options.prefix + p.name, kind, side, p.notes) for p in bone.split(scan.volume)]
    return [Specimen(bone.isolate(scan.volume), options.prefix, kind, side)]


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
    upright, pose = bone.stand_up(specimen.volume)
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
