"""S1's 900 images on a torch device: the same as `s1`, without leaving it."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, grid_sample

from boneprint.drr import s1
from boneprint.drr.tensor import TensorAbsorber, turntable
from boneprint.nouns import Canvas


@dataclass(frozen=True, eq=False)
class JoinedTensors:
    """One turn about the axis with all turns in the plane.

    ``pictures`` is (15, 4, 800, 800) float32 in the order of ``s1.ANGLES_DEG`` and ``s1.ENERGIES``: the absorbed share
    0..1, bone bright.
    """

    axis_deg: float
    pictures: Tensor


def joined_images(body: TensorAbsorber, canvas: Canvas) -> Iterator[JoinedTensors]:
    """The 900 images in 15 batches of 60, on the body's device.

    Parameters
    ----------
    body : soft tissue and bone of an upright specimen in its own axes (`upright.own_axes`)
    canvas : the field of view
    """
    detector = s1.frame(canvas)
    device = body.values.device
    weights = torch.from_numpy(s1.weights_per_mm()).to(device)
    blur = torch.from_numpy(s1.blur_weights()).to(device)
    half = len(blur) // 2
    places = _places(detector.rows, detector.columns, device)
    for axis in s1.ANGLES_DEG:
        paths = turntable(body, [axis + side for side in s1.SIDES_DEG], detector)[:, :2]
        absorbed = -torch.expm1(-torch.einsum("em,smhw->sehw", weights, paths))
        absorbed = conv2d(absorbed.flatten(0, 1)[:, None], blur[None, None, None, :], padding=(0, half))
        absorbed = conv2d(absorbed, blur[None, None, :, None], padding=(half, 0))
        sides = absorbed.reshape(len(s1.SIDES_DEG), len(s1.ENERGIES), detector.rows, detector.columns)
        turned = [
            grid_sample(side.expand(len(places), *side.shape), places, padding_mode="zeros", align_corners=False)
            for side in sides
        ]
        yield JoinedTensors(axis, torch.cat(turned, dim=-1))


def _places(rows: int, columns: int, device: torch.device) -> Tensor:
    """(15, 800, 400, 2): where in a picture of that size each pixel of each turn lies, x and y in -1..1."""
    angles = torch.deg2rad(torch.tensor(s1.ANGLES_DEG, dtype=torch.float64))[:, None, None]
    down = torch.arange(s1.ROWS, dtype=torch.float64)[:, None] - (s1.ROWS - 1) / 2
    right = torch.arange(s1.COLUMNS, dtype=torch.float64) - (s1.COLUMNS - 1) / 2
    x = torch.cos(angles) * right - torch.sin(angles) * down
    y = torch.sin(angles) * right + torch.cos(angles) * down
    return torch.stack([x, y], dim=-1).mul(2 / torch.from_numpy(np.array([columns, rows]))).float().to(device)
