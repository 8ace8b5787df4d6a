"""The truth of an evaluation: a CSV file that says whose bone each probe shows.

A header, then a line for each radiograph::

    path,probe,subject_id,bone_id,bone,laterality,enrolled,pixel_spacing_mm,view,exposure
    a/ap.png,a,S-1,,femur,L,yes,,AP,70 kVp
    a/ml.png,a,S-1,,femur,L,yes,,ML,70 kVp
    b/ap.png,b,S-9,,femur,R,no,0.2,AP,70 kVp

Needed are ``path`` (from the folder of the CSV) and ``subject_id`` or ``bone_id``. Lines of one ``probe`` are
radiographs of one bone, searched with together. ``bone`` and ``laterality`` say which of a person's bones it is, where
several are enrolled. ``enrolled`` says whether it ought to be in the gallery (yes, no; where it is empty, what the
gallery holds decides). Every column is a stratum to report by, but for those that name a probe, ``enrolled`` and
``pixel_spacing_mm``.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from boneprint.errors import BoneprintError
from boneprint.nouns import Reference

_NO_STRATA = ("path", "probe", "subject_id", "bone_id", "enrolled", "pixel_spacing_mm")
_ENROLLED = {"": None, "yes": True, "no": False}

# What makes two references one bone: two scans of a femur do, its two condyles split from each other do not.
BoneKey = tuple[str, str, str | None, str]


@dataclass(frozen=True)
class Probe:
    """Radiographs of one bone, and whose bone that is; None where the file says nothing.

    ``pixel_spacing_mm`` has an entry for each of ``paths``. ``strata`` are the values of the columns to report by.
    """

    name: str
    paths: tuple[Path, ...]
    pixel_spacing_mm: tuple[float | None, ...]
    subject_id: str | None
    bone_id: str | None
    bone: str | None
    laterality: str | None
    enrolled: bool | None
    strata: Mapping[str, str]

    def fits(self, reference: Reference) -> bool:
        """Whether an enrolled bone may be the one on the radiographs."""
        if self.bone_id is not None:
            return reference.bone_id == self.bone_id
        return (
            reference.subject_id == self.subject_id
            and self.bone in (None, reference.bone)
            and self.laterality in (None, reference.laterality)
        )

    def mate(self, references: Sequence[Reference]) -> BoneKey | None:
        """The enrolled bone that is the right answer; None if none is.

        Raises
        ------
        BoneprintError
            If several bones fit, a ``bone_id`` is not enrolled, or one is enrolled that ought not to be.
        """
        fitting = {bone_key(reference) for reference in references if self.fits(reference)}
        if len(fitting) > 1:
            named = "; ".join(sorted(f"{bone} {side or '-'} ({part})" for _, bone, side, part in fitting))
            raise BoneprintError(
                f"truth: probe {self.name} may be any of {len(fitting)} bones of {self.subject_id}: {named}. "
                "Say which in a column bone, laterality or bone_id."
            )
        if self.bone_id is not None and not fitting:
            raise BoneprintError(
                f"truth: probe {self.name}: no bone {self.bone_id} is enrolled, or --where leaves it out. A bone that "
                "is not in the gallery is named by its subject_id."
            )
        if fitting and self.enrolled is False:
            raise BoneprintError(
                f"truth: probe {self.name}: a bone of {self.subject_id or self.bone_id} is enrolled, the file says no. "
                "Correct the column enrolled, or take the bone out of the gallery."
            )
        return next(iter(fitting), None)


def bone_key(reference: Reference) -> BoneKey:
    """What is equal for two references of one bone."""
    return reference.subject_id, reference.bone, reference.laterality, reference.part


def read_truth(path: Path | str) -> list[Probe]:
    """Read a truth file.

    Raises
    ------
    BoneprintError
        If it cannot be read, a needed column or a radiograph is missing, or the lines of a probe disagree.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            lines = [{key: (value or "").strip() for key, value in line.items() if key} for line in table]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BoneprintError(f"{path}: no truth file ({error}); expected CSV in UTF-8 with a header.") from error
    columns = set(lines[0]) if lines else set()
    if "path" not in columns or not columns & {"subject_id", "bone_id"}:
        raise BoneprintError(
            f"{path}: columns {', '.join(sorted(columns)) or 'none, or no lines'}; expected at least path and "
            "subject_id (or bone_id) in the first line, and a line for each radiograph below."
        )
    grouped: dict[str, list[dict[str, str]]] = {}
    for line in lines:
        grouped.setdefault(line.get("probe") or line["path"], []).append(line)
    return [_probe(path, name, each) for name, each in grouped.items()]


def _probe(path: Path, name: str, lines: list[dict[str, str]]) -> Probe:
    where = f"{path}: probe {name}"

    def one(column: str) -> str:
        values = {line.get(column, "") for line in lines}
        if len(values) > 1:
            raise BoneprintError(
                f"{where}: {column} is {' and '.join(sorted(values))}; expected one bone, so one value."
            )
        return values.pop()

    for line in lines:
        if not (path.parent / line["path"]).is_file():
            raise BoneprintError(
                f"{where}: no radiograph {path.parent / line['path']}; paths begin at the CSV's folder."
            )
    if not one("subject_id") and not one("bone_id"):
        raise BoneprintError(f"{where}: neither subject_id nor bone_id; expected whose bone it is.")
    if one("enrolled").lower() not in _ENROLLED:
        raise BoneprintError(f"{where}: enrolled is '{one('enrolled')}'; expected yes, no or nothing.")
    strata = [column for column in lines[0] if column not in _NO_STRATA]
    return Probe(
        name=name,
        paths=tuple(path.parent / line["path"] for line in lines),
        pixel_spacing_mm=tuple(_spacing_mm(where, line.get("pixel_spacing_mm", "")) for line in lines),
        subject_id=one("subject_id") or None,
        bone_id=one("bone_id") or None,
        bone=one("bone").lower() or None,
        laterality=one("laterality") or None,
        enrolled=_ENROLLED[one("enrolled").lower()],
        # Radiographs of two views, searched with together, are a stratum of their own.
        strata={column: " + ".join(sorted({line[column] for line in lines})) for column in strata},
    )


def _spacing_mm(where: str, text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise BoneprintError(f"{where}: pixel_spacing_mm is '{text}'; expected mm per pixel, or nothing.") from None
