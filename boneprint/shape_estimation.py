"""From radiographs of an unknown bone to a surface: an enrolled bone's, or a shape model's fitted to them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from boneprint import bone, ingest, probe
from boneprint.database import Database
from boneprint.errors import BoneprintError
from boneprint.nouns import Candidate, Radiograph, Reference
from boneprint.read import find_series
from boneprint.shape import (
    Comparison,
    Fit,
    ShapeModel,
    Surface,
    Template,
    build_model,
    compare,
    fit_model,
    read_model,
    registered,
    rough_rms_mm,
    surface_of,
    write_model,
)

METHODS = ("nearest", "ssm", "nearest-ssm")

# Bones that a model is made of where the gallery has more: the nearest. Beyond a hundred little is gained.
MODEL_BONES = 100
# How far a picture's direction may be from what the user says, and from that of a bone's nearest view: up to 40 degrees
# were seen in femora from the side.
_SAID_WITHIN_DEG, _VIEW_WITHIN_DEG = 24.0, 48.0
_TOLERANCE_MM = 0.05  # decimation of surfaces from CT, far below what a voxel leaves open

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class Estimate:
    """A bone's surface as radiographs suggest it.

    Attributes
    ----------
    surface : mm, in the upright frame of the nearest bone
    method : one of `METHODS`
    nearest : the enrolled bone that looks most like the radiographs; of "nearest-ssm" the one nearest to the fit
    model, fit : of "ssm" and "nearest-ssm"
    truth : the estimate against the true surface, where that was given
    better, gallery : how many of how many enrolled bones match the truth better than the nearest one
    """

    surface: Surface
    method: str
    nearest: Candidate
    model: ShapeModel | None = None
    fit: Fit | None = None
    truth: Comparison | None = None
    better: int | None = None
    gallery: int | None = None


def estimate(
    database: Database,
    xrays: probe.Xray | Sequence[probe.Xray],
    *,
    method: str = "nearest",
    pixel_spacing_mm: float | None = None,
    angles_deg: Sequence[float] | None = None,
    where: Mapping[str, str] | Iterable[str] | None = None,
    model: Path | str | None = None,
    truth: Surface | None = None,
    report: Report | None = None,
) -> Estimate:
    """Estimate the surface of the bone that one or more radiographs show.

    Parameters
    ----------
    xrays : views of one bone, e.g. AP and ML
    method : "nearest": the surface of the nearest bone by fingerprint, made again from its CT (S1);
        "ssm": a statistical shape model of the gallery's bones, fitted to the radiographs, the nearest as one start;
        "nearest-ssm": the surface of the enrolled bone nearest to that fit, of those a model is made of, of one side
    pixel_spacing_mm : mm per pixel in the plane of the bone; goes before what the files say
    angles_deg : of each about the long axis (0 = AP, 90 = ML): the nearest bone is sought as in `Database.search`, a
        fit to within 24 degrees of them; None: fitted to within 48 degrees of the nearest bone's nearest views
    where : only among such bones, as in `Database.search`
    model : file of a shape model; where there is none it is made of the gallery's bones and kept there
    truth : the bone's true surface, if known: the estimate is measured, and how many bones would have been better

    Raises
    ------
    BoneprintError
        If nothing in the gallery has a CT that its surface can be made from, or there are too few for a model.
    """
    if method not in METHODS:
        raise BoneprintError(f"method '{method}', expected one of: {', '.join(METHODS)}.")
    radiographs = probe.as_radiographs(xrays, pixel_spacing_mm=pixel_spacing_mm)
    everyone = max(1, database.store.gallery().bones)
    most = MODEL_BONES if truth is None else everyone
    found = database.search(radiographs, k=most, where=where, angles_deg=angles_deg)
    scanned = [each for each in found.candidates if each.reference.part != probe.XRAY]
    if not scanned:
        raise BoneprintError(
            f"{database.store.path}: no bone among these was enrolled from a CT, so none has a surface."
        )
    nearest, surfaces = scanned[0], _Surfaces()
    surface = surfaces.of(nearest)
    learnt = fit = None
    if method != "nearest":
        alike = _alike(scanned)
        learnt = _model(alike, surfaces, Path(model) if model else None, report)
        angles = angles_deg or _angles(database, radiographs, nearest.reference)
        within_deg = _SAID_WITHIN_DEG if angles_deg else _VIEW_WITHIN_DEG
        fit = _fitted(learnt, radiographs, angles, within_deg, nearest.reference, surface)
        surface = _sided(fit.surface, nearest.reference)
    if fit is not None and method == "nearest-ssm":
        # Another side's bone would be the other bone's mirror image.
        same = [each for each in alike if each.reference.laterality == nearest.reference.laterality]
        apart = [rough_rms_mm(surfaces.of(each), surface) for each in same]
        nearest = same[int(np.argmin(apart))]
        surface = surfaces.of(nearest)
    if truth is None:
        return Estimate(surface, method, nearest, learnt, fit)
    measured = compare(surface, truth)
    better = _better(scanned, scanned.index(nearest), surfaces, truth, report)
    return Estimate(surface, method, nearest, learnt, fit, measured, better, len(scanned))


class _Surfaces:
    """Surfaces of enrolled bones, each made once."""

    def __init__(self) -> None:
        self._made: dict[str, Surface] = {}

    def of(self, candidate: Candidate) -> Surface:
        reference = candidate.reference
        if reference.bone_id not in self._made:
            self._made[reference.bone_id] = surface_of_reference(reference)
        return self._made[reference.bone_id]


def surface_of_reference(reference: Reference) -> Surface:
    """The surface of an enrolled bone, made again from its CT: mm, upright as its enrolled views are.

    Raises
    ------
    BoneprintError
        If its CT is no longer where it was, or it cannot be cut out of it again.
    """
    sources = find_series(reference.source).sources
    for source in sources:
        if source.source_hash == reference.source_hash:
            specimen = ingest.specimen_again(source.load(), reference.part)
            surface = surface_of(specimen.volume, tolerance_mm=_TOLERANCE_MM, source=reference.bone_id)
            upright = np.eye(4)
            upright[:3, :3] = bone.find_pose(specimen.volume).axes
            upright[:3, 3] = -upright[:3, :3] @ surface.centre_mm
            return surface.moved(upright)
    raise BoneprintError(
        f"{reference.source}: the CT of bone {reference.bone_id} is no longer there; its surface is made from it. "
        "Bring it back, or enrol it again."
    )


def _sided(surface: Surface, reference: Reference) -> Surface:
    """Between a bone's own side and the right one, which all models are of; the same both ways."""
    return surface.mirrored() if reference.laterality == "L" else surface


def _alike(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those that a model is made of: the nearest of the nearest one's kind and size."""
    first = candidates[0].reference
    return [
        each for each in candidates if (each.reference.bone, each.reference.canvas_mm) == (first.bone, first.canvas_mm)
    ][:MODEL_BONES]


def _model(alike: Sequence[Candidate], surfaces: _Surfaces, kept: Path | None, report: Report | None) -> ShapeModel:
    """A model read, or made of these bones."""
    if kept is not None and kept.exists():
        return read_model(kept)
    right = []
    for number, each in enumerate(alike, 1):
        right.append(_sided(surfaces.of(each), each.reference))
        if report:
            report("surfaces", number, len(alike))
    learnt = build_model(
        right,
        bone=alike[0].reference.bone,
        report=(lambda done, total: report("model", done, total)) if report else None,
    )
    if kept is not None:
        write_model(kept, learnt)
    return learnt


def _angles(database: Database, radiographs: Sequence[Radiograph], nearest: Reference) -> list[float]:
    """The directions of a bone's views that are nearest to the pictures."""
    found = [database.search([each], k=1, where={"id": nearest.bone_id}).candidates for each in radiographs]
    return [candidates[0].angle_deg for candidates in found]


def _fitted(
    model: ShapeModel,
    radiographs: Sequence[Radiograph],
    angles: Sequence[float],
    within_deg: float,
    nearest: Reference,
    surface: Surface,
) -> Fit:
    """The model, loosened, fitted to pictures from known directions; the nearest bone's shape is one of the starts."""
    if len(model.shapes):
        model = model.loosened()
    template = Template(Surface(model.mean, model.faces))
    start = model.coefficients(model.laid(registered(template, _sided(surface, nearest)).vertices))
    if nearest.laterality == "L":
        # A left bone's picture, turned round, is that of its mirror image from the mirrored direction.
        radiographs = [replace(each, pixels=each.pixels[:, ::-1]) for each in radiographs]
        angles = [-angle for angle in angles]
    return fit_model(model, radiographs, angles, within_deg=within_deg, start=start)


def _better(
    candidates: Sequence[Candidate], chosen: int, surfaces: _Surfaces, truth: Surface, report: Report | None
) -> int:
    """How many bones match the truth better than the chosen one."""
    apart = []
    for number, each in enumerate(candidates, 1):
        apart.append(compare(surfaces.of(each), truth).rms_mm)
        if report:
            report("gallery", number, len(candidates))
    return int((np.array(apart) < apart[chosen]).sum())
