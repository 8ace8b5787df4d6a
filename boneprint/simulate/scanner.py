"""How a CT is taken, and what surrounds the bone meanwhile."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scanner:
    """How a CT is taken: voxel spacing x, y, z in mm, blur and noise, and what surrounds the bone.

    Parameters
    ----------
    soft_tissue_mm : mean thickness of flesh around the bone; 0 scans a dry bone in air
    blur_mm : standard deviation of the point spread
    noise_hu : standard deviation of the noise
    tilt_deg, turn_deg : standard deviations of the bone's random position on the table
    sharpening : weight of the edges that a sharp ("bone") kernel adds; 0: a smooth kernel
    hu_gain, hu_offset : how far the scanner's calibration is out
    """

    spacing_mm: tuple[float, float, float]
    soft_tissue_mm: float
    blur_mm: float
    noise_hu: float
    tilt_deg: float = 3.0
    turn_deg: float = 6.0
    sharpening: float = 0.0
    hu_gain: float = 1.0
    hu_offset: float = 0.0

    @classmethod
    def usual(cls, species: str) -> "Scanner":
        """A usual protocol for the species: about 1 mm for people, 0.3 mm for cats."""
        if species == "cat":
            return cls((0.3, 0.3, 0.4), soft_tissue_mm=8.0, blur_mm=0.2, noise_hu=18.0)
        return cls((1.0, 1.0, 1.5), soft_tissue_mm=26.0, blur_mm=0.6, noise_hu=18.0)

    @classmethod
    def drawn(cls, rng: np.random.Generator, species: str = "human") -> "Scanner":
        """Some scanner with some protocol: spacing, kernel, dose, calibration and position all differ.

        Ranges chosen by hand to hold clinical protocols (pixels 0.5-1 mm, slices 0.6-2 mm); a cat's are 0.3 of those.
        """
        scale = 0.3 if species == "cat" else 1.0
        pixel, slices = scale * rng.uniform(0.5, 1.0), scale * rng.uniform(0.6, 2.0)
        return cls(
            (float(pixel), float(pixel), float(slices)),
            soft_tissue_mm=float(scale * rng.uniform(8.0, 60.0)),
            blur_mm=float(scale * rng.uniform(0.4, 1.1)),
            noise_hu=float(rng.uniform(8.0, 35.0)),
            tilt_deg=4.0,
            turn_deg=8.0,
            sharpening=float(rng.choice([0.0, rng.uniform(0.2, 0.8)])),
            hu_gain=float(rng.normal(1.0, 0.015)),
            hu_offset=float(rng.normal(0.0, 8.0)),
        )
