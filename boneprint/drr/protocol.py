"""Which views are made of a specimen: the enrolment grid, S1's 900 images, one natural-looking radiograph."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from boneprint.drr.attenuation import bone_mu_per_mm, mass_attenuation, materials, mu_per_mm
from boneprint.drr.detector import expose
from boneprint.drr.parallel import project, view_width
from boneprint.nouns import Canvas, Radiograph, Volume, canvas_for

# A view every 10 degrees all the way round: no probe is further than 5 degrees from an enrolled view about the axis.
ENROLMENT_ANGLES = tuple(float(a) for a in range(0, 360, 10))
ENROLMENT_KEV = 60.0

# S1, "Data": 15 x 15 rotations of -21..21 degrees, four energies, 400 x 800 pixels, Gaussian blur of sigma 1.0.
S1_ANGLES = tuple(float(a) for a in range(-21, 22, 3))
S1_KEV = (140.0, 146.0, 152.0, 158.0)
S1_SIZE = (800, 400)
S1_BLUR = 1.0
S1_IMAGES = len(S1_ANGLES) ** 2 * len(S1_KEV)


def canvas_of(specimen: Volume, *, long: bool) -> Canvas:
    """The canvas for an upright specimen: it holds every view, unless the specimen is larger than the largest."""
    step = float(specimen.spacing_mm[0])
    return canvas_for(specimen.hu.shape[0] * step, view_width(specimen.hu.shape) * step, long=long)


def enrolment_views(specimen: Volume, source: str) -> list[Radiograph]:
    """What is enrolled of an isolated, upright specimen: bone beyond soft tissue, from every side.

    Returns
    -------
    one Radiograph for each of ``ENROLMENT_ANGLES``; pixels are line integrals at 60 keV
    """
    step = float(specimen.spacing_mm[0])
    views = project(bone_mu_per_mm(specimen.hu, ENROLMENT_KEV), step, ENROLMENT_ANGLES)
    return [Radiograph(view, step, _named(angle), source) for view, angle in zip(views, ENROLMENT_ANGLES)]


def enrolment_view(specimen: Volume, angle_deg: float, source: str) -> Radiograph:
    """One enrolled view, made again."""
    step = float(specimen.spacing_mm[0])
    (view,) = project(bone_mu_per_mm(specimen.hu, ENROLMENT_KEV), step, [angle_deg])
    return Radiograph(view, step, _named(angle_deg), source)


def _named(angle_deg: float) -> str:
    return f"axis {angle_deg:03.0f}"


def natural_radiograph(
    specimen: Volume, *, angle_deg: float, in_plane_deg: float, seed: int, source: str, kev: float = ENROLMENT_KEV
) -> Radiograph:
    """A single radiograph of everything in an upright volume, soft tissue too, as a detector might record it.

    Parameters
    ----------
    specimen : upright, with whatever surrounds the bone
    angle_deg : about the long axis, 0 = AP, 90 = ML
    in_plane_deg : of the picture, counter-clockwise
    seed : of exposure, blur, scatter and noise
    """
    step = float(specimen.spacing_mm[0])
    (view,) = project(mu_per_mm(specimen.hu, kev), step, [angle_deg])
    turned = ndimage.rotate(view, in_plane_deg, order=1, reshape=True)
    return Radiograph(expose(np.maximum(turned, 0), step, seed=seed), step, f"natural {angle_deg:+g}", source)


def s1_images(specimen: Volume, *, long: bool, source: str) -> Iterator[Radiograph]:
    """The 900 joined images of S1, one after the other: (800, 800), AP on the left, ML on the right, 0..1, bone bright.

    Two materials are projected once for each of the 30 directions; energies and rotations in the plane are made from
    those.

    References
    ----------
    Cavojska et al., Commun. Biol. 3:337, 2020 (S1).
    """
    step = float(specimen.spacing_mm[0])
    canvas = canvas_of(specimen, long=long)
    height, width = S1_SIZE
    pitch = max(canvas.height_mm / height, canvas.width_mm / width)
    parts = materials(specimen.hu)
    directions = [angle + turn for angle in S1_ANGLES for turn in (0.0, 90.0)]
    paths = np.stack([project(part, step, directions) for part in parts], axis=1)
    coefficients = [mass_attenuation(kev) for kev in S1_KEV]
    for number, axis in enumerate(S1_ANGLES):
        for in_plane in S1_ANGLES:
            # (AP or ML, material, 800, 400), g/cm2
            turned = np.stack(
                [
                    [_on_canvas(path, step / pitch, in_plane) for path in pair]
                    for pair in paths[2 * number : 2 * number + 2]
                ]
            )
            for kev, weights in zip(S1_KEV, coefficients):
                integral = weights[0] * turned[:, 0] + weights[1] * turned[:, 1]
                halves = ndimage.gaussian_filter(1 - np.exp(-integral), (0, S1_BLUR, S1_BLUR))
                name = f"axis{axis:+03.0f}_plane{in_plane:+03.0f}_kev{kev:.0f}"
                yield Radiograph(np.concatenate(list(halves), axis=1), pitch, name, source)


def _on_canvas(path: NDArray[np.float32], scale: float, in_plane_deg: float) -> NDArray[np.float32]:
    """Rotate about the centre, scale, and pad or cut to S1's 400 x 800, in one interpolation."""
    height, width = S1_SIZE
    angle = np.deg2rad(in_plane_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    offset = (np.array(path.shape) - 1) / 2 - turn @ np.array([(height - 1) / 2, (width - 1) / 2])
    return np.asarray(ndimage.affine_transform(path, turn, offset, (height, width), order=1))
