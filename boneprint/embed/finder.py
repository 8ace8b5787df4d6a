"""Where in the frame the bone is, and how it lies: a small network marks its pixels, another one levels it.

Rules cannot tell a thin limb from a wide bone; a network that was shown thousands of limbs can. The mark is also given
to the fingerprint network: the silhouette of the bone, whatever surrounds it. A long bone is turned upright by its
mark; what has no long axis is turned and moved by what the second network has learnt of bones that were turned.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn

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
    """A U-shaped network at half the frame's size (Ronneberger et al., MICCAI 2015), of 34,000 parameters;
    56,000 with an overview.

    Input (N, C, H, W); output (N, 1, H / 2, W / 2), log odds that a pixel shows the bone.

    Parameters
    ----------
    overview : it sees the whole frame, not only what is within 36 pixels, and where in it what it sees lies: by that
        several alike are told apart, as a vertebra from those above and below it
    """

    def __init__(self, channels: int, widths: tuple[int, int, int] = (8, 16, 32), *, overview: bool = False) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.fine = _Stage(channels, fine)
        self.middle = nn.Sequential(_Stage(fine, middle, 2), _Stage(middle, middle))
        self.coarse = nn.Sequential(_Stage(middle, coarse, 2), _Stage(coarse, coarse), _Stage(coarse, coarse))
        self.overview = _Overview(coarse) if overview else nn.Identity()
        self.up = _Stage(coarse + middle, middle)
        self.out = nn.Conv2d(middle + fine, 1, 3, 1, 1)

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Mark the bone."""
        fine = self.fine(F.avg_pool2d(frames, 2))
        middle = self.middle(fine)
        first, *others = self.coarse
        coarse = self.overview(first(middle))
        for stage in others:
            coarse = stage(coarse)
        up = self.up(torch.cat([_larger(coarse, middle), middle], dim=1))
        marked: torch.Tensor = self.out(torch.cat([_larger(up, fine), fine], dim=1))
        return marked


class _Stage(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.norm(self.conv(x)))


class _Overview(nn.Module):
    """Adds to each place of a map what it takes the whole map for: nothing, until it has been taught.

    Every place has a relief of its own added first, so that it is known where it is, after R. Liu et al., "An
    intriguing failing of convolutional neural networks and the CoordConv solution", NeurIPS 2018.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.relief = nn.Parameter(0.5 * torch.randn(1, channels, 8, 8))
        self.stages = nn.Sequential(_Stage(channels, channels, 2), _Stage(channels, channels))
        self.out = nn.Conv2d(channels, channels, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        relief = F.interpolate(self.relief, size=seen.shape[2:], mode="bilinear", align_corners=True)
        return seen + _larger(self.out(self.stages(seen + relief)), seen)


def _larger(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, size=like.shape[2:], mode="nearest")


class Glance(NamedTuple):
    """How far beside its place a bone is looked at: turned in the plane, and moved by pixels of the canvas."""

    lean_deg: float
    down_px: float
    right_px: float


STRAIGHT = Glance(0.0, 0.0, 0.0)
# The views of an enrolled bone are many, and each glance costs the network once more; a radiograph comes alone. On
# calibration femora one radiograph missed 10.2 % of comparisons at a false match rate of 0.001 with one straight look
# at both, 7.3 % with two, and 7.1 % with two at views and four at radiographs, as with three at both.
VIEW_GLANCES = (Glance(1.5, 3.0, 3.0), Glance(-1.5, -3.0, -3.0))
GLANCES = (*VIEW_GLANCES, Glance(1.5, 3.0, -3.0), Glance(-1.5, -3.0, 3.0))


class Lie(NamedTuple):
    """How N bones lie in their frames: (N,) each, radians to turn back, and the middle's row and column in pixels."""

    lean: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor

    def moved(self, by: torch.Tensor) -> "Lie":
        """Further by (N, 3): radians, and pixels down and right in the picture that is turned back already."""
        turn, down, right = by.float().unbind(1)
        c, s = torch.cos(self.lean), torch.sin(self.lean)
        return Lie(self.lean + turn, self.row - s * right + c * down, self.column + c * right + s * down)

    def detached(self) -> "Lie":
        """The same, of which no slope is wanted."""
        return Lie(*(each.detach() for each in self))

    def to(self, other: "Lie") -> torch.Tensor:
        """What this one must be `moved` by to become the other: (N, 3)."""
        x, y = other.column - self.column, other.row - self.row
        c, s = torch.cos(self.lean), torch.sin(self.lean)
        return torch.stack([other.lean - self.lean, s * x + c * y, c * x - s * y], dim=1)


class Leveller(nn.Module):
    """How far a bone lies from its place: a small convolutional network that is asked twice.

    Input (N, C, *look) canvases cut out where the bone is thought to lie; output (N, 3): radians, and pixels down and
    right.
    """

    ROUNDS = 2
    _UNIT = (0.1, 6.0, 6.0)  # of the outputs: about 6 degrees, and pixels

    def __init__(self, channels: int, look: tuple[int, int], widths: tuple[int, int, int, int] = (12, 24, 32, 48)):
        super().__init__()
        self.stages = nn.Sequential(*(_Stage(a, b, 2) for a, b in pairwise((channels, *widths))))
        places = math.prod(math.ceil(side / 2 ** (1 + len(widths))) for side in look)
        self.hidden = nn.Linear(widths[-1] * places, 96)
        self.out = nn.Linear(96, 3)
        self.unit: torch.Tensor
        self.register_buffer("unit", torch.tensor(self._UNIT), persistent=False)

    def forward(self, canvases: torch.Tensor) -> torch.Tensor:
        """Ask once."""
        seen = self.stages(F.avg_pool2d(canvases, 2))
        moved: torch.Tensor = self.out(F.relu(self.hidden(seen.flatten(1)))) * self.unit
        return moved


def tidied(marked: torch.Tensor) -> torch.Tensor:
    """Marks (N, 1, h, w), 0..1, of a finder's log odds; what lies apart from the bone is left out."""
    with torch.no_grad():
        return _without_islands(torch.sigmoid(marked.float()))


@torch.no_grad()
def lie_of_mark(mark: torch.Tensor, *, turn: bool = True) -> Lie:
    """The middle of the extent of what is marked (N, 1, H / 2, W / 2) in a frame, and how far it leans.

    Parameters
    ----------
    turn : upright, where it is clearly longer than wide
    """
    weight = ((mark[:, 0] - _SURE) / (1 - _SURE)).clamp(min=0) + 1e-6
    lean, (cy, cx) = direction(weight)
    if not turn:
        lean = torch.zeros_like(lean)
    upright = turned(weight[:, None], lean, (cy, cx), (weight.shape[1], weight.shape[2]))[:, 0]
    # From the centre of the mark to the middle of its extent, in the turned picture.
    down, right = (_middle(upright.sum(dim=dim)) - (upright.shape[3 - dim] - 1) / 2 for dim in (2, 1))
    # A pixel of the mark covers two of the frame.
    return Lie(lean, 2 * cy + 0.5, 2 * cx + 0.5).moved(torch.stack([torch.zeros_like(lean), 2 * down, 2 * right], 1))


@torch.no_grad()
def with_mark(frames: torch.Tensor, mark: torch.Tensor) -> torch.Tensor:
    """Frames (N, C, H, W) with their mark (N, 1, H / 2, W / 2), 0..1, as one more channel: (N, C + 1, H, W) float32."""
    larger = F.interpolate(mark, scale_factor=2, mode="bilinear", align_corners=False)
    return torch.cat([frames.float(), larger], dim=1)


@torch.no_grad()
def cut_out(
    pictures: torch.Tensor, lie: Lie, size: tuple[int, int], glances: Sequence[Glance] = (STRAIGHT,)
) -> torch.Tensor:
    """Turn the bone upright, put its middle in the middle, and cut the canvas out.

    Parameters
    ----------
    pictures : (N, C, H, W), as ``with_mark`` makes them
    size : of the canvas in pixels
    glances : G of them

    Returns
    -------
    (G, N, C, *size)
    """
    canvases = []
    for glance in glances:
        beside = torch.tensor([[0.0, glance.down_px, glance.right_px]], device=pictures.device)
        _, row, column = lie.moved(beside)
        canvases.append(turned(pictures, lie.lean + math.radians(glance.lean_deg), (row, column), size))
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
