"""An enrolled bone as a coarse grid: small enough to be kept with its fingerprints, fine enough to be laid over."""

import io
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from boneprint.drr import ENROLMENT_ENERGY, Absorber, bone_mu_per_mm
from boneprint.errors import ReadError
from boneprint.nouns import Volume

_MOST = 255
_HALVINGS = 3


@dataclass(frozen=True, eq=False)
class Solid:
    """A bone on the grid that its views were rendered from, upright, its middle at 0.

    Parameters
    ----------
    levels : (Z, Y, X) uint8, of what it absorbs beyond soft tissue; x to the left, y to the back, z up
    step_mm : edge of a voxel
    level_per_mm : what one level absorbs, 1 / mm at `drr.ENROLMENT_ENERGY`
    """

    levels: NDArray[np.uint8]
    step_mm: float
    level_per_mm: float

    @classmethod
    def of(cls, upright: Volume) -> "Solid":
        """From an isolated bone in Hounsfield units, as `bone.stand_up` leaves it."""
        mu = bone_mu_per_mm(upright.hu, ENROLMENT_ENERGY)
        level = max(float(mu.max()), 1e-6) / _MOST
        return cls(np.rint(mu / level).astype(np.uint8), float(upright.spacing_mm[0]), level)

    def encoded(self) -> bytes:
        """As a compressed file of numpy's (NPZ): about 70 KB for a femur; its parts carry checksums."""
        packed = io.BytesIO()
        np.savez_compressed(packed, levels=self.levels, scale=np.array([self.step_mm, self.level_per_mm]))
        return packed.getvalue()

    @classmethod
    def decoded(cls, packed: bytes | memoryview, source: str) -> "Solid":
        """Read what `encoded` wrote.

        Raises
        ------
        ReadError
            If it is damaged.
        """
        try:
            with np.load(io.BytesIO(packed), allow_pickle=False) as stored:
                levels, (step_mm, level) = stored["levels"], stored["scale"].tolist()
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ReadError(
                f"{source}: the kept grid of this bone is damaged ({error}); enrol the bone again."
            ) from error
        if levels.ndim != 3 or levels.dtype != np.uint8 or not step_mm > 0:
            raise ReadError(f"{source}: the kept grid of this bone is no (Z, Y, X) grid; enrol the bone again.")
        return cls(levels, step_mm, level)

    @property
    def size_mm(self) -> tuple[float, float, float]:
        """Extent of the grid along x, y, z."""
        z, y, x = (self.step_mm * n for n in self.levels.shape)
        return x, y, z

    @property
    def longest_mm(self) -> float:
        """The largest of the three."""
        return max(self.size_mm)

    def absorber(self, pitch_mm: float) -> Absorber:
        """Ready to be projected, in voxels not much larger than a pixel."""
        halvings = int(np.log2(max(1.0, 1.05 * pitch_mm / self.step_mm)))
        return self._absorbers[min(halvings, _HALVINGS - 1)]

    @cached_property
    def _absorbers(self) -> list[Absorber]:
        """On the grid, and on grids of twice and four times its step."""
        made = []
        grid, step = self.levels.astype(np.int16) * 64, self.step_mm
        corner = -(np.array(self.size_mm) - self.step_mm) / 2
        for _ in range(_HALVINGS):
            affine = np.diag([step, step, step, 1.0])
            affine[:3, 3] = corner + (step - self.step_mm) / 2
            scale = np.array([self.level_per_mm / 64], dtype=np.float32)
            made.append(Absorber.of_levels(grid[None], scale, affine))
            grid, step = _halved(grid), 2 * step
        return made


def _halved(grid: NDArray[np.int16]) -> NDArray[np.int16]:
    even = np.pad(grid, [(0, n % 2) for n in grid.shape])
    z, y, x = (n // 2 for n in even.shape)
    mean: NDArray[np.int16] = even.reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5), dtype=np.float32).astype(np.int16)
    return mean
