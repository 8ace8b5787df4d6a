"""A grid over the bone frame, and the smooth random fields on it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from boneprint.simulate.fields import smooth_field
from boneprint.simulate.solids import Bounds, Points

Scales = tuple[tuple[int, float], ...]


@dataclass(frozen=True, eq=False)
class Grid:
    """Axes x, y, z over a box, in fractions of the bone's length, every ``step``.

    Fields are drawn on lattices that are fixed shares of the whole box, whatever the step: a finer or coarser grid
    shows the same body.
    """

    box: Bounds
    step: float
    device: torch.device

    @property
    def axes(self) -> Points:
        """x, y, z: 1-D tensors."""
        found = (
            low + self.step * torch.arange(math.floor((high - low) / self.step) + 1, device=self.device)
            for low, high in self.box
        )
        x, y, z = found
        return x, y, z

    def beyond_walls(self, inset: float) -> torch.Tensor:
        """Signed distance (Z, Y, X) to the box made smaller by ``inset`` on every side, negative inside."""
        x, y, z = (
            torch.maximum(low + inset - axis, axis - high + inset) for axis, (low, high) in zip(self.axes, self.box)
        )
        return torch.maximum(torch.maximum(x, y[:, None]), z[:, None, None])

    def field(self, rng: np.random.Generator, points: int) -> torch.Tensor:
        """A smooth field (Z, Y, X), ``points`` control points along the longest side and as dense across.

        Its variance is 1 at the control points and less between them.
        """
        return self._smooth(torch.from_numpy(self._control(rng, points, 1)))[0]

    def warp(self, layers: Sequence[tuple[np.random.Generator, Scales]]) -> torch.Tensor:
        """Displacements (3, Z, Y, X) in fractions of the length, summed over layers and their scales."""
        lattices: dict[int, NDArray[np.float32]] = {}
        for rng, scales in layers:
            for points, amplitude in scales:
                drawn = np.float32(amplitude) * self._control(rng, points, 3)
                lattices[points] = lattices[points] + drawn if points in lattices else drawn
        summed = [self._smooth(torch.from_numpy(control)) for control in lattices.values()]
        for further in summed[1:]:
            summed[0] += further
        return summed[0]

    def _control(self, rng: np.random.Generator, points: int, channels: int) -> NDArray[np.float32]:
        # Drawn by numpy, so that every device sees the same body.
        sides = [high - low for low, high in self.box]
        nx, ny, nz = (max(2, round(points * side / max(sides))) for side in sides)
        return rng.standard_normal((channels, nz, ny, nx), dtype=np.float32)

    def _smooth(self, control: torch.Tensor) -> torch.Tensor:
        x, y, z = ((axis - low) / (high - low) for axis, (low, high) in zip(self.axes, self.box))
        return smooth_field(control.to(self.device), (z, y, x))
