"""Digitally reconstructed radiographs: attenuation, parallel projection, detector, protocols."""

from boneprint.drr.attenuation import bone_mu_per_mm, mu_per_mm
from boneprint.drr.parallel import project, view_width
from boneprint.drr.protocol import (
    ENROLMENT_ANGLES,
    ENROLMENT_KEV,
    S1_IMAGES,
    canvas_of,
    enrolment_view,
    enrolment_views,
    natural_radiograph,
    s1_images,
)

__all__ = [
    "ENROLMENT_ANGLES",
    "ENROLMENT_KEV",
    "S1_IMAGES",
    "bone_mu_per_mm",
    "canvas_of",
    "enrolment_view",
    "enrolment_views",
    "mu_per_mm",
    "natural_radiograph",
    "project",
    "s1_images",
    "view_width",
]
