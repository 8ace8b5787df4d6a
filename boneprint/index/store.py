"""The store: enrolled bones in one HDF5 file that is never edited in place, with one writer and many readers."""

import uuid
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from boneprint.errors import StoreError
from boneprint.index.check import Finding, check
from boneprint.index.enrolment import check_enrolments, tilts_of
from boneprint.index.gallery import Gallery
from boneprint.index.graph import CELL_VIEWS, EXACT_VIEWS
from boneprint.index.merge import cells_of, graph_of, merged
from boneprint.index.publish import TEMPORARY, WriterLock, make_folder, publish
from boneprint.index.segment import identity_of, read_segment
from boneprint.index.small import Layouts
from boneprint.index.snapshot import (
    Snapshot,
    base_missing,
    segment_generations,
    segment_path,
    take_snapshot,
    wal_folder,
)
from boneprint.index.write import Content, write_segment
from boneprint.nouns import Enrolment, Reference


class Store:
    """An open store; make one with `Store.open`, and close it or use it in a ``with`` statement."""

    def __init__(self, path: Path, snapshot: Snapshot, lock: WriterLock | None) -> None:
        self._path = path
        self._snapshot = snapshot
        self._lock = lock
        self._shown: tuple[Snapshot, Gallery] | None = None
        # Only a writer needs them; nobody else changes them while it holds the lock.
        self._bone_ids: set[str] | None = None
        self._layouts = Layouts()
        self._closed = False

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        writable: bool = False,
        embedder: str | None = None,
        dim: int = 128,
        half: bool = False,
    ) -> Self:
        """Open a store; opened for writing it is made where there is none.

        Parameters
        ----------
        path : the base file, NAME.h5
        writable : become the one writer, and remove what a killed writer left behind
        embedder : id of what makes the vectors, e.g. "compact-1:ab12cd34ef56"; a store of another one is refused
        dim : D of a store that is made now; an existing one keeps its own
        half : whether a store that is made now keeps its vectors in half precision (float16); an existing one keeps to
            its own

        Raises
        ------
        StoreError
            If there is no store to read, it is damaged or of a newer format, its vectors were made by another
            embedder, or another writer holds it.
        """
        path = Path(path)
        if not writable:
            snapshot = take_snapshot(path)
            _check_embedder(path, snapshot, embedder)
            return cls(path, snapshot, None)
        if not path.parent.is_dir():
            raise StoreError(f"{path}: the folder {path.parent} does not exist. Make it, or name another file (--db).")
        if path.exists():
            # Before the lock: nothing is written beside a file that turns out to be no store of ours.
            _check_embedder(path, take_snapshot(path), embedder)
        with _told(path):
            lock = WriterLock(path)
            lock.acquire()
            try:
                if not path.exists():
                    _make(path, embedder, dim, half)
                snapshot = take_snapshot(path)
                _check_embedder(path, snapshot, embedder)
                _remove_left_overs(path, snapshot.base.generation)
            except BaseException:
                lock.release()
                raise
        return cls(path, snapshot, lock)

    @property
    def path(self) -> Path:
        """The base file."""
        return self._path

    @property
    def writable(self) -> bool:
        """Whether this is the writer."""
        return self._lock is not None and not self._closed

    @property
    def embedder(self) -> str:
        """Id of what made the vectors."""
        return self._snapshot.base.embedder

    @property
    def dim(self) -> int:
        """D, the length of a fingerprint."""
        return self._snapshot.base.dim

    @property
    def half(self) -> bool:
        """Whether vectors are kept in half precision."""
        return self._snapshot.base.half

    @property
    def generation(self) -> int:
        """Number of the last change that this object has made or seen."""
        return self._snapshot.generation

    @property
    def pending(self) -> int:
        """How many segments wait for a checkpoint, as last seen; each costs a reader about a millisecond to open."""
        return len(self._snapshot.segments)

    @property
    def worth_merging(self) -> bool:
        """Whether a checkpoint pays: it writes everything anew."""
        base, segments = self._snapshot.base, self._snapshot.segments
        return bool(segments) and (base.views <= EXACT_VIEWS or 10 * sum(part.views for part in segments) >= base.views)

    @property
    def stored_bytes(self) -> int:
        """Length of all files of the store, as last seen."""
        return self._snapshot.stored_bytes

    @property
    def hidden(self) -> list[Reference]:
        """Bones that were removed and are still in the files, as last seen; a checkpoint leaves them out."""
        return self._snapshot.hidden

    def append(self, enrolments: Sequence[Enrolment]) -> int:
        """Add bones; when this returns they survive a killed process and a power cut.

        Parameters
        ----------
        enrolments : bones with (V, D) float32 unit rows; all of them become visible at once, or none

        Returns
        -------
        int
            The new generation; the present one if there was nothing to add.

        Raises
        ------
        StoreError
            If a bone id is enrolled already, vectors or angles are not as they must be, or the disk refuses.
        """
        self._check_writable()
        self._refresh_if_published()
        if self._bone_ids is None:
            self._bone_ids = {reference.bone_id for reference in self._snapshot.references}
        check_enrolments(self._path, enrolments, self._bone_ids, self.dim)
        if not enrolments:
            return self.generation
        self._publish_segment(
            replace(
                self._content(self.generation + 1),
                references=[enrolment.reference for enrolment in enrolments],
                vectors=[enrolment.vectors for enrolment in enrolments],
                counts=np.array([len(enrolment.vectors) for enrolment in enrolments]),
                angles_deg=np.concatenate([enrolment.angles_deg for enrolment in enrolments]),
                tilts_deg=np.concatenate([tilts_of(enrolment) for enrolment in enrolments]),
                pictures=list(
                    chain.from_iterable(
                        enrolment.pictures or [b""] * len(enrolment.vectors) for enrolment in enrolments
                    )
                ),
                solids=[enrolment.solid for enrolment in enrolments],
            )
        )
        self._bone_ids.update(enrolment.reference.bone_id for enrolment in enrolments)
        return self.generation

    def remove(self, bone_ids: Iterable[str], *, erase: bool = False) -> int:
        """Hide bones from every search that begins after this has returned.

        Parameters
        ----------
        bone_ids : which; of enrolled bones
        erase : leave none of their bytes in any file of the store either, and none of those that were removed before.
            A reader that has the old file open keeps it until it closes it, and the file system may keep what was
            written to the disk until it is written over

        Returns
        -------
        int
            The new generation; the present one if there was nothing to remove.

        Raises
        ------
        StoreError
            If a bone is not enrolled, vectors are damaged, or the disk refuses.
        """
        self._check_writable()
        self._refresh_if_published()
        gone = set(bone_ids)
        unknown = gone - {reference.bone_id for reference in self._snapshot.references}
        if unknown:
            raise StoreError(f"{self._path}: no bone {min(unknown)!r}, expected one that is enrolled. Check its id.")
        self._bone_ids = None
        if erase and (gone or self._snapshot.hidden):
            self._merge(self.generation + 1, without=gone)
        elif gone:
            self._publish_segment(replace(self._content(self.generation + 1), removed=sorted(gone)))
        return self.generation

    def checkpoint(self, *, threads: int = 1, grow: bool = False) -> int:
        """Merge the segments into a new base, with an index where the gallery is large; the generation stays.

        All vectors are verified before they are copied; what was removed is left out; a base of an older format is
        written in the present one. Readers keep what they have.

        Parameters
        ----------
        threads : to build the index with. One makes it byte for byte the same every time, more are faster
        grow : add to the index of the present base what is new, if it has one and nothing was removed from it. The cost
            is then that of the new bones; what becomes of the index depends on the checkpoints that there were

        Returns
        -------
        int
            The generation that the base now covers.

        Raises
        ------
        StoreError
            If vectors are damaged, or the disk refuses.
        """
        self._check_writable()
        self._snapshot = snapshot = take_snapshot(self._path, self._snapshot)
        base = snapshot.base
        unindexed = (base.views > CELL_VIEWS and cells_of(base) is None) or (
            base.views > EXACT_VIEWS and graph_of(base) is None
        )
        if snapshot.segments or unindexed or snapshot.base.outdated:
            self._merge(snapshot.generation, threads=threads, grow=grow)
        else:
            with _told(self._path):
                _remove_left_overs(self._path, snapshot.base.generation)
        return self.generation

    def gallery(self) -> Gallery:
        """The newest generation as a gallery that never changes; the same object while nothing new was published."""
        self._check_open()
        self._snapshot = take_snapshot(self._path, self._snapshot)
        if self._shown is None or self._shown[0] is not self._snapshot:
            self._shown = self._snapshot, self._snapshot.gallery()
        return self._shown[1]

    def check(self) -> list[Finding]:
        """Verify every checksum of every file; see `boneprint.index.check.check`."""
        return check(self._path)

    def close(self) -> None:
        """Let the next writer come. Galleries stay usable. Segments stay pending: `checkpoint` merges them."""
        if self._lock is not None and not self._closed:
            self._lock.release()
        self._closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError(f"{self._path}: this store object is closed, expected an open one. Open it again.")

    def _check_writable(self) -> None:
        self._check_open()
        if self._lock is None:
            raise StoreError(f"{self._path}: opened for reading only. Open it with writable=True to change it.")

    def _refresh_if_published(self) -> None:
        # An append that was interrupted (Ctrl-C, a failed fsync) after its segment had got its name did happen.
        # Published segments are never replaced, so what is there is taken in before the next number is given out.
        if segment_path(self._path, self.generation + 1).exists():
            self._snapshot = take_snapshot(self._path, self._snapshot)
            self._bone_ids = None

    def _content(self, generation: int) -> Content:
        base = self._snapshot.base
        return Content(base.store_id, base.embedder, base.dim, base.half, generation)

    def _publish_segment(self, content: Content) -> None:
        target = segment_path(self._path, content.generation)
        with _told(self._path):
            make_folder(target.parent)
            written = self._layouts.written(content)
            publish(target, written.write if written else lambda path: write_segment(path, content))
            identity = identity_of(target) if written else None
        segment = written.segment(target, identity) if written and identity else read_segment(target)
        self._snapshot = Snapshot(self._snapshot.base, (*self._snapshot.segments, segment))

    def _merge(self, generation: int, *, without: Set[str] = frozenset(), threads: int = 1, grow: bool = False) -> None:
        """Publish a new base of all bones but some, and remove the segments that it covers."""
        content = merged(self._snapshot, self._content(generation), without=without, threads=threads, grow=grow)
        with _told(self._path):
            publish(self._path, lambda path: write_segment(path, content))
            self._snapshot = take_snapshot(self._path)
            _remove_left_overs(self._path, self._snapshot.base.generation)


def _make(path: Path, embedder: str | None, dim: int, half: bool) -> None:
    if segment_generations(path):
        # They would become part of the new store, with whatever made them.
        raise StoreError(base_missing(path))
    if embedder is None:
        raise StoreError(f"{path}: no such file, and without an embedder id none can be made. Give embedder=.")
    if dim < 1:
        raise StoreError(f"{path}: fingerprints of dimension {dim}, expected at least 1.")
    empty = Content(uuid.uuid4().hex, embedder, dim, half, generation=0)
    publish(path, lambda temporary: write_segment(temporary, empty))


def _check_embedder(path: Path, snapshot: Snapshot, embedder: str | None) -> None:
    found = snapshot.base.embedder
    if embedder is not None and embedder != found:
        raise StoreError(
            f"{path}: its fingerprints were made by {found}, expected {embedder}; the two cannot be compared. "
            f"Make another file of it with `boneprint reindex {path} -o NEW.h5`, or use the weights that made {found}."
        )


def _remove_left_overs(path: Path, covered: int) -> None:
    """Remove what a killed writer left: temporary files, and segments that the base covers. For the writer only."""
    path.with_name(path.name + TEMPORARY).unlink(missing_ok=True)
    folder = wal_folder(path)
    if not folder.is_dir():
        return
    for temporary in folder.glob(f"*{TEMPORARY}"):
        temporary.unlink(missing_ok=True)
    for generation in segment_generations(path):
        if generation <= covered:
            segment_path(path, generation).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in one line what the disk refused; h5py says it as OSError or RuntimeError."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise StoreError(
            f"{path}: could not be written ({' '.join(str(error).split())}); what was stored before is unharmed. "
            "Make room on a disk that can be written, and run it again."
        ) from error
