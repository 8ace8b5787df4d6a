"""Reading what scanners and people send: CT series, label maps, radiographs; and writing them.

The face is lazy: pydicom, nibabel and Pillow are loaded by the first call that needs them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boneprint.read.content import content_hash
    from boneprint.read.dicom.write import write_ct_series
    from boneprint.read.discovery import CtSource, Discovery, find_series, holds_ct
    from boneprint.read.image import from_png, png_bytes, write_png
    from boneprint.read.nifti import LabelMap, read_labels
    from boneprint.read.radiograph import read_radiograph

__all__ = [
    "CtSource",
    "Discovery",
    "LabelMap",
    "content_hash",
    "find_series",
    "from_png",
    "holds_ct",
    "png_bytes",
    "read_labels",
    "read_radiograph",
    "write_ct_series",
    "write_png",
]

_HOMES = {
    "CtSource": "discovery",
    "Discovery": "discovery",
    "LabelMap": "nifti",
    "content_hash": "content",
    "find_series": "discovery",
    "from_png": "image",
    "holds_ct": "discovery",
    "png_bytes": "image",
    "read_labels": "nifti",
    "read_radiograph": "radiograph",
    "write_ct_series": "dicom.write",
    "write_png": "image",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
