"""A cohort of simulated people on disk: a DICOM CT series and the true surface of each, and a list of the truth."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import trimesh

from boneprint.errors import BoneprintError
from boneprint.read import write_ct_series
from boneprint.simulate import Body, Scanner, individual

MANIFEST = "cohort.json"


@dataclass(frozen=True)
class Member:
    """One simulated person of a cohort; paths are relative to the cohort's folder."""

    subject_id: str
    bone: str
    species: str
    laterality: str | None
    length_mm: float
    ct: str
    surface: str


def simulate_cohort(
    folder: Path | str,
    n: int,
    *,
    bone: str = "femur",
    species: str = "human",
    seed: int = 1,
    side: str | None = None,
    first: int = 0,
) -> Iterator[Member]:
    """Write people ``first`` to ``first + n - 1`` of a seed, one after the other.

    Parameters
    ----------
    folder : made where it is missing; gets SUBJECT/BONE-SIDE/*.dcm, SUBJECT/BONE-SIDE.stl (true surface in patient LPS
        mm, where the CT lies) and cohort.json; several bones of one person are put beside each other
    seed : two seeds make two cohorts with nobody in common; one seed always the same
    side : "L" or "R" for all; None draws it

    Raises
    ------
    BoneprintError
        For a bone or species that cannot be simulated, or n below 1.
    """
    if n < 1:
        raise BoneprintError(f"a cohort of {n}: expected at least one person (-n 1).")
    folder = Path(folder)
    for index in range(first, first + n):
        member = _write(individual(seed, index, bone=bone, species=species, laterality=side), folder)
        _list(member, folder / MANIFEST)
        yield member


def _list(member: Member, manifest: Path) -> None:
    """Put a member on the list beside those of earlier runs, in the place of its own earlier entry."""

    def one(each: dict[str, object]) -> tuple[object, ...]:
        return each["subject_id"], each["bone"], each["laterality"]

    known = json.loads(manifest.read_text())["members"] if manifest.exists() else []
    others = [each for each in known if one(each) != one(asdict(member))]
    written = manifest.with_suffix(".json.tmp")
    written.write_text(json.dumps({"members": [*others, asdict(member)]}, indent=1) + "\n")
    written.replace(manifest)


def _write(body: Body, folder: Path) -> Member:
    volume, to_patient = body.scan(Scanner.usual(body.species))
    name = body.bone if body.laterality is None else f"{body.bone}-{body.laterality}"
    ct, surface = folder / body.subject_id / name, folder / body.subject_id / f"{name}.stl"
    if ct.exists():
        shutil.rmtree(ct)  # an earlier simulation of this bone; slices of a longer series must not stay
    write_ct_series(ct, volume, subject_id=body.subject_id, body_part=body.bone, laterality=body.laterality)
    vertices, faces = body.surface(to_patient)
    trimesh.Trimesh(vertices, faces, process=False).export(surface)
    return Member(
        subject_id=body.subject_id,
        bone=body.bone,
        species=body.species,
        laterality=body.laterality,
        length_mm=round(float(body.shape["length_mm"]), 1),
        ct=str(ct.relative_to(folder)),
        surface=str(surface.relative_to(folder)),
    )
