"""A consistent look at the files of a store: one base and the segments after it, while a writer may be at work.

``NAME.h5`` is the base. ``NAME.h5-wal/0000000007.h5`` is the segment that made generation 7. A base says up to which
generation it covers the segments; a covered one is a left-over. Names of any other form are left-overs too.
"""

import re
import time
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, compress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import StoreError
from boneprint.index.gallery import Gallery
from boneprint.index.rows import Rows
from boneprint.index.segment import Identity, Segment, identity_of, read_segment
from boneprint.nouns import Reference

_SEGMENT_NAME = re.compile(r"(\d{10})\.h5")
# A look fails only when a checkpoint ends during it. A hundred in a row is not a race but a fault.
_LOOKS = 100


@dataclass(frozen=True, eq=False)
class Snapshot:
    """One generation of a store: ``base`` and, in order, the ``segments`` that it does not cover."""

    base: Segment
    segments: tuple[Segment, ...]

    @property
    def generation(self) -> int:
        """Number of the last change."""
        return self.parts[-1].generation

    @property
    def parts(self) -> tuple[Segment, ...]:
        """The base and the segments."""
        return (self.base, *self.segments)

    @cached_property
    def living(self) -> tuple[NDArray[np.bool_], ...]:
        """For each part, (N,) which of its bones no later generation has removed."""
        found, removed = [], set[str]()
        for part in reversed(self.parts):
            found.append(np.array([reference.bone_id not in removed for reference in part.references], dtype=bool))
            removed |= part.removed
        return tuple(reversed(found))

    @property
    def hidden(self) -> list[Reference]:
        """Bones that were removed and are in the files still, until the next checkpoint."""
        return [
            reference
            for part, living in zip(self.parts, self.living)
            for reference, lives in zip(part.references, living)
            if not lives
        ]

    @cached_property
    def references(self) -> tuple[Reference, ...]:
        """All enrolled bones."""
        return tuple(
            chain.from_iterable(compress(part.references, living) for part, living in zip(self.parts, self.living))
        )

    @property
    def stored_bytes(self) -> int:
        """Length of all files."""
        return sum(part.identity[2] for part in self.parts)

    def gallery(self) -> Gallery:
        """All bones; their rows stay in the files."""
        begins, ends, checksums, unverified = [], [], [], []
        start = 0
        for part, living in zip(self.parts, self.living):
            begins.append(start + part.offsets[:-1][living])
            ends.append(start + part.offsets[1:][living])
            found = part.block.checksums
            checksums.append(np.zeros(living.sum(), np.uint32) if found is None else found[living])
            unverified.append(np.full(living.sum(), found is not None))
            start += part.views
        blocks = tuple(part.block for part in self.parts)
        return Gallery(
            references=self.references,
            rows=Rows(
                blocks,
                np.concatenate(begins),
                np.concatenate(ends),
                np.concatenate(checksums),
                np.concatenate(unverified),
            ),
            angles_deg=np.concatenate([part.angles_deg for part in self.parts]),
            tilts_deg=np.concatenate([part.tilts_deg for part in self.parts]),
            generation=self.generation,
            embedder=self.base.embedder,
            indexed=np.flatnonzero(self.living[0]),
            stored_cells=self.base.cells,
            stored_graph=self.base.graph,
            picture=self._picture,
            solid=self._solid,
        )

    def _picture(self, row: int) -> bytes | None:
        for part in self.parts:
            if row < part.views:
                return part.pictures.verified(row) or None
            row -= part.views
        raise IndexError(row)

    def _solid(self, bone: int) -> bytes | None:
        for part, living in zip(self.parts, self.living):
            places = np.flatnonzero(living)
            if bone < len(places):
                return part.solids.verified(int(places[bone])) or None
            bone -= len(places)
        raise IndexError(bone)


def wal_folder(store: Path) -> Path:
    """Where the segments of a store lie."""
    return store.with_name(store.name + "-wal")


def segment_path(store: Path, generation: int) -> Path:
    """The file of the segment that made this generation."""
    return wal_folder(store) / f"{generation:010d}.h5"


def segment_generations(store: Path) -> list[int]:
    """Generations of all segment files that are there, covered ones too, rising."""
    folder = wal_folder(store)
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    return sorted(int(match[1]) for match in map(_SEGMENT_NAME.fullmatch, names) if match)


def take_snapshot(store: Path, previous: Snapshot | None = None) -> Snapshot:
    """Read the newest generation; files that ``previous`` has already read are not read again.

    Raises
    ------
    StoreError
        If there is no store, or it is of a newer format, damaged, or incomplete.
    """
    known: dict[Identity, Segment] = {part.identity: part for part in previous.parts} if previous else {}
    finding = ""
    for _ in range(_LOOKS):
        # A checkpoint may rename a new base over the old one and remove segments between any two of these lines. It
        # renames first: when the base is still the same after the segments were read, they were all there.
        try:
            base = _read(store, known)
        except FileNotFoundError:
            raise StoreError(base_missing(store)) from None
        try:
            generations = [number for number in segment_generations(store) if number > base.generation]
            segments = tuple(_read(segment_path(store, number), known) for number in generations)
        except FileNotFoundError:
            continue
        if identity_of(store) == base.identity:
            expected = list(range(base.generation + 1, base.generation + 1 + len(generations)))
            if generations == expected:
                for segment, number in zip(segments, generations):
                    _check_kinship(segment, base, number)
                found = Snapshot(base, segments)
                return previous if previous is not None and previous.parts == found.parts else found
            # Listing a folder while a file appears in it may show a later file and not an earlier one.
            lost = next(number for number in expected if number not in generations)
            finding = f"segment {segment_path(store, lost).name} is missing in {wal_folder(store).name}"
        time.sleep(0.001)
    raise StoreError(
        f"{store}: {finding or 'kept changing while it was read'}; expected a base and every segment after it. "
        f"Restore {store.name} and {wal_folder(store).name} together from a backup."
    )


def _read(path: Path, known: dict[Identity, Segment]) -> Segment:
    identity = identity_of(path)
    if identity is None or identity not in known:
        segment = read_segment(path)
        identity = segment.identity
        known[identity] = segment
    return known[identity]


def _check_kinship(segment: Segment, base: Segment, number: int) -> None:
    found = (segment.store_id, segment.embedder, segment.dim, segment.half, segment.generation)
    if found != (base.store_id, base.embedder, base.dim, base.half, number):
        raise StoreError(
            f"{segment.path}: generation {segment.generation} of store {segment.store_id} ({segment.embedder}), "
            f"expected generation {number} of store {base.store_id} ({base.embedder}). Move this file away."
        )


def base_missing(store: Path) -> str:
    """What to say where there is no base: segments may be left of one."""
    if segment_generations(store):
        return (
            f"{store}: missing, but {wal_folder(store).name} holds segments that belong to it. "
            "Restore it from a backup, or move that folder away to begin a new store."
        )
    return f"{store}: no such file, expected a boneprint store. Make one with `boneprint ingest`, or name it with --db."
