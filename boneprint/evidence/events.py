"""What the audit trail says of each event: facts that may be kept for ever, and apart from them whom it is about."""

import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from boneprint.index import Condition
from boneprint.nouns import Fingerprint, Reference, SearchResult

# Candidates that are named, of however many were asked for.
_CANDIDATES = 100
# Conditions of a search whose value names a person.
_PERSONAL = {"subject": "subject_id", "id": "bone_id"}


def named(reference: Reference) -> dict[str, Any]:
    """Whom an event is about."""
    return {"subject_id": reference.subject_id, "bone_id": reference.bone_id}


def change_facts(generation: int, bones: int, embedder: str) -> dict[str, Any]:
    """Of an ingestion or a removal: the generation that it makes, and how many bones it concerns."""
    return {"generation": generation, "bones": bones, "embedder": embedder}


def search_facts(
    result: SearchResult, probe: Fingerprint, asked: Iterable[Condition], *, mirror: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Of a search: what was asked (the probe by its hash) and how it was answered; and who was asked for or found."""
    digest = hashlib.sha256()
    for _, rows in sorted(probe.vectors.items()):
        digest.update(np.ascontiguousarray(rows).tobytes())
    facts = {
        "generation": result.generation,
        "probes": probe.probes,
        "probe_sha256": digest.hexdigest(),
        "mirror": mirror,
        "angles_deg": probe.angles_deg,
        "where": [str(condition) for condition in asked if condition.key not in _PERSONAL],
        "candidates": len(result.candidates),
        "certified": result.certified,
    }
    about: list[dict[str, Any]] = [
        {_PERSONAL[condition.key]: condition.value, "asked": "!=" if condition.negated else "="}
        for condition in asked
        if condition.key in _PERSONAL
    ]
    about += [
        {**named(candidate.reference), "rank": candidate.rank, "distance": candidate.distance}
        for candidate in result.candidates[:_CANDIDATES]
    ]
    return facts, about


def superimposition_facts(
    result: SearchResult, likenesses: Iterable[float | None]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Of candidates laid over radiographs: how many; and who they are, in their new order, with their likeness."""
    laid = [
        {**named(candidate.reference), "rank": candidate.rank, "likeness": likeness}
        for candidate, likeness in zip(result.candidates, likenesses)
        if likeness is not None
    ]
    return {"generation": result.generation, "superimposed": len(laid)}, laid
