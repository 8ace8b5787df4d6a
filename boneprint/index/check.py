"""Verify a store: every checksum of every file, and that what they say agrees."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from boneprint.errors import StoreError
from boneprint.index.publish import TEMPORARY
from boneprint.index.rows import Rows
from boneprint.index.seal import Seal, damaged
from boneprint.index.segment import Segment, open_raw, read_segment
from boneprint.index.snapshot import base_missing, segment_generations, segment_path, take_snapshot, wal_folder


@dataclass(frozen=True)
class Finding:
    """What the check found of one file: in order or not, and one line about it."""

    file: Path
    ok: bool
    message: str


def check(store: str | Path) -> list[Finding]:
    """Read every byte of a store and compare it with what was written.

    Changes nothing, and may run beside a writer: a segment that a checkpoint merges meanwhile is passed over.

    Parameters
    ----------
    store : the base file, NAME.h5

    Returns
    -------
    list of Finding
        At least one for the base and for each segment that it does not cover; one for each damaged dataset. Damage is
        a finding, never an error.
    """
    store = Path(store)
    try:
        findings, base = _check_file(store)
    except FileNotFoundError:
        return [Finding(store, False, base_missing(store))]
    bone_ids = {reference.bone_id for reference in base.references} if base else set()
    covered = base.generation if base else -1
    for generation in segment_generations(store):
        path = segment_path(store, generation)
        if generation <= covered:
            findings.append(Finding(path, True, "left over: the base covers it; the next writer removes it"))
            continue
        try:
            found, segment = _check_file(path)
        except FileNotFoundError:
            continue
        findings += found
        bone_ids -= segment.removed if segment else set()
        for reference in segment.references if segment else ():
            if reference.bone_id in bone_ids:
                findings.append(Finding(path, False, f"{path}: bone {reference.bone_id!r} is enrolled twice"))
            bone_ids.add(reference.bone_id)
    left = [store.with_name(store.name + TEMPORARY), *sorted(wal_folder(store).glob(f"*{TEMPORARY}"))]
    findings += [
        Finding(path, True, "left over from a write that did not end; the next writer removes it")
        for path in left
        if path.exists()
    ]
    if all(finding.ok for finding in findings):
        try:
            take_snapshot(store)
        except StoreError as error:
            findings.append(Finding(store, False, str(error)))
    return findings


def _check_file(path: Path) -> tuple[list[Finding], Segment | None]:
    """Findings of one file, and its content where that can be read."""
    try:
        file, raw = open_raw(path)
    except StoreError as error:
        return [Finding(path, False, str(error))], None
    with file:
        try:
            seal = Seal.read(path, raw)
        except StoreError as error:
            return [Finding(path, False, str(error))], None
        findings = [Finding(path, False, _damage(path, part.name)) for part in seal.parts if not part.intact(raw)]
        if not seal.rest_intact(raw):
            findings.append(Finding(path, False, str(damaged(path, "the structure of the file"))))
    try:
        segment = read_segment(path)
    except StoreError as error:
        return findings or [Finding(path, False, str(error))], None
    astray = _not_unit(segment)
    if astray and not findings:
        findings.append(Finding(path, False, str(damaged(path, f"{astray} vectors are not of unit length"))))
    if len({reference.bone_id for reference in segment.references}) < len(segment.references):
        findings.append(Finding(path, False, str(damaged(path, "a bone is enrolled twice"))))
    if not findings:
        message = (
            f"generation {segment.generation}: {len(segment.references):,} bones, {segment.views:,} views"
            f"{f', {len(segment.removed):,} bones removed' if segment.removed else ''}; "
            f"all {len(seal.parts)} datasets and the structure match their checksums"
        )
        findings.append(Finding(path, True, message))
    return findings, segment


def _damage(path: Path, name: str) -> str:
    if name.startswith("graph/"):
        return (
            f"{path}: damaged: {name}, a part of the index, does not match its checksum. No bone is lost: "
            "run `boneprint checkpoint` to make it again from the vectors."
        )
    return str(damaged(path, f"{name} does not match its checksum"))


def _not_unit(segment: Segment) -> int:
    """How many rows are not of unit length, as all were when they were enrolled."""
    rows = Rows.whole(segment.block.rows, segment.offsets)
    astray = 0
    for run in rows.runs(np.arange(len(segment.references))):
        lengths = np.linalg.norm(run.astype(np.float64), axis=1)
        astray += int((~(np.abs(lengths - 1) <= rows.tolerance)).sum())
    return astray
