"""Conditions on the bones to search among: ``bone=femur``, ``subject!=S-1``."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError
from boneprint.index.gallery import Gallery

# What can be asked for, and the field of a reference that answers.
FIELDS = {"bone": "bone", "side": "laterality", "species": "species", "subject": "subject_id", "id": "bone_id"}
# Enrolled in lower case, and asked for in any.
_CASELESS = ("bone", "species")


@dataclass(frozen=True)
class Condition:
    """``key=value``, or ``key!=value`` where it is ``negated``; an empty value stands for unknown."""

    key: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.key}{'!=' if self.negated else '='}{self.value}"


def conditions(where: Mapping[str, str] | Iterable[str] | None) -> tuple[Condition, ...]:
    """Read conditions, e.g. ``["bone=femur", "subject!=S-1"]`` or ``{"bone": "femur", "subject!": "S-1"}``.

    Raises
    ------
    BoneprintError
        If one is malformed, a key is unknown, or a key is to have two values.
    """
    if isinstance(where, str):
        where = [where]
    texts = [f"{key}={value}" for key, value in where.items()] if isinstance(where, Mapping) else list(where or ())
    found: list[Condition] = []
    for text in texts:
        key, equals, value = text.partition("=")
        key, negated = key.removesuffix("!"), key.endswith("!")
        if not equals:
            raise BoneprintError(f"--where {text}: expected KEY=VALUE or KEY!=VALUE, e.g. --where bone=femur.")
        if key not in FIELDS:
            raise BoneprintError(f"--where {text}: unknown key, expected one of {', '.join(FIELDS)}.")
        if not negated and any(other.key == key and not other.negated for other in found):
            raise BoneprintError(f"--where {text}: {key} was given before; expected one value for each key.")
        found.append(Condition(key, value.lower() if key in _CASELESS else value, negated))
    return tuple(found)


def chosen(gallery: Gallery, asked: Iterable[Condition]) -> NDArray[np.bool_]:
    """(N,) bool, which bones fit every condition.

    Raises
    ------
    BoneprintError
        If none does.
    """
    found = np.ones(gallery.bones, dtype=bool)
    for condition in asked:
        found &= gallery.matching(FIELDS[condition.key], condition.value) ^ condition.negated
    if not found.any():
        said = " ".join(map(str, asked))
        raise BoneprintError(
            f"none of {gallery.bones} enrolled bones fits {said}; `boneprint info` lists the kinds."
            if gallery.bones
            else "the database holds no bones. Run `boneprint ingest CT_DIR` first."
        )
    return found
