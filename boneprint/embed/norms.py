"""Batch normalisation for pictures of two forms."""

import torch
from torch import nn


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
