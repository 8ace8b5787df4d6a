"""The fingerprint network: one view in, one unit vector out."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from boneprint.embed.finder import GLANCES, Finder, Glance, place
from boneprint.embed.norms import FormNorm, is_tall
from boneprint.embed.preprocess import CHANNELS, MARGIN

# (H, W) of the last feature map, for the two forms of canvas: a sixteenth of their pixels.
_TALL, _SQUARE = (12, 6), (9, 9)


class _Residual(nn.Module):
    """Two 3 x 3 convolutions with a shortcut (He et al., CVPR 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = FormNorm(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = FormNorm(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), FormNorm(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.first_norm(self.first(x)))
        return F.relu(self.second_norm(self.second(y)) + self.shortcut(x))

    def begin_as_nothing(self) -> None:
        """Hand on what comes in, until trained to do otherwise (Goyal et al., arXiv:1706.02677, section 5.1)."""
        for norm in (self.second_norm.tall, self.second_norm.square):
            nn.init.zeros_(norm.weight)


class Compact(nn.Module):
    """A finder, and a residual network of 2.5 M parameters that keeps where things are.

    The last feature map is flattened before the dimension reduction: averaging it away would lose the proportions that
    tell two bones apart. Each form of canvas has a reduction of its own, all else is shared.

    Input (N, CHANNELS, H, W) as ``preprocess`` makes it; output (N, dimension), unit rows.

    Parameters
    ----------
    depth : residual blocks of each of the three resolutions

    Attributes
    ----------
    glances : a bone is looked at so often, each time a little beside its place, and the fingerprint is the direction of
        the sum. What the finder is out by, and what lies between the network's strides, is averaged away; nothing of it
        is trained. As the crops of A. Krizhevsky et al., "ImageNet classification with deep convolutional neural
        networks", NeurIPS 2012, section 4.1
    """

    def __init__(
        self, dimension: int = 128, depth: int = 3, widths: tuple[int, ...] = (16, 32, 64, 144), neck: int = 64
    ) -> None:
        super().__init__()
        self.dimension, self.depth = dimension, depth
        self.glances: tuple[Glance, ...] = GLANCES
        self.finder = Finder(CHANNELS)
        self.stem = nn.Conv2d(CHANNELS + 1, widths[0], 5, 2, 2, bias=False)
        self.stem_norm = FormNorm(widths[0])
        stages: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            stages += [_Residual(inputs, outputs, 2), *(_Residual(outputs, outputs, 1) for _ in range(depth - 1))]
        stages += [nn.Conv2d(widths[-1], neck, 1, bias=False), FormNorm(neck), nn.ReLU()]
        self.stages = nn.Sequential(*stages)
        self.reduce_tall = nn.Linear(neck * _TALL[0] * _TALL[1], dimension)
        self.reduce_square = nn.Linear(neck * _SQUARE[0] * _SQUARE[1], dimension)

    def deepened(self, depth: int) -> "Compact":
        """The same function by a network of more blocks: what is added begins as nothing, and can be trained."""
        deeper = Compact(self.dimension, depth)
        deeper.glances = self.glances
        for name, module in self.named_children():
            if name != "stages":
                deeper.get_submodule(name).load_state_dict(module.state_dict())
        own = iter(self.stages)
        for number, module in enumerate(deeper.stages):
            if isinstance(module, _Residual) and number % depth >= self.depth:
                module.begin_as_nothing()
            else:
                module.load_state_dict(next(own).state_dict())
        return deeper

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embed (N, CHANNELS, H, W) frames: (N, dimension) unit rows."""
        return self.embed(self.placed(x))

    def find_and_embed(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Fingerprints by one straight look, and the finder's log odds (N, 1, H / 2, W / 2), for training both."""
        marked = self.finder(x)
        return self.embed(place(x, marked, _canvas(x))), marked

    def placed(self, x: torch.Tensor) -> torch.Tensor:
        """What is looked at: (G, N, CHANNELS + 1, H, W), the canvas at every glance."""
        return place(x, self.finder(x), _canvas(x), self.glances)

    def embed(self, canvases: torch.Tensor) -> torch.Tensor:
        """Embed (G, N, CHANNELS + 1, H, W) canvases with the bone in its place: (N, dimension) unit rows."""
        each = [self.reduced(self.features(glance)).float() for glance in canvases]
        return F.normalize(torch.stack(each).sum(dim=0), dim=1)

    def features(self, canvases: torch.Tensor) -> torch.Tensor:
        """The last feature map of (N, CHANNELS + 1, H, W) canvases: (N, C, h, w)."""
        x = self.stages(F.relu(self.stem_norm(self.stem(canvases))))
        return F.adaptive_avg_pool2d(x, _TALL if is_tall(canvases) else _SQUARE)

    def reduced(self, features: torch.Tensor) -> torch.Tensor:
        """Fingerprints (N, dimension) before they are normalised: all that follows the feature map is linear."""
        reduce = self.reduce_tall if features.shape[2:] == _TALL else self.reduce_square
        vectors: torch.Tensor = reduce(features.flatten(1))
        return vectors


def _canvas(frames: torch.Tensor) -> tuple[int, int]:
    return frames.shape[2] - 2 * MARGIN, frames.shape[3] - 2 * MARGIN
