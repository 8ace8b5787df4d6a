"""A radiograph: real or simulated, one kind of object for both roads."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError, ReadError


@dataclass(frozen=True, eq=False)
class Radiograph:
    """An X-ray picture, brighter where more was absorbed.

    Parameters
    ----------
    pixels : (H, W) float32
        Any positive scale; bone is bright and air is dark (MONOCHROME1 is turned round by the reader). Row 0 is
        the upper end (towards the head), column 0 is the viewer's left: in a frontal view the patient's right.
    spacing_mm : mm per (square) pixel in the plane of the bone, or None where unknown; never guessed.
    view : what is known of the direction, e.g. "AP", "ML", "axis 30"; or None.
    source : where it came from, for messages.
    notes : sentences for the user about what the reader had to do or cannot know.
    laterality : "L" or "R" where the file names one side, else None.
    ruler_pixels : from mark to mark of a ruler that lay beside the limb, where one was found.

    Raises
    ------
    BoneprintError
        If the picture is empty, constant, not finite, or its spacing is not positive.
    """

    pixels: NDArray[np.float32]
    spacing_mm: float | None
    view: str | None = None
    source: str = "radiograph"
    notes: tuple[str, ...] = ()
    laterality: str | None = None
    ruler_pixels: float | None = None

    def __post_init__(self) -> None:
        pixels = np.ascontiguousarray(self.pixels, dtype=np.float32)
        if pixels.ndim != 2 or min(pixels.shape) < 8:
            raise BoneprintError(
                f"{self.source}: picture of shape {self.pixels.shape}, expected one grey image, at least 8 x 8."
            )
        if not np.isfinite(pixels).all():
            raise BoneprintError(f"{self.source}: NaN or infinite pixels, expected finite grey values.")
        if pixels.min() == pixels.max():
            raise BoneprintError(
                f"{self.source}: every pixel is {pixels.flat[0]:g}; expected a radiograph with something in it."
            )
        if self.spacing_mm is not None and not 0 < self.spacing_mm < float("inf"):
            raise BoneprintError(
                f"{self.source}: pixel spacing {self.spacing_mm} mm, expected a positive number or None (unknown)."
            )
        object.__setattr__(self, "pixels", pixels)

    def known_spacing_mm(self) -> float:
        """The pixel spacing.

        Raises
        ------
        ReadError
            If it is unknown.
        """
        if self.spacing_mm is None:
            raise ReadError(
                f"{self.source}: no pixel spacing in the file, needed for real-world proportions. "
                "Pass --pixel-spacing MM (pixel_spacing_mm=) as measured in the plane of the bone, or search with "
                "--any-scale."
            )
        return self.spacing_mm
