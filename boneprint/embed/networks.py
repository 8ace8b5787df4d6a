"""Fingerprint networks: one view in, one unit vector out."""

import torch
import torch.nn.functional as F
from torch import nn

from boneprint.embed.preprocess import CHANNELS


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


class Compact(nn.Module):
    """Residual network of 1.4 M parameters that keeps where things are.

    A 6 x 3 grid of pooled features is flattened before the dimension reduction: averaging it away would lose the
    proportions that tell two bones apart.

    Input (N, CHANNELS, H, W) as ``preprocess`` makes it; output (N, dimension), unit rows.
    """

    def __init__(self, dimension: int = 128, widths: tuple[int, ...] = (24, 48, 96, 160)) -> None:
        super().__init__()
        self.stem = nn.Conv2d(CHANNELS, widths[0], 5, 2, 2, bias=False)
        self.stem_norm = nn.BatchNorm2d(widths[0])
        stages: list[nn.Module] = []
        inputs = widths[0]
        for number, outputs in enumerate(widths):
            stages.append(_Residual(inputs, outputs, 1 if number == 0 else 2))
            inputs = outputs
        stages.append(_Residual(inputs, inputs, 1))
        self.stages = nn.Sequential(*stages)
        self.reduce = nn.Linear(inputs * 18, dimension)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embed (N, CHANNELS, H, W) pictures: (N, dimension) unit rows."""
        x = F.relu(self.stem_norm(self.stem(x)))
        x = F.max_pool2d(x, 3, 2, 1)
        x = self.stages(x)
        x = F.adaptive_avg_pool2d(x, (6, 3)).flatten(1)
        return F.normalize(self.reduce(x).float(), dim=1)
