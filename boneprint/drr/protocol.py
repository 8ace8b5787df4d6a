"""What else is made of a specimen: S1's 900 images, one natural-looking radiograph, and where in it the bone is."""

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

_DRY_HU = -500.0  # what lies in air is there from here on


def aimed(
    specimen: Volume,
    content_mm: NDArray[np.float64],
    *,
    angle_deg: float,
    in_plane_deg: float,
    source_detector_mm: float | None = None,
    source_isocentre_mm: float | None = None,
) -> tuple[Pose, Detector]:
    """Where tube and detector stand for a single picture that shows some content, in the finest of a volume's pixels.

    Parameters
    ----------
    specimen : in its own axes; voxels of any shape, in any orientation
    content_mm : (N, 3) points in those axes that the picture shall show
    angle_deg : about the long axis, 0 = AP, 90 = ML
    in_plane_deg : of the picture, counter-clockwise
    source_detector_mm, source_isocentre_mm : of a cone beam about the middle of the content; None: parallel rays
    """
    middle = (content_mm.min(axis=0) + content_mm.max(axis=0)) / 2
    pose = Pose(angle_deg, 0.0, in_plane_deg, (float(middle[0]), float(middle[1]), float(middle[2])))
    detector = Detector.holding(
        content_mm,
        pose,
        float(min(specimen.spacing_mm)),
        source_detector_mm=source_detector_mm,
        source_isocentre_mm=source_isocentre_mm,
    )
    return pose, detector


def natural_radiograph(
    specimen: Volume, pose: Pose, detector: Detector, *, seed: int, source: str, beam: Beam | None = None
) -> Radiograph:
    """A single radiograph of everything in a volume, soft tissue too, as a detector might record it.

    Parameters
    ----------
    specimen : with whatever surrounds the bone
    pose, detector : as of `aimed`
    seed : of exposure, blur, scatter and noise (`Exposure.random`)
    beam : None is 60 keV

    Returns
    -------
    Radiograph
        Its spacing is that in the plane of the content's middle.
    """
    from boneprint.drr.detector import expose  # torch

    paths = shear_warp.project(Absorber.of(specimen), Rays.of(pose, detector))
    exposure = replace(Exposure.random(seed), beam=(beam or Beam.monochromatic(ENROLMENT_ENERGY)).thinned())
    picture = expose(np.maximum(paths, 0), detector.spacing_mm, exposure, seed=seed)
    return Radiograph(picture, detector.spacing_mm, f"natural {pose.axis_deg:+g}", source)


def silhouette(specimen: Volume, pose: Pose, detector: Detector) -> NDArray[np.bool_]:
    """Which pixels (H, W) show a dry bone: those whose rays run through it for at least half a pixel."""
    there = (specimen.hu > _DRY_HU).astype(np.float32)
    (path_mm,) = shear_warp.project(Absorber.of_values(there, specimen.affine), Rays.of(pose, detector))
    return np.asarray(path_mm > 0.5 * detector.spacing_mm)


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
