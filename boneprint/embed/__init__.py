"""Fingerprints: preprocessing, networks, losses, training, shipped weights.

The face is lazy, so that reading a card loads no torch.
"""

from typing import TYPE_CHECKING, Any

from boneprint.embed.card import SHIPPED, embedder_id, read_card

if TYPE_CHECKING:
    from boneprint.embed.embedder import Embedder, load_embedder

__all__ = ["SHIPPED", "Embedder", "embedder_id", "load_embedder", "read_card"]


def __getattr__(name: str) -> Any:
    if name in ("Embedder", "load_embedder"):
        from boneprint.embed import embedder

        return getattr(embedder, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
