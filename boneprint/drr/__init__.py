"""Digitally reconstructed radiographs: geometry, projectors, attenuation, detector, protocols.

The face is lazy: torch is loaded by the first call that needs it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from boneprint.drr.absorber import Absorber
    from boneprint.drr.attenuation import bone_mu_per_mm, mu_per_mm
    from boneprint.drr.beam import Beam
    from boneprint.drr.detector import expose
    from boneprint.drr.energy import KeV, KVp
    from boneprint.drr.enrolment import (
        ENROLMENT_ANGLES,
        ENROLMENT_ENERGY,
        ENROLMENT_TILTS,
        HalfTurn,
        canvas_of,
        canvas_of_grid,
        enrolment_directions,
        enrolment_view,
        enrolment_views,
        views_of_grid,
    )
    from boneprint.drr.exposure import Exposure
    from boneprint.drr.geometry import Detector, GeometryError, Pose, Rays
    from boneprint.drr.projector import project
    from boneprint.drr.protocol import aimed, natural_radiograph, s1_images, silhouette
    from boneprint.drr.s1 import S1_IMAGES
    from boneprint.drr.tensor import TensorAbsorber
    from boneprint.drr.upright import own_axes, turntable, view_width

_HOMES = {
    "Absorber": "absorber",
    "Beam": "beam",
    "Detector": "geometry",
    "ENROLMENT_ANGLES": "enrolment",
    "ENROLMENT_ENERGY": "enrolment",
    "ENROLMENT_TILTS": "enrolment",
    "Exposure": "exposure",
    "GeometryError": "geometry",
    "HalfTurn": "enrolment",
    "KVp": "energy",
    "KeV": "energy",
    "Pose": "geometry",
    "Rays": "geometry",
    "S1_IMAGES": "s1",
    "TensorAbsorber": "tensor",
    "aimed": "protocol",
    "bone_mu_per_mm": "attenuation",
    "canvas_of": "enrolment",
    "canvas_of_grid": "enrolment",
    "enrolment_directions": "enrolment",
    "enrolment_view": "enrolment",
    "enrolment_views": "enrolment",
    "expose": "detector",
    "mu_per_mm": "attenuation",
    "natural_radiograph": "protocol",
    "own_axes": "upright",
    "project": "projector",
    "s1_images": "protocol",
    "silhouette": "protocol",
    "turntable": "upright",
    "view_width": "upright",
    "views_of_grid": "enrolment",
}

__all__ = [
    "ENROLMENT_ANGLES",
    "ENROLMENT_ENERGY",
    "ENROLMENT_TILTS",
    "S1_IMAGES",
    "Absorber",
    "Beam",
    "Detector",
    "Exposure",
    "GeometryError",
    "HalfTurn",
    "KVp",
    "KeV",
    "Pose",
    "Rays",
    "TensorAbsorber",
    "aimed",
    "bone_mu_per_mm",
    "canvas_of",
    "canvas_of_grid",
    "enrolment_directions",
    "enrolment_view",
    "enrolment_views",
    "expose",
    "mu_per_mm",
    "natural_radiograph",
    "own_axes",
    "project",
    "s1_images",
    "silhouette",
    "turntable",
    "view_width",
    "views_of_grid",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
