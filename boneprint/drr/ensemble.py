"""One view each of many small bodies at once: what training looks at.

A GPU follows the rays of all views in one kernel; a CPU takes one body after the other through `shear_warp`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boneprint.drr import shear_warp
from boneprint.drr.absorber import Absorber
from boneprint.drr.attenuation import bone_mu_per_mm
from boneprint.drr.energy import KeV
from boneprint.drr.geometry import Rays

# Bone of 3,071 HU, the most that 12 bits hold, absorbs 0.068 / mm beyond soft tissue at 60 keV.
_MU_PER_LEVEL = 0.08 / 32767


@dataclass(frozen=True, eq=False)
class Miniature:
    """An isolated bone on a coarse grid, in its own upright axes.

    Parameters
    ----------
    levels : (Z, Y, X) int16; 0 is air, 1 what absorbs no more than soft tissue inside the bone, above: bone
    affine : (4, 4), voxel coordinates x, y, z to mm in the bone's own axes (x to the left, y to the back, z up)
    """

    levels: NDArray[np.int16]
    affine: NDArray[np.float64]

    @classmethod
    def of(cls, hu: NDArray[np.generic], affine: NDArray[np.float64], energy: KeV, *, air_hu: float) -> "Miniature":
        """From Hounsfield units; what lies below ``air_hu`` is air."""
        mu = bone_mu_per_mm(hu, energy)
        levels = np.rint(np.minimum(mu / _MU_PER_LEVEL, 32766)).astype(np.int16) + 1
        return cls(np.where(np.asarray(hu) < air_hu, 0, levels).astype(np.int16), affine)

    @property
    def step_mm(self) -> float:
        """The finest spacing of the grid."""
        return float(np.linalg.norm(self.affine[:3, :3], axis=0).min())


@dataclass(frozen=True, eq=False)
class Looks:
    """N views, each of another body.

    Parameters
    ----------
    axes : (N, 3, 3), rows are image right, image down and beam, unit vectors in the body's own axes
    centre_mm : (N, 3), where the central ray passes
    pixel_mm : (N,) pitch in the plane of the centre
    nearness : (N,) 1 / mm, the inverse of the distance from the source to the centre; 0 with parallel rays
    """

    axes: NDArray[np.float64]
    centre_mm: NDArray[np.float64]
    pixel_mm: NDArray[np.float64]
    nearness: NDArray[np.float64]

    def rays(self, number: int, rows: int, columns: int) -> Rays:
        """The rays of one view, with the detector twice as far from the source as the centre, or at it."""
        right, down, beam = self.axes[number]
        centre, pixel, nearness = self.centre_mm[number], self.pixel_mm[number], self.nearness[number]
        source, reach = None, 1.0
        if nearness > 0:
            source, reach = centre - beam / nearness, 2.0
        middle = centre if source is None else source + reach * (centre - source)
        column_step, row_step = reach * pixel * right, reach * pixel * down
        first = middle - (columns - 1) / 2 * column_step - (rows - 1) / 2 * row_step
        return Rays(source, beam, first, column_step, row_step, rows, columns)


class Ensemble:
    """Bodies that are looked at again and again, kept on the device that renders them."""

    def __init__(self, bodies: Sequence[Miniature], device: torch.device | str = "cpu") -> None:
        self.bodies = bodies
        self.device = torch.device(device)
        if self.device.type != "cuda":
            return
        self._shapes = np.array([body.levels.shape for body in bodies])
        sizes = self._shapes.prod(axis=1)
        self._starts = np.cumsum(sizes) - sizes
        self._levels = torch.empty(int(sizes.sum()), dtype=torch.int16, device=self.device)
        for body, start in zip(bodies, self._starts.tolist()):
            self._levels[start : start + body.levels.size] = torch.from_numpy(body.levels.reshape(-1))
        self._affines = np.stack([body.affine for body in bodies])
        self._steps = np.array([body.step_mm for body in bodies])

    def project(self, members: NDArray[np.int64], looks: Looks, rows: int, columns: int) -> Tensor:
        """Look at some bodies once each.

        Parameters
        ----------
        members : (N,) number of the body of each view

        Returns
        -------
        (N, 2, rows, columns) float32 on the ensemble's device
            Line integrals of bone beyond soft tissue, and mm inside the bone's outer surface.
        """
        if self.device.type == "cuda":
            return self._march(members, looks, rows, columns)
        views = np.empty((len(members), 2, rows, columns), dtype=np.float32)
        for number, member in enumerate(members):
            body = self.bodies[member]
            # Level 1 is the inside: it counts as thickness, and as 2.4e-6 / mm of bone.
            channels = np.stack([body.levels, (body.levels > 0).astype(np.int16)])
            absorber = Absorber.of_levels(channels, np.array([_MU_PER_LEVEL, 1.0], dtype=np.float32), body.affine)
            views[number] = shear_warp.project(absorber, looks.rays(number, rows, columns))
        return torch.from_numpy(views)

    def _march(self, members: NDArray[np.int64], looks: Looks, rows: int, columns: int) -> Tensor:
        from boneprint.drr import ensemble_kernel

        affines, shapes, steps = self._affines[members], self._shapes[members], self._steps[members]
        to_voxels = np.linalg.inv(affines)[:, [2, 1, 0]]  # z, y, x
        ways = looks.axes @ to_voxels[:, :, :3].transpose(0, 2, 1)
        centres = np.einsum("nij,nj->ni", to_voxels[:, :, :3], looks.centre_mm) + to_voxels[:, :, 3]
        numbers = np.stack([looks.pixel_mm, looks.nearness, steps], axis=1)
        lines = np.concatenate([centres, ways.reshape(len(members), 9), numbers], axis=1).astype(np.float32)
        grids = np.concatenate([self._starts[members, None], shapes], axis=1)
        # From end to end of each grid's box along the beam, about the central ray's place.
        beam = looks.axes[:, 2]
        edges = affines[:, :3, :3] * shapes[:, None, ::-1]
        half = 0.5 * np.abs(np.einsum("nji,nj->ni", edges, beam)).sum(axis=1)
        voxel = (shapes[:, ::-1] - 1) / 2
        middle = np.einsum("nij,nj->ni", affines[:, :3, :3], voxel) + affines[:, :3, 3] - looks.centre_mm
        reach = half + np.abs((middle * beam).sum(axis=1))
        deep = int((2 * reach / steps).max()) + 2
        to = self.device
        integrals = ensemble_kernel.march(
            self._levels, torch.from_numpy(grids).to(to), torch.from_numpy(lines).to(to), rows, columns, deep
        )
        integrals[:, 0] *= _MU_PER_LEVEL
        return integrals
