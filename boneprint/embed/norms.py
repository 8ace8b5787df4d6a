"""Batch normalisation for pictures of two forms, and what is left of it after training."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class FormNorm(nn.Module):
    """Batch normalisation (Ioffe and Szegedy, ICML 2015) with statistics of its own for tall and for square pictures.

    A batch holds one form only, as the canvases do; one set of running statistics would suit neither.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.tall = nn.BatchNorm2d(channels)
        self.square = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise (N, C, H, W)."""
        normed: torch.Tensor = (self.tall if is_tall(x) else self.square)(x)
        return normed


def is_tall(pictures: torch.Tensor) -> bool:
    """Whether (N, C, H, W) pictures, or feature maps of them, are of the tall form: more than 5 : 4."""
    return 4 * pictures.shape[2] > 5 * pictures.shape[3]


class FormConv(nn.Module):
    """A convolution and the normalisation behind it in one, as they are once training is over."""

    def __init__(self, convolution: nn.Conv2d, norm: FormNorm) -> None:
        super().__init__()
        self.tall = fuse_conv_bn_eval(convolution, norm.tall)
        self.square = fuse_conv_bn_eval(convolution, norm.square)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve and normalise (N, C, H, W)."""
        done: torch.Tensor = (self.tall if is_tall(x) else self.square)(x)
        return done


def fold(network: nn.Module) -> None:
    """Make one of every convolution and the `FormNorm` behind it, in evaluation mode: the same function, faster."""
    children = list(network.named_children())
    for (name, module), (next_name, follower) in pairwise(children):
        if isinstance(module, nn.Conv2d) and isinstance(follower, FormNorm):
            setattr(network, name, FormConv(module, follower))
            setattr(network, next_name, nn.Identity())
    for _, module in children:
        fold(module)
