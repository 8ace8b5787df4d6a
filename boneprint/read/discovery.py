"""What CTs lie in a pile of files and folders."""

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from boneprint.errors import ReadError
from boneprint.nouns import Scan
from boneprint.read.content import content_hash, kind_of

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

    from boneprint.read.dicom.header import SliceHeader


@dataclass(frozen=True, eq=False)
class Archive:
    """A zip archive, and the temporary folder it was unpacked into; the folder lives as long as this does."""

    path: Path
    folder: "TemporaryDirectory[str]"

    def named(self, text: str) -> str:
        """A text that names a file in the folder, naming it in the archive instead."""
        return text.replace(self.folder.name, str(self.path))

    def of(self, source: "CtSource") -> "CtSource":
        """What was found in the folder, as something found in the archive."""
        return replace(source, label=self.named(source.label), archive=self)


@dataclass(frozen=True, eq=False)
class CtSource:
    """One CT that was found and not yet loaded.

    ``label`` is what a person calls it: its folder or file, and how many slices. ``paths`` are its files.
    """

    kind: Literal["dicom", "nifti"]
    paths: tuple[Path, ...]
    label: str
    slices: "tuple[SliceHeader, ...]" = field(default=(), repr=False)
    archive: "Archive | None" = field(default=None, repr=False)

    @property
    def place(self) -> Path:
        """The zip archive it lies in; else the file of a NIfTI, the folder that holds a DICOM series."""
        if self.archive:
            return self.archive.path
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

    def load(self, *, fill_gaps: bool = False) -> Scan:
        """Read the CT.

        Parameters
        ----------
        fill_gaps : interpolate over missing slices instead of refusing them

        Without an id in the file, the subject is "unknown-" and the beginning of the content hash, so that two
        nameless people are never one.

        Raises
        ------
        ReadError
            If it cannot be used; the text names the file, the finding and the way out.
        """
        try:
            return self._loaded(fill_gaps=fill_gaps)
        except ReadError as error:
            raise ReadError(self.archive.named(str(error)) if self.archive else str(error)) from error

    def _loaded(self, *, fill_gaps: bool) -> Scan:
        if self.kind == "nifti":
            from boneprint.read.nifti import read_ct

            volume, notes = read_ct(self.paths[0])
            coarsest_mm = float(volume.spacing_mm.max())
            subject_id, body_part, laterality = "", None, None
        else:
            from boneprint.read.dicom.header import laterality_of
            from boneprint.read.dicom.series import load_series

            volume, notes, gap_mm = load_series(self.slices, fill_gaps=fill_gaps)
            coarsest_mm = max(gap_mm, *self.slices[0].spacing_mm)
            first = self.slices[0]
            subject_id, body_part = first.subject_id, first.body_part
            laterality, doubts = laterality_of(frozenset().union(*(header.sides for header in self.slices)))
            notes = (*notes, *doubts)
        if not subject_id:
            subject_id = f"unknown-{self.source_hash[:8]}"
            notes = (*notes, "the file names no subject: give one with --subject")
        return Scan(volume, self.label, self.source_hash, subject_id, body_part, laterality, notes, coarsest_mm)


@dataclass(frozen=True)
class Discovery:
    """CTs found, files set aside with a reason, and files that should have been a CT and cannot be used."""

    sources: tuple[CtSource, ...]
    skipped: tuple[tuple[Path, str], ...]
    failed: tuple[tuple[Path, str], ...]


def holds_ct(path: Path) -> bool:
    """Whether a path is a CT and no radiograph: a folder, a zip archive, a NIfTI file, a DICOMDIR or a CT slice."""
    if path.is_dir():
        return True
    if not path.is_file():
        return False
    kind = kind_of(path)
    if kind == "dicom":
        from boneprint.read.dicom.header import DirectoryFound, SetAside, read_slice_headers

        try:
            return bool(read_slice_headers(path))
        except DirectoryFound:
            return True
        except (SetAside, ReadError):
            return False
    return kind in ("nifti", "zip")


def find_series(paths: Path | str | Iterable[Path | str]) -> Discovery:
    """Find every CT in files, folders of any depth, zip archives and DICOMDIRs, by content and not by name.

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
    pile = _Pile()
    for start in given:
        if not start.exists():
            raise ReadError(f"{start}: no such file or folder. Check the spelling.")
        for path in [start] if start.is_file() else _below(start):
            pile.look_at(path)
    if not pile.seen:
        raise ReadError(
            f"{', '.join(map(str, given)) or 'no path'}: no file in it, expected CT slices (DICOM) or NIfTI files. "
            "Give the folder that holds them."
        )
    return pile.discovery()


class _Pile:
    """Files looked at one after the other, each once."""

    def __init__(self) -> None:
        self.seen: set[Path] = set()
        self.groups: dict[tuple[object, ...], list[SliceHeader]] = defaultdict(list)
        self.others: list[CtSource] = []
        self.skipped: list[tuple[Path, str]] = []
        self.failed: list[tuple[Path, str]] = []

    def look_at(self, path: Path) -> None:
        real = path.resolve()
        if real in self.seen or not path.is_file():
            return
        self.seen.add(real)
        try:
            kind = kind_of(path)
            if kind == "dicom":
                self._dicom(path)
            elif kind == "nifti":
                reason = _no_ct(path)
                if reason:
                    self.skipped.append((path, reason))
                else:
                    self.others.append(CtSource("nifti", (path,), str(path)))
            elif kind == "zip":
                self._zip(path)
            else:
                self.skipped.append((path, "neither DICOM nor NIfTI"))
        except ReadError as error:
            self.failed.append((path, str(error)))

    def discovery(self) -> Discovery:
        dicom = _sources(self.groups, self.skipped)
        sources = sorted([*dicom, *self.others], key=lambda source: (source.place, source.paths[0]))
        return Discovery(tuple(sources), tuple(self.skipped), tuple(self.failed))

    def _dicom(self, path: Path) -> None:
        from boneprint.read.dicom.header import DirectoryFound, SetAside, read_slice_headers

        try:
            for header in read_slice_headers(path):
                self.groups[_group_key(header)].append(header)
        except DirectoryFound as reason:
            from boneprint.read.dicom.directory import listed_files

            files, lost = listed_files(path)
            self.skipped.append((path, str(reason)))
            for file in files:
                self.look_at(file)
            if lost:
                raise ReadError(
                    f"{path}: lists {len(lost)} file{'s' if len(lost) > 1 else ''} that are not there ({lost[0]} ...), "
                    "expected all. The copy is not whole; copy the disc again."
                ) from None
        except SetAside as reason:
            self.skipped.append((path, str(reason)))

    def _zip(self, path: Path) -> None:
        from boneprint.read.archive import unpacked

        archive = Archive(path, unpacked(path))
        inner = _Pile()
        for file in _below(Path(archive.folder.name)):
            if kind_of(file) == "zip":
                inner.skipped.append((file, "a zip archive within an archive; unpack it first"))
            else:
                inner.look_at(file)
        found = inner.discovery()
        self.others += map(archive.of, found.sources)
        for mine, theirs in ((self.skipped, found.skipped), (self.failed, found.failed)):
            mine += [(Path(archive.named(str(file))), archive.named(reason)) for file, reason in theirs]


def _below(folder: Path) -> Iterator[Path]:
    """Every file, folders in the order of names; links to folders are not followed, as they may form a circle."""
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(root, name) for name in sorted(names))


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
    return CtSource("dicom", tuple(dict.fromkeys(header.path for header in slices)), label, tuple(slices))
