"""A consistent look at the files of a store: one base and the segments after it, while a writer may be at work.

``NAME.h5`` is the base. ``NAME.h5-wal/0000000007.h5`` is the segment that made generation 7. A base says up to which
generation it covers the segments; a covered one is a left-over. Names of any other form are left-overs too.
"""

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from boneprint.errors import StoreError
from boneprint.index.gallery import Gallery
from boneprint.index.segment import FloatArray, Identity, Segment, identity_of, read_segment

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
        """Number of the last append."""
        return self.parts[-1].generation

    @property
    def parts(self) -> tuple[Segment, ...]:
        """The base and the segments."""
        return (self.base, *self.segments)

    @property
    def views(self) -> int:
        """M, the number of views in all parts."""
        return sum(part.views for part in self.parts)

    def views_by_bone(self) -> Iterator[FloatArray]:
        """The (V, D) views of each bone in turn."""
        return chain.from_iterable(part.views_by_bone() for part in self.parts)

    def joined_offsets(self) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """(N + 1,) int64 over the views of all parts."""
        counts = [np.diff(part.offsets) for part in self.parts]
        return np.concatenate([[0], np.cumsum(np.concatenate(counts))]).astype(np.int64)

    def gallery(self) -> Gallery:
        """All bones; the vectors are the mapped base, or a copy in memory where segments are pending."""
        base, parts = self.base, self.parts
        return Gallery(
            references=tuple(chain.from_iterable(part.references for part in parts)),
            vectors=_joined([part.vectors for part in parts]),
            offsets=self.joined_offsets(),
            angles_deg=_joined([part.angles_deg for part in parts]),
            generation=self.generation,
            embedder=base.embedder,
            graph_bones=len(base.references),
            stored_graph=base.graph,
        )


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
            base = _read(store, known, mapped=True)
        except FileNotFoundError:
            raise StoreError(base_missing(store)) from None
        try:
            generations = [number for number in segment_generations(store) if number > base.generation]
            segments = tuple(_read(segment_path(store, number), known, mapped=False) for number in generations)
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


def _read(path: Path, known: dict[Identity, Segment], mapped: bool) -> Segment:
    identity = identity_of(path)
    if identity is None or identity not in known:
        segment = read_segment(path, mapped=mapped)
        identity = segment.identity
        known[identity] = segment
    return known[identity]


def _check_kinship(segment: Segment, base: Segment, number: int) -> None:
    found = (segment.store_id, segment.embedder, segment.dim, segment.generation)
    if found != (base.store_id, base.embedder, base.dim, number):
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


def _joined(arrays: list[FloatArray]) -> FloatArray:
    filled = [array for array in arrays if len(array)]
    if len(filled) < 2:
        return filled[0] if filled else arrays[0]
    joined = np.concatenate(filled)
    joined.setflags(write=False)
    return joined
