"""Zip archives unpacked into a folder that goes away by itself; tricks with names and sizes are refused."""

import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from boneprint.errors import ReadError
from boneprint.read.content import refusal

LARGEST_ARCHIVE = 16 * 2**30  # bytes unpacked: ten whole bodies
MOST_FILES = 100_000
# Air in a CT deflates to a hundredth; what is a thousand times smaller than what it becomes is a bomb.
DENSEST = 1000
_SMALL = 2**24  # bytes; below it nothing can go wrong
_CHUNK = 2**20


def unpacked(path: Path) -> tempfile.TemporaryDirectory[str]:
    """Unpack a zip archive into a temporary folder, which is removed when the result is no longer held.

    Raises
    ------
    ReadError
        If it is damaged or encrypted, a name in it leads out of the folder or is a link, or it holds more than 16 GiB
        or 100,000 files, or is denser than any scan.
    """
    folder = tempfile.TemporaryDirectory(prefix="boneprint-")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check(path, entries)
            for number, entry in enumerate(entries):
                if not entry.is_dir():
                    _write(path, archive, entry, _target(Path(folder.name), entry, number))
    except ReadError:
        raise
    except Exception as error:  # zipfile, zlib, lzma and the disk each fail in their own way
        raise refusal(path, error, "Expected a zip archive with a CT; pack it again, or unpack it by hand.") from error
    return folder


def _check(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    total = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if len(entries) > MOST_FILES or total > LARGEST_ARCHIVE or total > max(_SMALL, DENSEST * packed):
        raise ReadError(
            f"{path}: {len(entries)} files of {total} bytes from {packed}, expected at most {MOST_FILES} files, "
            f"{LARGEST_ARCHIVE} bytes and a density of {DENSEST}. Unpack it by hand if you trust it."
        )
    for entry in entries:
        inner = PurePosixPath(entry.filename.replace("\\", "/"))
        if (
            inner.is_absolute()
            or ".." in inner.parts
            or ":" in entry.filename
            or stat.S_ISLNK(entry.external_attr >> 16)
        ):
            raise ReadError(
                f"{path}: the entry {entry.filename!r} leads out of the archive or is a link, expected plain files. "
                "Do not trust this archive."
            )
        if entry.flag_bits & 1:
            raise ReadError(f"{path}: encrypted, expected a plain archive. Unpack it by hand.")


def _target(folder: Path, entry: zipfile.ZipInfo, number: int) -> Path:
    """The entry's own place; a name that is taken, or cannot be one on this disk, gives way to its number."""
    target = folder / entry.filename.replace("\\", "/").lstrip("/")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        usable = not target.exists() and target.parent.is_dir()
    except (OSError, ValueError):
        usable = False
    return target if usable else folder / f"entry-{number}"


def _write(path: Path, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path) -> None:
    if shutil.disk_usage(target.parent).free < entry.file_size:
        raise ReadError(f"{path}: {entry.file_size} bytes to unpack, the temporary folder is full. Set TMPDIR.")
    written = 0
    with archive.open(entry) as packed, target.open("wb") as out:
        while chunk := packed.read(_CHUNK):
            written += len(chunk)
            if written > entry.file_size:  # the directory of the archive lied
                raise ReadError(f"{path}: {entry.filename!r} is larger than it says. Do not trust this archive.")
            out.write(chunk)
