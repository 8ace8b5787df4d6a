"""Networks by name: S1's two bases with its dimension reduction, published weights in them, and our compact one."""

from pathlib import Path
from typing import Final

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from boneprint.embed.networks import Compact
from boneprint.embed.preprocess import CHANNELS
from boneprint.embed.resnet import ResNet50
from boneprint.embed.vgg import Vgg16
from boneprint.errors import BoneprintError

BASES: Final[dict[str, type[Vgg16 | ResNet50]]] = {"vgg16": Vgg16, "resnet50": ResNet50}
NETWORKS: Final = ("compact", *BASES)

# Mean and deviation of ImageNet's pictures by channel (0..1), which torchvision's weights expect to be taken out.
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# What follows the convolutions in torchvision's files, and counters that the older of them lack.
_CLASSIFIERS = ("classifier.", "fc.")
_COUNTER = "num_batches_tracked"


class Reduced(nn.Module):
    """A base that others published, a linear layer to the wanted dimension, and L2 normalisation, as in S1.

    Input (N, channels, H, W), output (N, dimension), unit rows. The bases see three channels: one is repeated three
    times, of two the first is repeated after the second, three are taken as they are. ImageNet's mean and deviation are
    taken out of them where published weights are loaded, and only there.

    Parameters
    ----------
    base : "vgg16" or "resnet50"
    dimension : of the fingerprint
    channels : of the pictures, 1 to 3
    published : .safetensors, or .pth as torchvision has it; None: random weights, from torch's global seed

    References
    ----------
    J. Cavojska et al., Commun. Biol. 3:337, 2020 (S1): dimension-reducing layer and L2 normalisation on VGG-16 and
    ResNet-50.
    """

    def __init__(self, base: str, dimension: int, channels: int, published: Path | None = None) -> None:
        super().__init__()
        if not 1 <= channels <= 3:
            raise BoneprintError(f"{base} for pictures of {channels} channels, expected 1 to 3.")
        self.trunk = BASES[base]()
        self.reduce = nn.Linear(self.trunk.out_features, dimension)
        self._places = [place % channels for place in range(3)]
        mean, deviation = _IMAGENET if published else ((0.0,) * 3, (1.0,) * 3)
        self.mean: torch.Tensor
        self.deviation: torch.Tensor
        self.register_buffer("mean", torch.tensor(mean)[:, None, None])
        self.register_buffer("deviation", torch.tensor(deviation)[:, None, None])
        if published:
            load_published(self.trunk, published)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """What the base makes of (N, channels, H, W) pictures: (N, F)."""
        three = torch.stack([x[:, place] for place in self._places], dim=1)
        features: torch.Tensor = self.trunk((three - self.mean) / self.deviation)
        return features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Embed (N, channels, H, W) pictures: (N, dimension) unit rows."""
        return F.normalize(self.reduce(self.features(x)).float(), dim=1)


def network(
    name: str, *, dimension: int = 128, channels: int = CHANNELS, published: Path | None = None, depth: int = 3
) -> Compact | Reduced:
    """A network by its name, ready to be trained.

    Parameters
    ----------
    name : one of ``NETWORKS``
    channels : of the pictures; the compact network takes what ``preprocess`` makes
    published : a local file of ImageNet weights for the base; the compact network has none
    depth : of the compact network

    Raises
    ------
    BoneprintError
        For an unknown name, what the network cannot take, or a file that does not hold the base's weights.
    """
    if name not in NETWORKS:
        raise BoneprintError(f"network '{name}' is unknown; choose one of: {', '.join(NETWORKS)}.")
    if name != "compact":
        return Reduced(name, dimension, channels, published)
    if published:
        raise BoneprintError(f"{published}: nobody published weights of the compact network; give none.")
    if channels != CHANNELS:
        raise BoneprintError(f"the compact network for pictures of {channels} channels, expected {CHANNELS}.")
    return Compact(dimension, depth)


def load_published(base: nn.Module, path: Path) -> None:
    """Fill a base with weights of torchvision's names; the classifier behind the convolutions is left out.

    Parameters
    ----------
    base : Vgg16 or ResNet50
    path : .safetensors, or a .pth that holds tensors alone: nothing in it is executed

    Raises
    ------
    BoneprintError
        If the file is missing, unreadable, or of another network.
    """
    kind = type(base).__name__
    found = {name: value for name, value in _tensors(path).items() if not name.startswith(_CLASSIFIERS)}
    wanted = base.state_dict()
    wrong = [
        f"{name} is {tuple(found[name].shape) if name in found else 'missing'}, expected {tuple(value.shape)}"
        for name, value in wanted.items()
        if not name.endswith(_COUNTER) and (name not in found or found[name].shape != value.shape)
    ]
    wrong += [f"{name} is of no use" for name in found if name not in wanted]
    if wrong:
        raise BoneprintError(
            f"{path}: not torchvision's weights of {kind} ({len(wrong)} tensors differ: {wrong[0]}). "
            "Export them as state_dict() of torchvision.models.vgg16 or resnet50."
        )
    base.load_state_dict(wanted | found)


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise BoneprintError(f"{path}: no such file; expected published weights, .safetensors or .pth.")
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a file that is no weights makes the two readers raise has no common class
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise BoneprintError(
            f"{path}: cannot be read as weights ({said}); expected .safetensors, or a .pth of tensors alone."
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(value, torch.Tensor) for value in loaded.values()):
        raise BoneprintError(f"{path}: holds {type(loaded).__name__}, expected a state_dict of tensors.")
    return loaded
