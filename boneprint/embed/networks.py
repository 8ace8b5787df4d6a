"""The fingerprint network: one view in, one unit vector out."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from boneprint.embed.finder import GLANCES, Finder, Glance, Leveller, Lie, cut_out, lie_of_mark, tidied, with_mark
from boneprint.embed.preprocess import CHANNELS, is_tall


class Form(NamedTuple):
    """What a branch of the network looks at: a bone in its place, in pixels, and the last feature map of that."""

    look: tuple[int, int]
    grid: tuple[int, int]
    levelled: bool


# A tall canvas is looked at whole. Of a square one the middle ten elevenths are: of 100 hip bones of the benchmark's
# seed 31, 7 reach beyond them, by 3 % of the canvas at either end at most, and no vertebra. As no shaft shows where up
# is, how the bone lies is learnt.
TALL: Final = Form((192, 96), (12, 6), levelled=False)
SQUARE: Final = Form((160, 160), (10, 10), levelled=True)


class _Residual(nn.Module):
    """Two 3 x 3 convolutions with a shortcut (He et al., CVPR 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(y)) + self.shortcut(x))

    def begin_as_nothing(self) -> None:
        """Hand on what comes in, until trained to do otherwise (Goyal et al., arXiv:1706.02677, section 5.1)."""
        nn.init.zeros_(self.second_norm.weight)


class Branch(nn.Module):
    """What looks at one form of canvas: a finder, and a residual network that keeps where things are.

    The last feature map is flattened before the dimension reduction: averaging it away would lose the proportions that
    tell two bones apart.

    A bone is looked at more than once, each time a little beside its place (its *glances*), and the fingerprint is the
    direction of the sum. What the finder is out by, and what lies between the network's strides, is averaged away;
    nothing of it is trained. As the crops of A. Krizhevsky et al., "ImageNet classification with deep convolutional
    neural networks", NeurIPS 2012, section 4.1.
    """

    def __init__(self, form: Form, dimension: int, depth: int, widths: tuple[int, ...], neck: int) -> None:
        super().__init__()
        self.form = form
        self.finder = Finder(CHANNELS, overview=form.levelled)
        self.leveller = Leveller(CHANNELS + 1, form.look) if form.levelled else None
        self.stem = nn.Conv2d(CHANNELS + 1, widths[0], 5, 2, 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        stages: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            stages += [_Residual(inputs, outputs, 2), *(_Residual(outputs, outputs, 1) for _ in range(depth - 1))]
        stages += [nn.Conv2d(widths[-1], neck, 1, bias=False), nn.BatchNorm2d(neck), nn.ReLU()]
        self.stages = nn.Sequential(*stages)
        self.reduce = nn.Linear(neck * form.grid[0] * form.grid[1], dimension)

    def forward(self, x: torch.Tensor, glances: Sequence[Glance] = GLANCES) -> torch.Tensor:
        """Embed (N, CHANNELS, H, W) frames: (N, dimension) unit rows."""
        return self.embed(self.placed(x, glances))

    def placed(self, x: torch.Tensor, glances: Sequence[Glance] = GLANCES) -> torch.Tensor:
        """What is looked at: (G, N, CHANNELS + 1, *look), the bone in its place at every glance."""
        mark = tidied(self.finder(x))
        pictures = with_mark(x, mark)
        return cut_out(pictures, self.lies(pictures, mark)[-1], self.form.look, glances)

    def lies(self, pictures: torch.Tensor, mark: torch.Tensor) -> list[Lie]:
        """How the marked bone lies in frames `with_mark`: a first guess, and better ones."""
        found = [lie_of_mark(mark, turn=not self.form.levelled)]
        if self.leveller is not None:
            for _ in range(Leveller.ROUNDS):
                (canvas,) = cut_out(pictures, found[-1], self.form.look)
                found.append(found[-1].detached().moved(self.leveller(canvas)))
        return found

    def embed(self, canvases: torch.Tensor) -> torch.Tensor:
        """Embed (G, N, CHANNELS + 1, *look) canvases with the bone in its place: (N, dimension) unit rows."""
        each = [self.reduced(self.features(glance)).float() for glance in canvases]
        return F.normalize(torch.stack(each).sum(dim=0), dim=1)

    def features(self, canvases: torch.Tensor) -> torch.Tensor:
        """The last feature map of (N, CHANNELS + 1, H, W) canvases: (N, C, *grid)."""
        x = self.stages(F.relu(self.stem_norm(self.stem(canvases))))
        return F.adaptive_avg_pool2d(x, self.form.grid)

    def reduced(self, features: torch.Tensor) -> torch.Tensor:
        """Fingerprints (N, dimension) before they are normalised: all that follows the feature map is linear."""
        vectors: torch.Tensor = self.reduce(features.flatten(1))
        return vectors


class Compact(nn.Module):
    """Two branches of 1.9 and 2.3 million parameters, one for each form of canvas; nothing is shared between them.

    Input (N, CHANNELS, H, W) as ``preprocess`` makes it; output (N, dimension), unit rows.

    Parameters
    ----------
    depth : residual blocks of each of the three resolutions
    """

    def __init__(
        self, dimension: int = 128, depth: int = 3, widths: tuple[int, ...] = (16, 32, 64, 144), neck: int = 64
    ) -> None:
        super().__init__()
        self.dimension, self.depth = dimension, depth
        self.tall = Branch(TALL, dimension, depth, widths, neck)
        self.square = Branch(SQUARE, dimension, depth, widths, neck)

    def branches(self) -> tuple[Branch, Branch]:
        """Both, the tall one first."""
        return self.tall, self.square

    def branch(self, frames: torch.Tensor) -> Branch:
        """The one that looks at frames (..., H, W) of this form."""
        return self.tall if is_tall(frames) else self.square

    def forward(self, x: torch.Tensor, glances: Sequence[Glance] = GLANCES) -> torch.Tensor:
        """Embed (N, CHANNELS, H, W) frames: (N, dimension) unit rows."""
        vectors: torch.Tensor = self.branch(x)(x, glances)
        return vectors

    def deepened(self, depth: int) -> "Compact":
        """The same function by a network of more blocks: what is added begins as nothing, and can be trained."""
        deeper = Compact(self.dimension, depth)
        for old, new in zip(self.branches(), deeper.branches()):
            for name, module in old.named_children():
                if name != "stages":
                    new.get_submodule(name).load_state_dict(module.state_dict())
            own = iter(old.stages)
            for number, module in enumerate(new.stages):
                if isinstance(module, _Residual) and number % depth >= self.depth:
                    module.begin_as_nothing()
                else:
                    module.load_state_dict(next(own).state_dict())
        return deeper
