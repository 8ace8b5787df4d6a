"""Where in the frame the bone is: a small network marks its pixels, and the frame is moved by what it marked.

Rules cannot tell a thin limb from a wide bone; a network that was shown thousands of limbs can. The mark is also given
to the fingerprint network: the silhouette of the bone, whatever surrounds it.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn

from boneprint.embed.norms import FormNorm
from boneprint.embed.preprocess import direction, turned

# Stray marks lie beyond the bone's ends, where a limb or the picture ends; they are faint and few. Chosen on
# calibration bones with half-trained weights: ML rank 1 among 40 rose from 57 to 65-70 %.
_SURE = 0.7  # from this mark on a pixel counts
_SHARE = 0.03  # of what counts may lie beyond either end of the extent
# What is marked apart from the bone is no bone: the end of a limb, mostly. Of upper ends of femora in limbs (benchmark
# `carry_over`, seed 31) 79 instead of 74 % came first by AP without it. Pieces of a broken bone are larger.
_ISLAND = 0.25  # of the largest piece
_RIM = 2  # pixels around an island that belong to it


class Finder(nn.Module):
    """A U-shaped network at half the frame's size (Ronneberger et al., MICCAI 2015), of 34,000 parameters.

    Input (N, C, H, W); output (N, 1, H / 2, W / 2), log odds that a pixel shows the bone.
    """

    def __init__(self, channels: int, widths: tuple[int, int, int] = (8, 16, 32)) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.fine = _Stage(channels, fine)
        self.middle = nn.Sequential(_Stage(fine, middle, 2), _Stage(middle, middle))
        self.coarse = nn.Sequential(_Stage(middle, coarse, 2), _Stage(coarse, coarse), _Stage(coarse, coarse))
        self.up = _Stage(coarse + middle, middle)
        self.out = nn.Conv2d(middle + fine, 1, 3, 1, 1)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Mark the bone."""
        fine = self.fine(F.avg_pool2d(frames, 2))
        middle = self.middle(fine)
        up = self.up(torch.cat([_larger(self.coarse(middle), middle), middle], dim=1))
        marked: torch.Tensor = self.out(torch.cat([_larger(up, fine), fine], dim=1))
        return marked


class _Stage(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm = FormNorm(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.conv(x)))


def _larger(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="nearest")


class Glance(NamedTuple):
    """How far beside its place a bone is looked at: turned in the plane, and moved by pixels of the canvas."""

    lean_deg: float
    down_px: float
    right_px: float


STRAIGHT = Glance(0.0, 0.0, 0.0)
# More of them find little more, and each costs the network once more.
GLANCES = (STRAIGHT, Glance(1.5, 3.0, 3.0), Glance(-1.5, -3.0, -3.0))


@torch.no_grad()
def place(
    frames: torch.Tensor, marked: torch.Tensor, size: tuple[int, int], glances: Sequence[Glance] = (STRAIGHT,)
) -> torch.Tensor:
    """Turn the marked bone upright, put the middle of its extent in the middle, and cut the canvas out.

    Parameters
    ----------
    frames : (N, C, H, W)
    marked : (N, 1, H / 2, W / 2), log odds
    size : of the canvas in pixels
    glances : G of them

    Returns
    -------
    (G, N, C + 1, *size) float32; the last channel is the mark, 0..1
    """
    mark = _without_islands(torch.sigmoid(marked.float()))
    weight = ((mark[:, 0] - _SURE) / (1 - _SURE)).clamp(min=0) + 1e-6
    lean, (cy, cx) = direction(weight)
    upright = turned(weight[:, None], lean, (cy, cx), (weight.shape[1], weight.shape[2]))[:, 0]
    # From the centre of the mark to the middle of its extent, in the turned picture.
    down, right = (_middle(upright.sum(dim=dim)) - (upright.shape[3 - dim] - 1) / 2 for dim in (2, 1))
    c, s = torch.cos(lean), torch.sin(lean)
    whole = torch.cat(
        [frames.float(), F.interpolate(mark, scale_factor=2, mode="bilinear", align_corners=False)], dim=1
    )
    canvases = []
    for glance in glances:
        # A pixel of the mark covers two of the frame.
        v, u = 2 * down + glance.down_px, 2 * right + glance.right_px
        row, column = 2 * cy - s * u + c * v + 0.5, 2 * cx + c * u + s * v + 0.5
        canvases.append(turned(whole, lean + math.radians(glance.lean_deg), (row, column), size))
    return torch.stack(canvases)


def _without_islands(mark: torch.Tensor) -> torch.Tensor:
    """Marks (N, 1, h, w), 0..1, less what lies apart from the bone and is much smaller."""
    marked = (mark[:, 0] > 0.5).cpu().numpy()
    kept = np.ones_like(marked)
    for number, each in enumerate(marked):
        pieces, count = ndimage.label(each, np.ones((3, 3)))
        if count > 1:
            areas = np.bincount(pieces.ravel())
            areas[0] = 0
            islands = (areas < _ISLAND * areas.max())[pieces] & each
            kept[number] = ~ndimage.binary_dilation(islands, iterations=_RIM) | (each & ~islands)
    return mark * torch.from_numpy(kept[:, None]).to(mark)


def _middle(profile: torch.Tensor) -> torch.Tensor:
    """Middle between the places where (N, L) profiles have spent ``_SHARE`` and all but that of their sum: (N,)."""
    share = profile / profile.sum(dim=1, keepdim=True)
    before = share.cumsum(dim=1) - share
    ends = [((end - before) / share.clamp(min=1e-12)).clamp(0, 1).sum(dim=1) - 0.5 for end in (_SHARE, 1 - _SHARE)]
    return (ends[0] + ends[1]) / 2
