"""Bodies to render: a limb in air, the same grid without air, a sphere; and the detectors that look at them."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from boneprint.drr import Detector, KeV, Pose, mu_per_mm
from boneprint.nouns import Volume

SPACING_MM = 0.5
ENERGY = KeV(60)
# (Z, Y, X) voxels.
W1, W3 = (400, 256, 256), (800, 512, 512)

# The distances of a radiography room, and a pitch in the bone's plane at which 400 x 800 pixels just hold the body.
DISTANCES = {"source_detector_mm": 1150.0, "source_isocentre_mm": 900.0}
CONE = {
    W1: Detector(800, 400, 0.35 * 1150 / 900, **DISTANCES),
    W3: Detector(800, 400, 0.64 * 1150 / 900, **DISTANCES),
}
# Parallel views at the body's own pitch, as they are enrolled; of W3 all that 400 x 800 pixels of it hold.
PARALLEL = {W1: Detector(800, 400, 0.5), W3: Detector(800, 400, 0.5)}

POSES = (Pose(), Pose(35), Pose(90), Pose(20, 15, 10))
TURNS = (Pose(), Pose(35), Pose(90))


def affine(shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """(4, 4) of a centred grid."""
    matrix = np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0])
    matrix[:3, 3] = -(np.array(shape[::-1]) - 1) / 2 * SPACING_MM
    return matrix


def limb(shape: tuple[int, int, int], seed: int, *, air: bool = True) -> Volume:
    """A limb of 0.8 x 0.7 of the grid's width: flesh, a shaft with marrow, a knob; 15 HU of noise.

    Parameters
    ----------
    air : without it flesh goes on to the grid's faces, so that no projector can skip anything
    """
    z, y, x = (
        ((np.arange(n) - (n - 1) / 2) * 2 / n).astype(np.float32).reshape([-1 if axis == d else 1 for d in range(3)])
        for axis, n in enumerate(shape)
    )  # -1..1 along each axis
    flesh = (x / 0.8) ** 2 + (y / 0.7) ** 2 + (z / 1.2) ** 4 < 1
    across = np.hypot(x - 0.12, y + 0.08)
    shaft = (across < 0.25) & (across > 0.16) & (np.abs(z) < 0.85)
    knob = (x - 0.3) ** 2 + (y + 0.08) ** 2 + (1.56 * (z - 0.7)) ** 2 < 0.37**2
    hu = np.where(flesh, np.float32(50), np.float32(-1000 if air else 50))
    hu[shaft] = 1300
    hu[knob & ~shaft] = 450
    hu = ndimage.gaussian_filter(hu, 0.8)
    noise = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
    hu += np.where(hu > -990, 15 * noise, 0)
    return Volume(np.rint(hu).astype(np.int16), affine(shape))


def attenuation(volume: Volume) -> NDArray[np.float32]:
    """(Z, Y, X) 1/mm at ``ENERGY``, layer by layer: what every engine is given."""
    return np.stack([mu_per_mm(layer, ENERGY) for layer in volume.hu])


def sphere(shape: tuple[int, int, int], radius_mm: float) -> NDArray[np.float32]:
    """Share of every voxel that lies in a centred sphere, exact to 1/1,000 of a voxel but where it is cut obliquely."""
    z, y, x = (
        ((np.arange(n) - (n - 1) / 2) * SPACING_MM).reshape([-1 if axis == d else 1 for d in range(3)])
        for axis, n in enumerate(shape)
    )
    distance = np.sqrt(x**2 + y**2 + z**2)
    return np.clip((radius_mm - distance) / SPACING_MM + 0.5, 0, 1).astype(np.float32)
