"""Read one immutable HDF5 file of the store; base and segments have the same layout. See `write`."""

import mmap
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from boneprint.errors import StoreError
from boneprint.index.blobs import Blobs
from boneprint.index.cells import STORED_CELLS, Cells
from boneprint.index.graph import PrototypeGraph, is_graph
from boneprint.index.rows import Block
from boneprint.index.seal import FORMAT_VERSION, Part, Seal, damaged
from boneprint.nouns import Reference

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Scalar = bool | int | float | str

# What a reference may leave unknown is stored as an empty text.
NONE_IF_EMPTY = ("laterality", "species", "quality", "notes")
TEXT_COLUMNS = tuple(column.name for column in fields(Reference) if column.name != "canvas_mm")
# A gallery of 50,000 views x 128 (searched exactly, see graph.py) has 25.6 MB of vectors: up to there a file is
# verified whole when it is opened (SHA-256 at more than 1 GB/s: some 20 ms). The rows of a larger one are verified bone
# by bone when they are first looked at, its solids whenever they are fetched, its pictures by PNG's own checksums.
VERIFIED_AT_OPENING_BYTES = 32 * 2**20
# A mapped file keeps a descriptor open, and there may be more small segments than those.
MAPPED_FROM_BYTES = 2**20
GRAPH = "graph/"
_VERIFIED_LATER = ("vectors", "pictures/data", "solids/data")
# Columns that older files lack; they are then unknown.
_ADDED_LATER = ("species", "quality", "notes")

Identity = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Segment:
    """Bones with their views, as one file of the store holds them.

    Parameters
    ----------
    path : where it was read
    identity : device, inode, length and time of the file; another file of the same name has another identity
    store_id, embedder : must be the same in all files of a store
    generation : of a segment its own number, of a base that of the last segment it covers
    references : N bones
    block : their (M, D) rows
    offsets : (N + 1,) int64; views of bone n are rows offsets[n] to offsets[n + 1]
    angles_deg : (M,) float32, NaN where unknown
    tilts_deg : (M,) float32; of older files 0
    removed : ids of bones in earlier files that are enrolled no longer
    pictures : the M views as PNG files, empty where none is kept
    solids : the N bones as encoded grids, empty where none is kept
    outdated : whether it is of an older format than boneprint writes now
    """

    path: Path
    identity: Identity
    store_id: str
    embedder: str
    generation: int
    references: tuple[Reference, ...]
    block: Block
    offsets: IntArray
    angles_deg: FloatArray
    tilts_deg: FloatArray
    removed: frozenset[str]
    pictures: Blobs = field(repr=False)
    solids: Blobs = field(repr=False)
    outdated: bool
    _seal: Seal = field(repr=False)
    _raw: memoryview = field(repr=False)
    _graph_scalars: Mapping[str, Scalar] | None = field(repr=False)
    _graph_arrays: Mapping[str, NDArray[Any]] = field(repr=False)

    @property
    def views(self) -> int:
        """M, the number of views."""
        return len(self.block.rows)

    @property
    def dim(self) -> int:
        """D, the length of a fingerprint."""
        return int(self.block.rows.shape[1])

    @property
    def half(self) -> bool:
        """Whether the rows are float16."""
        return self.block.rows.dtype == np.float16

    def verify_all(self) -> None:
        """Read vectors, pictures and solids and compare them with their checksums; StoreError if they are damaged."""
        for part in self._seal.parts:
            if part.name in _VERIFIED_LATER and not part.intact(self._raw):
                raise damaged(self.path, f"{part.name} does not match its checksum")

    def graph(self) -> PrototypeGraph | None:
        """The stored graph, or None where none is stored.

        Raises
        ------
        StoreError
            If an array does not match its checksum, or the graph was made from other vectors.
        ValueError
            If it is of another version, or does not fit these bones.
        """
        if self._graph_scalars is None or not is_graph(self._graph_arrays):
            return None
        self._check_index(self._graph_arrays)
        return PrototypeGraph.restored(
            self._graph_arrays, self._graph_scalars, bones=len(self.references), views=self.views, dim=self.dim
        )

    def cells(self) -> Cells | None:
        """The stored cells, or None where none are stored; raises what `graph` does."""
        if self._graph_scalars is None:
            return None
        # Not the graph over them, which is larger and seldom needed.
        self._check_index(STORED_CELLS)
        version = self._graph_scalars.get("graph_version")
        return Cells.restored(self._graph_arrays, version, bones=len(self.references), views=self.views, dim=self.dim)

    def _check_index(self, names: Collection[str]) -> None:
        for part in self._seal.parts:
            if part.name.startswith(GRAPH) and part.name[len(GRAPH) :] in names and not part.intact(self._raw):
                raise StoreError(f"{self.path}: the index ({part.name}) does not match its checksum")
        if self._graph_scalars and self._graph_scalars.get("vectors_sha256") != self._seal.part("vectors").sha256:
            raise StoreError(f"{self.path}: the index was made from other vectors")


def open_raw(path: Path) -> tuple[BinaryIO, memoryview]:
    """The open file and all its bytes, mapped if they are many; they stay when the name is given to another file.

    Raises
    ------
    FileNotFoundError
        If there is no such file (for the caller to say what that means).
    StoreError
        If it cannot be read.
    """
    try:
        file = path.open("rb")
        try:
            if os.fstat(file.fileno()).st_size >= MAPPED_FROM_BYTES:
                return file, memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            return file, memoryview(file.read())
        except BaseException:
            file.close()
            raise
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path}: cannot be read ({error}); expected a store file. Check the name and the permissions."
        ) from error


def identity_of(path: Path) -> Identity | None:
    """Which file the name stands for at this moment; None if there is none."""
    try:
        return _identity(path.stat())
    except OSError:
        return None


def read_segment(path: Path) -> Segment:
    """Open one file of the store, a base or a segment; verified but for its graph, large vectors, pictures and solids.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    StoreError
        If it is no store, of a newer format, or damaged.
    """
    file, raw = open_raw(path)
    with file:
        seal = Seal.read(path, raw)
        if not seal.rest_intact(raw):
            raise damaged(path, "the structure of the file does not match its checksum")
        for part in seal.parts:
            if not _verified_later(part, seal) and not part.intact(raw):
                raise damaged(path, f"{part.name} does not match its checksum")
        try:
            # The open file and not its name: the name may by now stand for the base of the next checkpoint.
            with h5py.File(file, "r") as layout:
                return _segment(path, _identity(os.fstat(file.fileno())), seal, raw, layout)
        except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise damaged(path, f"unexpected layout ({error})") from error


def _verified_later(part: Part, seal: Seal) -> bool:
    if part.name.startswith(GRAPH):
        return True
    # Files of format 1 have no checksum for each bone.
    return part.name in _VERIFIED_LATER and part.length > VERIFIED_AT_OPENING_BYTES and seal.version > 1


def encoded(text: str) -> bytes:
    """UTF-8; undecodable bytes of a file name (PEP 383) go back to what they were. UnicodeEncodeError otherwise."""
    return text.encode("utf-8", "surrogateescape")


def _segment(path: Path, identity: Identity, seal: Seal, raw: memoryview, file: h5py.File) -> Segment:
    attributes = file.attrs
    canvases = file["references/canvas_mm"][()].tolist()
    bones = len(canvases)
    columns: list[list[str | None]] = [
        _texts(file[f"references/{name}"]) if f"references/{name}" in file or name not in _ADDED_LATER else [""] * bones
        for name in TEXT_COLUMNS
    ]
    for name in NONE_IF_EMPTY:
        columns[TEXT_COLUMNS.index(name)] = [text or None for text in columns[TEXT_COLUMNS.index(name)]]
    references = tuple(
        Reference(**dict(zip(TEXT_COLUMNS, texts)), canvas_mm=canvas)
        for texts, canvas in zip(zip(*columns), canvases, strict=True)
    )
    vectors = _array(file["vectors"], seal.part("vectors"), raw)
    later = _verified_later(seal.part("vectors"), seal)
    checksums = _array(file["checksums"], seal.part("checksums"), raw) if later else None
    offsets = np.asarray(file["offsets"][()], dtype=np.int64)
    angles_deg = np.asarray(file["angles_deg"][()], dtype=np.float32)
    tilts_deg = np.asarray(file["tilts_deg"][()] if "tilts_deg" in file else np.zeros(len(vectors)), dtype=np.float32)
    if (
        vectors.ndim != 2
        or vectors.dtype not in (np.float32, np.float16)
        or (checksums is not None and len(checksums) != bones)
        or offsets.shape != (len(references) + 1,)
        or offsets[0] != 0
        or offsets[-1] != len(vectors)
        or (np.diff(offsets) < 1).any()
        or not angles_deg.shape == tilts_deg.shape == (len(vectors),)
    ):
        raise ValueError(f"{len(references)} bones, {len(offsets)} offsets, {len(vectors)} views do not agree")
    graph = file.get("graph")
    graph_arrays = {
        part.name.removeprefix(GRAPH): _array(file[part.name], part, raw)
        for part in seal.parts
        if part.name.startswith(GRAPH)
    }
    return Segment(
        path=path,
        identity=identity,
        store_id=str(attributes["store_id"]),
        embedder=str(attributes["embedder"]),
        generation=int(attributes["generation"]),
        references=references,
        block=Block(vectors, checksums, path),
        offsets=offsets,
        angles_deg=angles_deg,
        tilts_deg=tilts_deg,
        removed=frozenset(_texts(file["removed/bone_id"])) if "removed" in file else frozenset(),
        pictures=_blobs("pictures", file, seal, raw, path, len(vectors)),
        solids=_blobs("solids", file, seal, raw, path, bones),
        outdated=seal.version < FORMAT_VERSION,
        _seal=seal,
        _raw=raw,
        _graph_scalars=None if graph is None else {name: _scalar(value) for name, value in graph.attrs.items()},
        _graph_arrays=graph_arrays,
    )


def _texts(dataset: h5py.Dataset) -> list[Any]:
    return [text.decode("utf-8", "surrogateescape") for text in dataset[()].tolist()]


def _blobs(name: str, file: h5py.File, seal: Seal, raw: memoryview, path: Path, count: int) -> Blobs:
    if name not in file:
        return Blobs.none(name, path, count)
    columns = {
        column: _array(file[f"{name}/{column}"], seal.part(f"{name}/{column}"), raw)
        for column in ("data", "offsets", "checksums")
        if column in file[name]
    }
    found = Blobs(name, path, columns["data"], columns["offsets"], columns.get("checksums"))
    if len(found) != count:
        raise ValueError(f"{len(found)} {name}, expected {count}")
    return found


def _array(dataset: h5py.Dataset, part: Part, raw: memoryview) -> NDArray[Any]:
    """The dataset as an array over the bytes of the file: of a mapped file, nothing is read until it is touched."""
    if part.length and dataset.id.get_offset() != part.offset:
        raise ValueError(f"{part.name} lies at {dataset.id.get_offset()}, its seal says {part.offset}")
    return np.frombuffer(raw, dtype=dataset.dtype, count=dataset.size, offset=part.offset).reshape(dataset.shape)


def _scalar(value: Any) -> Scalar:
    """A Python scalar: hnswlib refuses numpy's."""
    scalar: Scalar = value.item() if isinstance(value, np.generic) else value
    return scalar


def _identity(status: os.stat_result) -> Identity:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns
