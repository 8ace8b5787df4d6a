"""What else is made of a specimen: S1's 900 images, one natural-looking radiograph."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from boneprint.drr import s1, shear_warp
from boneprint.drr.absorber import Absorber
from boneprint.drr.beam import Beam
from boneprint.drr.enrolment import ENROLMENT_ENERGY, canvas_of
from boneprint.drr.exposure import Exposure
from boneprint.drr.geometry import Detector, Pose, Rays
from boneprint.drr.upright import own_axes
from boneprint.nouns import Radiograph, Volume


def natural_radiograph(
    specimen: Volume,
    content_mm: NDArray[np.float64],
    *,
    angle_deg: float,
    in_plane_deg: float,
    seed: int,
    source: str,
    beam: Beam | None = None,
    source_detector_mm: float | None = None,
    source_isocentre_mm: float | None = None,
) -> Radiograph:
    """A single radiograph of everything in a volume, soft tissue too, as a detector might record it.

    Parameters
    ----------
    specimen : in its own axes, with whatever surrounds the bone; voxels of any shape, in any orientation
    content_mm : (N, 3) points in those axes that the picture shall show
    angle_deg : about the long axis, 0 = AP, 90 = ML
    in_plane_deg : of the picture, counter-clockwise
    seed : of exposure, blur, scatter and noise (`Exposure.random`)
    beam : None is 60 keV
    source_detector_mm, source_isocentre_mm : of a cone beam about the middle of the content; None: parallel rays

    Returns
    -------
    Radiograph
        Its spacing is that in the plane of the content's middle: the finest of the volume's.
    """
    from boneprint.drr.detector import expose  # torch

    middle = (content_mm.min(axis=0) + content_mm.max(axis=0)) / 2
    pose = Pose(angle_deg, 0.0, in_plane_deg, (float(middle[0]), float(middle[1]), float(middle[2])))
    detector = Detector.holding(
        content_mm,
        pose,
        float(min(specimen.spacing_mm)),
        source_detector_mm=source_detector_mm,
        source_isocentre_mm=source_isocentre_mm,
    )
    paths = shear_warp.project(Absorber.of(specimen), Rays.of(pose, detector))
    exposure = replace(Exposure.random(seed), beam=(beam or Beam.monochromatic(ENROLMENT_ENERGY)).thinned())
    picture = expose(np.maximum(paths, 0), detector.spacing_mm, exposure, seed=seed)
    return Radiograph(picture, detector.spacing_mm, f"natural {angle_deg:+g}", source)


def s1_images(specimen: Volume, *, long: bool, source: str) -> Iterator[Radiograph]:
    """The 900 joined images of S1, one after the other: (800, 800), AP on the left, ML on the right, 0..1, bone bright.

    Parameters
    ----------
    specimen : isolated and upright, with cubic voxels
    long : which ladder of canvases it stands on; the smallest that holds it is taken
    """
    canvas = canvas_of(specimen, long=long)
    for joined in s1.joined_images(Absorber.of(own_axes(specimen)), canvas):
        for energy, picture in zip(s1.ENERGIES, joined.pictures):
            name = f"axis{joined.axis_deg:+03.0f}_plane{joined.in_plane_deg:+03.0f}_kev{energy.value:.0f}"
            yield Radiograph(picture, s1.pitch_mm(canvas), name, source)
