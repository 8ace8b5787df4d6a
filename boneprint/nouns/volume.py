"""CT in Hounsfield units on a regular grid, and the scan it came from."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError

AIR_HU = -1000.0


@dataclass(frozen=True, eq=False)
class Volume:
    """HU on a regular grid.

    Parameters
    ----------
    hu : (Z, Y, X) int16 or float32, Hounsfield units
    affine : (4, 4) float64
        Maps a voxel *centre* ``(x, y, z, 1)``, in this order, to patient LPS mm (x to the patient's left,
        y to the back, z to the head, as in DICOM). Columns need not be orthogonal: a tilted gantry shears.

    Raises
    ------
    BoneprintError
        If the array is not three-dimensional, empty or holds NaN, or the affine is singular.
    """

    hu: NDArray[Any]
    affine: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.hu.ndim != 3 or self.hu.size == 0:
            raise BoneprintError(f"volume: array of shape {self.hu.shape}, expected a non-empty (Z, Y, X) grid.")
        if self.hu.dtype not in (np.int16, np.float32):
            raise BoneprintError(f"volume: voxels of type {self.hu.dtype}, expected HU as int16 or float32.")
        if self.hu.dtype == np.float32 and not np.isfinite(self.hu).all():
            raise BoneprintError("volume: NaN or infinite voxels, expected finite HU. Fill them with -1000 (air).")
        affine = np.asarray(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
            raise BoneprintError(
                "volume: the affine is singular or no finite 4 x 4 matrix; check spacing and orientation."
            )
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """Distance between neighbouring voxel centres along x, y, z: (3,) mm."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    def to_patient(self, xyz: NDArray[np.floating]) -> NDArray[np.float64]:
        """Patient LPS mm of voxel coordinates (N, 3) in x, y, z order."""
        return np.asarray(xyz @ self.affine[:3, :3].T + self.affine[:3, 3])


@dataclass(frozen=True, eq=False)
class Scan:
    """One CT as it was read: the volume and what its file says of it.

    ``source_hash`` is the SHA-256 of the content (not of names or places); ``laterality`` is "L", "R" or None;
    ``notes`` are sentences for the user about what the reader had to do; ``coarsest_mm`` is the largest distance
    between neighbouring samples as the scanner recorded them, before any resampling, or None where unknown.
    """

    volume: Volume
    source: str
    source_hash: str
    subject_id: str
    body_part: str | None = None
    laterality: str | None = None
    notes: tuple[str, ...] = field(default=())
    coarsest_mm: float | None = None
