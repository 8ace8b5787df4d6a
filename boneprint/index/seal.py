"""The seal: plain text in front of the HDF5 data that tells, before libhdf5 reads a byte, whether the file is whole.

libhdf5 is not made for damaged files: flipped bits in its structure can crash the process. HDF5 leaves the first
bytes of a file (the "user block") to its writer; here they hold the length of the file, a SHA-256 of the raw bytes of
each dataset, and one of all other bytes behind the seal. Datasets are contiguous, so no HDF5 is needed to check them::

    boneprint store, format 2
    created_by boneprint 0.1.0
    size 187392
    rest 5f2a...                                    every byte behind the seal that belongs to no part
    part 8192 153600 9c1e... vectors                offset and length in bytes, SHA-256, dataset
    ...
    seal 77b0...                                    SHA-256 of the lines above
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from boneprint._version import __version__
from boneprint.errors import StoreError

# Raised when an older reader would misread the file. A newer reader keeps reading the older formats.
# 2: bones can be removed; half precision; a checksum for each bone; pictures; species.
FORMAT_VERSION = 2
# HDF5 looks for its own data at 0, 512 and then every power of two; some 25 parts of about 120 bytes fit well.
SEAL_BYTES = 8192
CREATED_BY = f"boneprint {__version__}"

_FIRST_LINE = re.compile(rb"boneprint store, format (\d{1,6})\n(?:created_by ([^\n]{1,100})\n)?")
_HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Part:
    """The raw bytes of one dataset: where they lie in the file, and what they must hash to."""

    name: str
    offset: int
    length: int
    sha256: str

    def intact(self, raw: memoryview) -> bool:
        """Whether the bytes of this part, in the whole file ``raw``, are those that were written."""
        return hashlib.sha256(raw[self.offset : self.offset + self.length]).hexdigest() == self.sha256


@dataclass(frozen=True)
class Seal:
    """What a file of the store must look like, byte for byte."""

    size: int
    rest: str
    parts: tuple[Part, ...]
    created_by: str = CREATED_BY
    version: int = FORMAT_VERSION

    @classmethod
    def over(cls, raw: memoryview, parts: Sequence[Part]) -> Self:
        """Seal a written file: ``raw`` is all of it (its first SEAL_BYTES are free), ``parts`` are its datasets."""
        return cls(len(raw), _digest_outside(raw, parts), tuple(parts))

    @classmethod
    def read(cls, path: Path, raw: memoryview) -> Self:
        """Read the seal of the file ``raw``.

        Raises
        ------
        StoreError
            If this is no store, a store of a newer format, cut short, or its seal is damaged.
        """
        head = bytes(raw[:SEAL_BYTES])
        first = _FIRST_LINE.match(head)
        if first is None:
            raise StoreError(_no_store(path, raw))
        if int(first[1]) > FORMAT_VERSION:
            writer = (first[2] or b"a newer boneprint").decode("ascii", "replace")
            raise StoreError(
                f"{path}: store format {int(first[1])}, made by {writer}; {CREATED_BY} reads formats up to "
                f"{FORMAT_VERSION}. Upgrade boneprint to open it."
            )
        body, mark, tail = head.partition(b"\nseal ")
        lines = body + b"\n"
        if not mark or tail[:64] != hashlib.sha256(lines).hexdigest().encode() or tail[64:].strip(b"\n\0"):
            raise damaged(path, "its seal (the first 8 KiB) does not match its own checksum")
        found = cls._parsed(lines.decode("utf-8"), int(first[1]))
        if found.size != len(raw):
            raise damaged(path, f"{len(raw):,} bytes, expected {found.size:,}")
        return found

    @classmethod
    def _parsed(cls, lines: str, version: int) -> Self:
        values: dict[str, str] = {}
        parts = []
        for line in lines.splitlines()[1:]:
            key, _, value = line.partition(" ")
            if key == "part":
                offset, length, sha256, name = value.split(" ", 3)
                parts.append(Part(name, int(offset), int(length), sha256))
            else:
                values[key] = value
        return cls(int(values["size"]), values["rest"], tuple(parts), values["created_by"], version)

    def text(self) -> bytes:
        """The seal as it stands in the file: SEAL_BYTES bytes, padded with NUL."""
        lines = [f"boneprint store, format {self.version}", f"created_by {self.created_by}"]
        lines += [f"size {self.size}", f"rest {self.rest}"]
        lines += [f"part {part.offset} {part.length} {part.sha256} {part.name}" for part in self.parts]
        body = "".join(f"{line}\n" for line in lines).encode()
        sealed = body + b"seal " + hashlib.sha256(body).hexdigest().encode() + b"\n"
        if len(sealed) > SEAL_BYTES:
            raise StoreError(f"seal of {len(sealed)} bytes for {len(self.parts)} datasets, expected {SEAL_BYTES}.")
        return sealed.ljust(SEAL_BYTES, b"\0")

    def part(self, name: str) -> Part:
        """The part called ``name``; KeyError if there is none."""
        for part in self.parts:
            if part.name == name:
                return part
        raise KeyError(name)

    def rest_intact(self, raw: memoryview) -> bool:
        """Whether all bytes outside the datasets (HDF5's structure and the attributes) are those that were written."""
        return _digest_outside(raw, self.parts) == self.rest


def damaged(path: Path, finding: str) -> StoreError:
    """The error for a file whose bytes are not those that were written."""
    return StoreError(
        f"{path}: damaged: {finding}. Restore it from a backup, or ingest the sources again into another file (--db)."
    )


def _digest_outside(raw: memoryview, parts: Sequence[Part]) -> str:
    digest = hashlib.sha256()
    position = SEAL_BYTES
    for part in sorted((part for part in parts if part.length), key=lambda part: part.offset):
        digest.update(raw[position : part.offset])
        position = part.offset + part.length
    digest.update(raw[position:])
    return digest.hexdigest()


def _no_store(path: Path, raw: memoryview) -> str:
    if bytes(raw[:8]) == _HDF5_SIGNATURE:
        finding = "an HDF5 file, but no boneprint store"
    elif not raw:
        finding = "an empty file, no boneprint store"
    else:
        finding = f"no boneprint store (it begins with {bytes(raw[:12])!r})"
    return (
        f"{path}: {finding}; expected a file made by `boneprint ingest`. "
        "Name the store with --db, or a new file to begin one."
    )
