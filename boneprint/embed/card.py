"""The JSON card beside the weights: readable without torch."""

import hashlib
import json
from pathlib import Path
from typing import Any

from boneprint.errors import BoneprintError

# 2: a branch of the network for each form of canvas, and edges alone on square ones. 3: an overview for their finder.
FORMAT = 3
SHIPPED = Path(__file__).parent / "shipped" / "compact-13"


def read_card(weights: Path = SHIPPED) -> dict[str, Any]:
    """What a weights file is: name, hash, training, calibration.

    Raises
    ------
    BoneprintError
        If weights or card are missing, or the card is damaged or of another format.
    """
    path = card_path(weights)
    for needed in (weights_path(weights), path):
        if not needed.is_file():
            raise BoneprintError(
                f"{needed}: no such file; weights are a .safetensors file with its .json card beside it. "
                "Copy both, or make both with `boneprint train -o NAME`."
            )
    try:
        card = dict(json.loads(path.read_text()))
        if card["format"] != FORMAT:
            raise BoneprintError(
                f"{path}: card format {card['format']!r}, expected {FORMAT}: weights of another version of boneprint, "
                "to which pictures look otherwise. Use that version, or train them again."
            )
        _ = card["name"], card["weights_sha256"], int(card["dimension"])
    except (ValueError, KeyError, TypeError) as error:
        raise BoneprintError(
            f"{path}: no card of weights ({error!r}); copy the weights and their card again."
        ) from error
    return card


def write_card(weights: Path, card: dict[str, Any]) -> None:
    """Replace the card beside ``weights``; format and hash are filled in."""
    written = card_path(weights).with_suffix(".tmp")
    complete = {"format": FORMAT, **card, "weights_sha256": sha256_of(weights_path(weights))}
    written.write_text(json.dumps(complete, indent=2) + "\n")
    written.replace(card_path(weights))


def embedder_id(card: dict[str, Any]) -> str:
    """What a store remembers of who made its vectors: name, and the first twelve digits of the weights' hash."""
    return f"{card['name']}:{card['weights_sha256'][:12]}"


def weights_path(weights: Path) -> Path:
    """NAME.safetensors for NAME, NAME.safetensors or NAME.json; other dots belong to the name."""
    return weights.with_name(name_of(weights) + ".safetensors")


def card_path(weights: Path) -> Path:
    """NAME.json for NAME, NAME.safetensors or NAME.json."""
    return weights.with_name(name_of(weights) + ".json")


def name_of(weights: Path) -> str:
    """The embedder's name: the file's, without the two suffixes that are ours."""
    return weights.name.removesuffix(".safetensors").removesuffix(".json")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
