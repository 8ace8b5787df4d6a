"""Weights on disk: a safetensors file with its card beside it."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from boneprint.embed.card import read_card, sha256_of, weights_path, write_card
from boneprint.embed.networks import Compact
from boneprint.embed.norms import fold
from boneprint.embed.published import network
from boneprint.errors import BoneprintError


def save(trained: nn.Module, path: Path, card: dict[str, Any]) -> None:
    """Write the weights in half precision, then their card; until both are there, `load` refuses them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = {
        name: (value.half() if value.is_floating_point() else value).contiguous()
        for name, value in trained.state_dict().items()
    }
    written = weights_path(path).with_suffix(".tmp")
    save_file(half, written)
    written.chmod(0o644)  # safetensors keeps its files to their owner
    written.replace(weights_path(path))
    write_card(path, card | ({"depth": trained.depth} if isinstance(trained, Compact) else {}))


def load(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """Read a network in evaluation mode and its card.

    Raises
    ------
    BoneprintError
        If either file is missing or damaged, or they do not belong together.
    """
    card = read_card(path)
    file = weights_path(path)
    found = sha256_of(file)
    if card["weights_sha256"] != found:
        raise BoneprintError(
            f"{file}: SHA-256 {found[:12]}..., its card expects {card['weights_sha256'][:12]}...; "
            "copy both files again, together."
        )
    depth = int(card.get("depth", 0))  # of the compact network alone
    empty = network(card.get("architecture", "compact").lower(), dimension=int(card["dimension"]), depth=depth)
    try:
        empty.load_state_dict(load_file(file))
    except (SafetensorError, RuntimeError) as error:
        said = str(error).splitlines()[0]
        raise BoneprintError(f"{file}: not the weights of this network ({said}); copy them again.") from error
    return empty.float().eval(), card


def ready(network: nn.Module, where: torch.device) -> nn.Module:
    """A network in evaluation mode made to be used and not trained: the same function, faster on a CPU."""
    fold(network)
    # The channels of a pixel side by side.
    return network.to(where, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
