"""The convolutions of VGG-16, named as torchvision names them, so that published weights load."""

import torch
import torch.nn.functional as F
from torch import nn

# Configuration D of the paper: channels of each 3 x 3 convolution; None halves the picture.
_LAYERS = (64, 64, None, 128, 128, None, 256, 256, 256, None, 512, 512, 512, None, 512, 512, 512, None)
_GRID = 7


class Vgg16(nn.Module):
    """VGG-16 as far as its first linear layer: (N, 3, H, W) to (N, 25088), for any H and W of at least 32.

    Features are pooled to a grid of 7 x 7, which is what a picture of 224 x 224 gives without pooling.

    References
    ----------
    K. Simonyan, A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015. Its
    first weights: K. He et al., "Delving deep into rectifiers", ICCV 2015.
    """

    out_features = 512 * _GRID**2

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 3
        for outputs in _LAYERS:
            if outputs is None:
                layers.append(nn.MaxPool2d(2, 2))
                continue
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
            layers += [convolution, nn.ReLU(inplace=True)]
            inputs = outputs
        self.features = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Features of each place of a 7 x 7 grid: (N, 25088)."""
        return F.adaptive_avg_pool2d(self.features(x), _GRID).flatten(1)
