"""Subject ids that name nobody: one person gets one id at a site, and without its key nobody can tell whose it is.

Names, birth dates and addresses are never read (`boneprint.read.dicom.header`), so a subject's id is all there is to
hide; what fingerprints themselves give away no key can hide (docs/privacy.md).
"""

import hashlib
import hmac
from pathlib import Path

from boneprint.errors import ReadError

SHORTEST_KEY = 16  # bytes: 128 bits, below which a key can be guessed
WITHHELD = "withheld"  # in place of a path, which often holds a name


def read_site_key(path: Path | str) -> bytes:
    """Read the key of a site: any file of at least 16 bytes, e.g. made by ``openssl rand -out site.key 32``.

    Raises
    ------
    ReadError
        If it cannot be read or is too short to be secret.
    """
    path = Path(path)
    try:
        key = path.read_bytes()
    except OSError as error:
        raise ReadError(f"{path}: {error.strerror or error}, expected the site's key. Check --site-key.") from error
    if len(key) < SHORTEST_KEY:
        raise ReadError(
            f"{path}: a key of {len(key)} bytes, expected at least {SHORTEST_KEY} random ones. "
            f"Make one: openssl rand -out {path} 32"
        )
    return key


def pseudonym(subject_id: str, key: bytes) -> str:
    """The id under which a site stores a subject: "P-" and 80 bits of HMAC-SHA256 (RFC 2104) of the id.

    Spaces around it and the case of letters do not matter, as registries differ in both.
    """
    normal = " ".join(subject_id.split()).casefold()
    return "P-" + hmac.new(key, normal.encode(), hashlib.sha256).hexdigest()[:20]
