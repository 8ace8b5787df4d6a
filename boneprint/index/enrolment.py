"""What may enter a store: checked before a byte is written."""

from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import StoreError
from boneprint.index.rows import UNIT_TOLERANCE
from boneprint.index.segment import NONE_IF_EMPTY, TEXT_COLUMNS, encoded
from boneprint.nouns import Enrolment, Reference


def check_enrolments(store: Path, enrolments: Sequence[Enrolment], enrolled: Set[str], dim: int) -> None:
    """Refuse bones that are enrolled already and vectors that would spoil every later search.

    Parameters
    ----------
    store : for messages
    enrolments : bones about to be appended together
    enrolled : bone ids that the store holds
    dim : D of the store

    Raises
    ------
    StoreError
        For the first thing found wrong.
    """
    coming: set[str] = set()
    for enrolment in enrolments:
        reference = enrolment.reference
        if reference.bone_id in enrolled or reference.bone_id in coming:
            raise StoreError(
                f"{store}: bone {reference.bone_id!r} (from {reference.source}) is enrolled already, "
                "expected a new bone id. Skip it, or enrol it under another id."
            )
        coming.add(reference.bone_id)
        _check_reference(store, reference)
        _check_vectors(store, enrolment, dim)


def _check_reference(store: Path, reference: Reference) -> None:
    if not reference.bone_id:
        raise StoreError(
            f"{store}: a bone from {reference.source} has an empty bone_id, expected a name that no other bone has. "
            "Fill it in."
        )
    for field in NONE_IF_EMPTY:
        if getattr(reference, field) == "":
            raise StoreError(
                f"{store}: bone {reference.bone_id!r} (from {reference.source}) has an empty {field}, expected None "
                "where it is unknown. Fill it in."
            )
    for field in TEXT_COLUMNS:
        text = getattr(reference, field) or ""
        try:
            encoded(text)
        except UnicodeEncodeError:
            text = "\0"
        if "\0" in text:
            raise StoreError(
                f"{store}: {field} of bone {reference.bone_id!r} holds a NUL or half a surrogate pair, "
                "expected text that UTF-8 can hold. Rename it."
            )


def tilts_of(enrolment: Enrolment) -> NDArray[np.float32]:
    """(V,) tilt of each view; 0 where nothing is said."""
    return np.zeros(len(enrolment.vectors), np.float32) if enrolment.tilts_deg is None else enrolment.tilts_deg


def _check_vectors(store: Path, enrolment: Enrolment, dim: int) -> None:
    vectors, angles_deg = enrolment.vectors, enrolment.angles_deg
    who = f"{store}: bone {enrolment.reference.bone_id!r}"
    if vectors.ndim != 2 or vectors.shape[1] != dim or len(vectors) == 0:
        raise StoreError(
            f"{who}: vectors of shape {vectors.shape}, expected (V, {dim}) with at least one view. "
            "Embed it with the embedder of this store."
        )
    tilts_deg = tilts_of(enrolment)
    if not vectors.dtype == angles_deg.dtype == tilts_deg.dtype == np.float32:
        raise StoreError(
            f"{who}: vectors of type {vectors.dtype}, angles of type {angles_deg.dtype}, and tilts of type "
            f"{tilts_deg.dtype}, expected float32. "
            "Convert them with .astype(numpy.float32)."
        )
    if angles_deg.shape != (len(vectors),):
        raise StoreError(
            f"{who}: angles of shape {angles_deg.shape} for {len(vectors)} views, expected one for each. "
            "Use NaN where the angle is unknown."
        )
    if tilts_deg.shape != (len(vectors),) or not np.isfinite(tilts_deg).all():
        raise StoreError(
            f"{who}: tilts of shape {tilts_deg.shape} for {len(vectors)} views, expected a number for each. "
            "Leave them out where views are level."
        )
    if len(enrolment.pictures) not in (0, len(vectors)):
        raise StoreError(
            f"{who}: {len(enrolment.pictures)} pictures for {len(vectors)} views, expected one for each, or none. "
            "Render its views again."
        )
    if not np.isfinite(vectors).all():
        raise StoreError(f"{who}: NaN or infinity in its vectors, expected unit rows. Embed its views again.")
    norms = np.linalg.norm(vectors.astype(np.float64), axis=1)
    worst = norms[np.abs(norms - 1).argmax()]
    if abs(worst - 1) > UNIT_TOLERANCE:
        raise StoreError(
            f"{who}: a vector of length {worst:.6f}, expected 1 within {UNIT_TOLERANCE:g}. "
            "Divide each row by its Euclidean norm."
        )
