"""The road of a CT: folder -> specimens -> views -> fingerprints, ready to be enrolled."""

import hashlib
import json
from collections.abc import Iterable, Set
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from boneprint import bone, drr
from boneprint.bone import Quality
from boneprint.errors import BoneprintError, ReadError
from boneprint.nouns import Candidate, Enrolment, Radiograph, Reference, Scan, Volume
from boneprint.privacy import WITHHELD, pseudonym
from boneprint.read import CtSource, Discovery, LabelMap, find_series, from_png, png_bytes, read_labels
from boneprint.superimpose import Solid

if TYPE_CHECKING:
    from boneprint.embed import Embedder

LATERALITIES = bone.LATERALITIES


@dataclass(frozen=True)
class Options:
    """What the user says of the CTs; None leaves it to the files.

    ``labels`` and ``split`` make several bones of a series; without either a series is one specimen. With a
    ``site_key`` subjects are stored under pseudonyms, and no path is;
    nor is it without ``keep_source``, for a place that will not last. ``fill_gaps`` interpolates over missing slices.
    ``keep_views`` keeps the rendered views as pictures beside their fingerprints, ``keep_solids`` the bone itself as a
    coarse grid, to be superimposed on radiographs.
    """

    bone: str | None = None
    subject_id: str | None = None
    laterality: str | None = None
    labels: Path | None = None
    split: bool = False
    fill_gaps: bool = False
    site_key: bytes | None = field(default=None, repr=False)
    keep_source: bool = True
    keep_views: bool = False
    keep_solids: bool = True

    def __post_init__(self) -> None:
        if self.labels and self.split:
            raise BoneprintError("--labels and --split both make several bones of a series; give one of them.")
        if self.labels and not self.labels.is_file():
            raise ReadError(f"{self.labels}: no such label map. Check the spelling after --labels.")
        bone.check_stated_side(self.laterality, self.bone)

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
    quality: Quality
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
    """Isolate what is bony, as one specimen or as several bones, and judge each.

    Raises
    ------
    ReadError
        If nothing bony is found.
    """
    kind = (options.bone or scan.body_part or "unknown").lower()
    if options.labels:
        labels = options.label_map
        parts = bone.by_labels(scan.volume, labels.labels_on(scan.volume), labels.names)
    elif options.split:
        parts = bone.split(scan.volume)
    else:
        parts = [bone.Part("", bone.isolate(scan.volume))]
    return _sides_checked([_judged(scan, part, part.bone or kind, options) for part in parts])


def _judged(scan: Scan, part: bone.Part, kind: str, options: Options) -> Specimen:
    """A specimen with its quality, and with the side that is said of it."""
    quality = bone.quality_of(part.volume, scan.volume, coarsest_mm=scan.coarsest_mm, kind=kind)
    said = {"--side": options.laterality, "the label": part.laterality, "the file": scan.laterality}
    side, doubts = bone.stated_side(said, kind)
    return Specimen(part.volume, options.prefix + part.name, kind, side, quality, (*quality.notes, *doubts))


def _sides_checked(found: list[Specimen]) -> list[Specimen]:
    """Note what speaks against the side of each, by its shape and by where it lies beside its partner; or that nothing
    could be checked.
    """
    middles: dict[tuple[str, str | None], float] = {}
    for each in found:
        centre = (np.array(each.volume.hu.shape[::-1]) - 1) / 2
        middles[each.bone, each.laterality] = float(each.volume.to_patient(centre[None])[0, 0])
    pairs = {kind for kind, side in middles if side == "L" and (kind, "R") in middles}
    crossed = {kind for kind in pairs if middles[kind, "L"] < middles[kind, "R"]}
    crossing = f"{bone.IN_DOUBT}: the left one of the pair lies to the right of the right one"
    checked = []
    for each in found:
        notes = [*each.notes]
        if each.laterality:
            by_shape = bone.check_of_side(each.volume, each.bone, each.laterality, complete=each.quality.complete)
            # Beside its partner is a check too, where the shape is none.
            if by_shape and (by_shape.startswith(bone.IN_DOUBT) or each.bone not in pairs):
                notes.append(by_shape)
            if each.bone in crossed:
                notes.append(crossing)
        checked.append(replace(each, notes=tuple(notes)))
    return checked


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


def enrolled_view(candidate: Candidate) -> Radiograph | None:
    """The candidate's view nearest to the probe: the picture that the database keeps, or made again from the CT.

    None where neither is possible: the CT is no longer in its place, or a label map cut the bone out.

    Raises
    ------
    ReadError
        If the picture is damaged.
    """
    reference = candidate.reference
    if candidate.picture:
        return from_png(candidate.picture, reference.source)
    try:
        upright, _ = _enrolled_again(reference)
    except BoneprintError:
        return None
    return drr.enrolment_view(upright, candidate.angle_deg, candidate.tilt_deg, reference.source)


def enrolled_views(reference: Reference) -> list[Radiograph]:
    """All views of a bone, made again from its CT.

    Raises
    ------
    BoneprintError
        If the CT is no longer in its place, or a label map cut the bone out.
    """
    upright, pose = _enrolled_again(reference)
    return drr.enrolment_views(upright, reference.source, long=pose.long)


def _enrolled_again(reference: Reference) -> tuple[Volume, bone.Pose]:
    for source in find_series(reference.source).sources:
        if source.source_hash == reference.source_hash:
            return bone.stand_up(specimen_again(source.load(), reference.part).volume)
    raise BoneprintError(f"{reference.source}: the CT that was enrolled is not there any more.")


def enrol(specimen: Specimen, scan: Scan, place: Path, options: Options, embedder: "Embedder") -> Enrolment:
    """Bring a specimen upright, project it from every side, and embed the views.

    Parameters
    ----------
    place : folder or file where the CT lies; kept, so that its views can be made again for an examiner

    Raises
    ------
    ReadError
        If it is not fit to be enrolled.
    """
    if specimen.quality.unfit:
        raise ReadError(f"{scan.source}: not fit to be enrolled: {specimen.quality.unfit}.")
    subject_id = options.subject_id or scan.subject_id
    upright, pose = bone.stand_up(specimen.volume)
    canvas = drr.canvas_of(upright, long=pose.long)
    views = drr.enrolment_views(upright, scan.source, long=pose.long)
    angles_deg, tilts_deg = drr.enrolment_directions(long=pose.long)
    reference = Reference(
        bone_id=hashlib.sha256(f"{scan.source_hash}/{specimen.part}".encode()).hexdigest()[:12],
        subject_id=pseudonym(subject_id, options.site_key) if options.site_key else subject_id,
        bone=specimen.bone,
        laterality=specimen.laterality,
        source=str(place.resolve()) if options.keep_source and not options.site_key else WITHHELD,
        source_hash=scan.source_hash,
        part=specimen.part,
        canvas_mm=canvas.height_mm,
        quality=json.dumps(specimen.quality.record()),
        notes="; ".join(scan.notes + specimen.notes) or None,
    )
    return Enrolment(
        reference,
        embedder.embed_views(views, canvas),
        angles_deg,
        tuple(png_bytes(view, bits=8) for view in views) if options.keep_views else (),
        Solid.of(upright).encoded() if options.keep_solids else b"",
        tilts_deg,
    )
