"""What CTs lie in a pile of files and folders."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from boneprint.errors import ReadError
from boneprint.nouns import Scan
from boneprint.read.content import content_hash, kind_of

if TYPE_CHECKING:
    from boneprint.read.dicom.header import SliceHeader

_OTHER = {"zip": "a zip archive; unpack it first"}


@dataclass(frozen=True, eq=False)
class CtSource:
    """One CT that was found and not yet loaded.

    ``label`` is what a person calls it: its folder or file, and how many slices. ``paths`` are its files.
    """

    kind: Literal["dicom", "nifti"]
    paths: tuple[Path, ...]
    label: str
    slices: "tuple[SliceHeader, ...]" = field(default=(), repr=False)

    @property
    def place(self) -> Path:
        """The file of a NIfTI; the folder that holds a DICOM series."""
        if self.kind == "nifti":
            return self.paths[0]
        return Path(os.path.commonpath([path.parent for path in self.paths]))

    @cached_property
    def source_hash(self) -> str:
        """SHA-256 of the content, whatever the files are called; nothing is decoded for it.

        Raises
        ------
        ReadError
            If a file can no longer be read.
        """
        return content_hash(self.paths)

    def load(self) -> Scan:
        """Read the CT.

        Without an id in the file, the subject is "unknown-" and the beginning of the content hash, so that two
        nameless people are never one.

        Raises
        ------
        ReadError
            If it cannot be used; the text names the file, the finding and the way out.
        """
        if self.kind == "nifti":
            from boneprint.read.nifti import read_ct

            volume, notes = read_ct(self.paths[0])
            subject_id, body_part, laterality = "", None, None
        else:
            from boneprint.read.dicom.series import load_series

            volume, notes = load_series(self.slices)
            first = self.slices[0]
            subject_id, body_part, laterality = first.subject_id, first.body_part, first.laterality
        if not subject_id:
            subject_id = f"unknown-{self.source_hash[:8]}"
            notes = (*notes, "the file names no subject: give one with --subject")
        return Scan(volume, self.label, self.source_hash, subject_id, body_part, laterality, notes)


@dataclass(frozen=True)
class Discovery:
    """CTs found, files set aside with a reason, and files that should have been a CT and cannot be used."""

    sources: tuple[CtSource, ...]
    skipped: tuple[tuple[Path, str], ...]
    failed: tuple[tuple[Path, str], ...]


def find_series(paths: Path | str | Iterable[Path | str]) -> Discovery:
    """Find every CT in files and folders of any depth, by content and not by name.

    DICOM slices are grouped by patient, series and geometry (orientation, rows, columns, spacing); where the series
    UID is empty, by folder. Each NIfTI file is one CT, unless it is a label map. Only headers are read.

    Parameters
    ----------
    paths : one or several files and folders

    Returns
    -------
    Discovery
        In the order of paths, each list without repetition.

    Raises
    ------
    ReadError
        If a path does not exist, or there is not a single file in them.
    """
    given = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    groups: dict[tuple[object, ...], list[SliceHeader]] = defaultdict(list)
    nifti: list[CtSource] = []
    skipped: list[tuple[Path, str]] = []
    failed: list[tuple[Path, str]] = []
    nothing = True
    for path in _files(given):
        nothing = False
        try:
            kind = kind_of(path)
            if kind == "dicom":
                header = _slice_or_reason(path)
                if isinstance(header, str):
                    skipped.append((path, header))
                else:
                    groups[_group_key(header)].append(header)
            elif kind == "nifti":
                reason = _no_ct(path)
                if reason:
                    skipped.append((path, reason))
                else:
                    nifti.append(CtSource("nifti", (path,), str(path)))
            else:
                skipped.append((path, _OTHER.get(kind, "neither DICOM nor NIfTI")))
        except ReadError as error:
            failed.append((path, str(error)))
    if nothing:
        raise ReadError(
            f"{', '.join(map(str, given)) or 'no path'}: no file in it, expected CT slices (DICOM) or NIfTI files. "
            "Give the folder that holds them."
        )
    dicom = _sources(groups, skipped)
    sources = sorted([*dicom, *nifti], key=lambda source: source.paths[0])
    return Discovery(tuple(sources), tuple(skipped), tuple(failed))


def _files(given: Sequence[Path]) -> Iterator[Path]:
    """Every file once, folders in the order of names; links to folders are not followed, as they may form a circle."""
    seen: set[Path] = set()
    for start in given:
        if not start.exists():
            raise ReadError(f"{start}: no such file or folder. Check the spelling.")
        found = [start] if start.is_file() else _below(start)
        for path in found:
            real = path.resolve()
            if real not in seen and path.is_file():
                seen.add(real)
                yield path


def _below(folder: Path) -> Iterator[Path]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root, name) for name in sorted(names))


def _slice_or_reason(path: Path) -> "SliceHeader | str":
    from boneprint.read.dicom.header import SetAside, read_slice_header

    try:
        return read_slice_header(path)
    except SetAside as reason:
        return str(reason)


def _no_ct(path: Path) -> str | None:
    from boneprint.read.nifti import why_no_ct

    return why_no_ct(path)


def _group_key(header: "SliceHeader") -> tuple[object, ...]:
    series = (header.subject_id, header.series_uid or (header.study_uid, header.path.parent))
    geometry = (header.shape, tuple(round(mm, 4) for mm in header.spacing_mm))
    # Three digits: files of one series differ in the last ones they write, two planes differ in the first.
    return (*series, *geometry, tuple((header.orientation.round(3) + 0.0).ravel().tolist()))


def _sources(groups: "dict[tuple[object, ...], list[SliceHeader]]", skipped: list[tuple[Path, str]]) -> list[CtSource]:
    """Name the groups; a stray picture of another geometry within a whole series is set aside."""
    largest: dict[tuple[object, ...], int] = defaultdict(int)
    folders: dict[Path, int] = defaultdict(int)
    for key, slices in groups.items():
        largest[key[:2]] = max(largest[key[:2]], len(slices))
    sources = []
    for key, slices in groups.items():
        if len(slices) <= 2 and largest[key[:2]] >= 5:
            skipped += [
                (header.path, "another geometry than the rest of its series (a localiser?)") for header in slices
            ]
            continue
        folders[slices[0].path.parent] += 1
        sources.append(slices)
    return [_named(slices, alone=folders[slices[0].path.parent] == 1) for slices in sources]


def _named(slices: "list[SliceHeader]", *, alone: bool) -> CtSource:
    folder = Path(os.path.commonpath([header.path.parent for header in slices]))
    series = "" if alone or not slices[0].series_uid else f"series ...{slices[0].series_uid[-8:]}, "
    label = f"{folder} ({series}{len(slices)} slices)"
    return CtSource("dicom", tuple(header.path for header in slices), label, tuple(slices))
