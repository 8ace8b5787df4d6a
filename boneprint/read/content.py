"""What a file is, told from its bytes and never from its name; and the fingerprint of its bytes."""

import gzip
import hashlib
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from boneprint.errors import ReadError

Kind = Literal["dicom", "nifti", "png", "jpeg", "tiff", "bmp", "zip", "unknown"]

_NIFTI_HEADER = 348  # bytes; the magic word stands in its last four (NIfTI-1.1 standard)
_SIGNATURES: tuple[tuple[bytes, Kind], ...] = (
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"\xff\xd8\xff", "jpeg"),
    (b"II*\x00", "tiff"),
    (b"MM\x00*", "tiff"),
    (b"II+\x00", "tiff"),
    (b"MM\x00+", "tiff"),
    (b"BM", "bmp"),
    (b"PK\x03\x04", "zip"),
)


def kind_of(path: Path) -> Kind:
    """Tell the format of a file from its first bytes.

    Raises
    ------
    ReadError
        If the file cannot be opened.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_NIFTI_HEADER)
    except OSError as error:
        raise refusal(path, error, "Check that the file exists and may be read.") from error
    if head[128:132] == b"DICM" or _is_bare_dicom(head):
        return "dicom"
    if _is_nifti(_gunzipped_head(path) if head[:2] == b"\x1f\x8b" else head):
        return "nifti"
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    return "unknown"


def _is_bare_dicom(head: bytes) -> bool:
    """DICOM written without the 128-byte preamble: it opens with group 0002 or 0008, little endian, a low element.

    The value representation, or the length in its place, has to be plausible too, so that no text passes.
    """
    if len(head) < 16 or head[:2] not in (b"\x02\x00", b"\x08\x00") or head[3:4] != b"\x00":
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    implicit = int.from_bytes(head[4:8], "little") <= 128
    return explicit or implicit


def _is_nifti(head: bytes) -> bool:
    if head[344:348] in (b"n+1\x00", b"ni1\x00"):
        return True
    return head[4:12] == b"n+2\x00\r\n\x1a\n"


def _gunzipped_head(path: Path) -> bytes:
    try:
        with gzip.open(path, "rb") as file:
            return file.read(_NIFTI_HEADER)
    except (OSError, EOFError, zlib.error):
        return b""


def content_hash(paths: Iterable[Path]) -> str:
    """SHA-256 over the sorted, distinct SHA-256 digests of the files: independent of names, places and copies.

    Raises
    ------
    ReadError
        If a file cannot be read.
    """
    digests = set()
    for path in paths:
        try:
            with path.open("rb") as file:
                digests.add(hashlib.file_digest(file, "sha256").digest())
        except OSError as error:
            raise refusal(path, error, "Check that the file exists and may be read.") from error
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def refusal(path: Path | str, error: BaseException, way_out: str) -> ReadError:
    """Say a foreign library's error as ours: file, finding, way out, in one line."""
    finding = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    finding = " ".join(finding.split()) or type(error).__name__
    if len(finding) > 200:
        finding = finding[:197] + "..."
    return ReadError(f"{path}: {finding.rstrip('.')}. {way_out}")
