"""boneprint: which bone in our database is this?

    import boneprint

    db = boneprint.open("bones.h5", writable=True)
    db.ingest("ct_dir/")
    db.search("xray.png", k=10)
    boneprint.verify("a.png", "b.png", bone="femur")

Names are loaded when first used, so that importing the package costs nothing.
"""

from typing import TYPE_CHECKING, Any

from boneprint._version import __version__
from boneprint.errors import BoneprintError, ReadError, StoreError

if TYPE_CHECKING:
    from boneprint.database import Database
    from boneprint.index import check
    from boneprint.nouns import Fingerprint, Radiograph, Volume
    from boneprint.verification import verify

    open = Database.open  # noqa: A001

__all__ = [
    "BoneprintError",
    "Database",
    "Fingerprint",
    "Radiograph",
    "ReadError",
    "StoreError",
    "Volume",
    "__version__",
    "check",
    "open",
    "verify",
]

_HOMES = {
    "Database": "database",
    "Fingerprint": "nouns",
    "Radiograph": "nouns",
    "Volume": "nouns",
    "check": "index",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "open":
        return import_module("boneprint.database").Database.open
    if name in _HOMES:
        return getattr(import_module(f"boneprint.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'boneprint' has no attribute {name!r}")
