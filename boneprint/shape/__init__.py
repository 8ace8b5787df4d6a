"""Surfaces of bones: from CT, from files, compared, modelled, and estimated from radiographs.

The face is lazy: pymeshlab and torch are loaded by the first call that needs them.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boneprint.shape.comparison import Comparison, Distances, compare, rough_rms_mm
    from boneprint.shape.correspond import Template, registered
    from boneprint.shape.fit import Fit, fit_model
    from boneprint.shape.isosurface import surface_of
    from boneprint.shape.mesh import decimated, mended, read_surface, write_surface
    from boneprint.shape.model import ShapeModel, build_model
    from boneprint.shape.model_file import read_model, write_model
    from boneprint.shape.picture import draw, write_coloured
    from boneprint.shape.surface import Surface

_HOMES = {
    "Comparison": "comparison",
    "Distances": "comparison",
    "Fit": "fit",
    "ShapeModel": "model",
    "Surface": "surface",
    "Template": "correspond",
    "build_model": "model",
    "compare": "comparison",
    "decimated": "mesh",
    "draw": "picture",
    "fit_model": "fit",
    "mended": "mesh",
    "read_model": "model_file",
    "read_surface": "mesh",
    "registered": "correspond",
    "rough_rms_mm": "comparison",
    "surface_of": "isosurface",
    "write_coloured": "picture",
    "write_model": "model_file",
    "write_surface": "mesh",
}

__all__ = [
    "Comparison",
    "Distances",
    "Fit",
    "ShapeModel",
    "Surface",
    "Template",
    "build_model",
    "compare",
    "decimated",
    "draw",
    "fit_model",
    "mended",
    "read_model",
    "read_surface",
    "registered",
    "rough_rms_mm",
    "surface_of",
    "write_coloured",
    "write_model",
    "write_surface",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
