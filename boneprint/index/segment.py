"""One immutable HDF5 file of the store; base and segments have the same layout. The only importer of h5py."""

import hashlib
import mmap
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from boneprint.errors import StoreError
from boneprint.index.seal import CREATED_BY, FORMAT_VERSION, SEAL_BYTES, Part, Seal, damaged
from boneprint.index.sink import Sink
from boneprint.nouns import Reference

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Scalar = bool | int | float | str

TEXT_COLUMNS = tuple(column.name for column in fields(Reference) if column.name != "canvas_mm")
# A gallery of 50,000 views x 128 (searched exactly, see graph.py) has 25.6 MB of vectors: up to there a base is
# verified whole when it is opened (SHA-256 at more than 1 GB/s: some 20 ms).
VERIFIED_AT_OPENING_BYTES = 32 * 2**20
GRAPH = "graph/"

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
    vectors : (M, D) float32, unit rows, ordered by bone, read-only
    offsets : (N + 1,) int64; views of bone n are vectors[offsets[n] : offsets[n + 1]]
    angles_deg : (M,) float32, NaN where unknown
    """

    path: Path
    identity: Identity
    store_id: str
    embedder: str
    generation: int
    references: tuple[Reference, ...]
    vectors: FloatArray
    offsets: IntArray
    angles_deg: FloatArray
    _seal: Seal = field(repr=False)
    _raw: memoryview = field(repr=False)
    _graph_scalars: Mapping[str, Scalar] | None = field(repr=False)
    _graph_arrays: Mapping[str, NDArray[Any]] = field(repr=False)

    @property
    def views(self) -> int:
        """M, the number of views."""
        return len(self.vectors)

    @property
    def dim(self) -> int:
        """D, the length of a fingerprint."""
        return int(self.vectors.shape[1])

    def views_by_bone(self) -> Iterator[FloatArray]:
        """The (V, D) views of each bone in turn."""
        return (self.vectors[first:last] for first, last in pairwise(self.offsets))

    def verify_vectors(self) -> None:
        """Read all vectors and compare them with their checksum; StoreError if they are damaged."""
        if not self._seal.part("vectors").intact(self._raw):
            raise damaged(self.path, "vectors does not match its checksum")

    def graph(self) -> tuple[Mapping[str, NDArray[Any]], Mapping[str, Scalar]] | None:
        """Arrays and scalars of the stored graph, or None where none is stored.

        Raises
        ------
        StoreError
            If an array does not match its checksum, or the graph was made from other vectors.
        """
        if self._graph_scalars is None:
            return None
        for part in self._seal.parts:
            if part.name.startswith(GRAPH) and not part.intact(self._raw):
                raise StoreError(f"{self.path}: the index ({part.name}) does not match its checksum")
        if self._graph_scalars.get("vectors_sha256") != self._seal.part("vectors").sha256:
            raise StoreError(f"{self.path}: the index was made from other vectors")
        return self._graph_arrays, self._graph_scalars


def write_segment(
    path: Path,
    *,
    store_id: str,
    embedder: str,
    dim: int,
    generation: int,
    references: Sequence[Reference],
    vectors: Sequence[FloatArray],
    offsets: IntArray,
    angles_deg: FloatArray,
    graph: tuple[Mapping[str, NDArray[Any]], Mapping[str, Scalar]] | None = None,
) -> None:
    """Write and seal one file; ``vectors`` are blocks of (., D) rows, written one after the other.

    The caller makes it durable and gives it its name (`publish`).
    """
    with Sink(path) as sink:
        # Aligned data: a memory-mapped float32 row must not straddle two cache lines, of 64 bytes on x86 and ARM.
        with h5py.File(sink, "w", userblock_size=SEAL_BYTES, alignment_threshold=64, alignment_interval=64) as file:
            file.attrs["format_version"] = FORMAT_VERSION
            file.attrs["created_by"] = CREATED_BY
            file.attrs["store_id"] = store_id
            file.attrs["embedder"] = embedder
            file.attrs["generation"] = generation
            views = sum(len(block) for block in vectors)
            parts = [_write(file, "vectors", (views, dim), np.float32, vectors, axes="view, dimension", units="1")]
            parts.append(_write(file, "angles_deg", (views,), np.float32, [angles_deg], axes="view", units="degree"))
            parts.append(_write(file, "offsets", (len(offsets),), np.int64, [offsets], axes="bone", units="view"))
            for column in TEXT_COLUMNS:
                texts = [encoded(getattr(reference, column) or "") for reference in references]
                parts.append(_write_texts(file, f"references/{column}", texts))
            canvases = np.array([reference.canvas_mm for reference in references], dtype=np.float64)
            parts.append(_write(file, "references/canvas_mm", canvases.shape, np.float64, [canvases], "bone", "mm"))
            if graph is not None:
                arrays, scalars = graph
                for name, array in arrays.items():
                    parts.append(_write(file, f"{GRAPH}{name}", array.shape, array.dtype, [array]))
                file["graph"].attrs.update(scalars)
                file["graph"].attrs["vectors_sha256"] = parts[0].sha256
        if sink.ok():
            with mmap.mmap(sink.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as raw:
                seal = Seal.over(raw, parts)
            sink.seek(0)
            sink.write(seal.text())


def open_raw(path: Path, *, mapped: bool) -> tuple[BinaryIO, memoryview]:
    """The open file and all its bytes; they stay when the name is given to another file.

    Parameters
    ----------
    path : any file
    mapped : map the file, which keeps a file descriptor open, instead of reading it into memory

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
            # An empty file cannot be mapped.
            if mapped and os.fstat(file.fileno()).st_size:
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


def read_segment(path: Path, *, mapped: bool) -> Segment:
    """Open one file of the store, verified but for the large vectors and the graph of a mapped one.

    Parameters
    ----------
    path : a base or a segment
    mapped : map the file (the base) or read it into memory (segments: there may be more than file descriptors)

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    StoreError
        If it is no store, of a newer format, or damaged.
    """
    file, raw = open_raw(path, mapped=mapped)
    with file:
        seal = Seal.read(path, raw)
        if not seal.rest_intact(raw):
            raise damaged(path, "the structure of the file does not match its checksum")
        for part in seal.parts:
            if not (mapped and _verified_later(part)) and not part.intact(raw):
                raise damaged(path, f"{part.name} does not match its checksum")
        try:
            # The open file and not its name: the name may by now stand for the base of the next checkpoint.
            with h5py.File(file, "r") as layout:
                return _segment(path, _identity(os.fstat(file.fileno())), seal, raw, layout)
        except (KeyError, OSError, RuntimeError, TypeError, ValueError) as error:
            raise damaged(path, f"unexpected layout ({error})") from error


def _verified_later(part: Part) -> bool:
    return part.name.startswith(GRAPH) or (part.name == "vectors" and part.length > VERIFIED_AT_OPENING_BYTES)


def encoded(text: str) -> bytes:
    """UTF-8; undecodable bytes of a file name (PEP 383) go back to what they were. UnicodeEncodeError otherwise."""
    return text.encode("utf-8", "surrogateescape")


def _segment(path: Path, identity: Identity, seal: Seal, raw: memoryview, file: h5py.File) -> Segment:
    attributes = file.attrs
    columns = [
        [text.decode("utf-8", "surrogateescape") for text in file[f"references/{name}"][()].tolist()]
        for name in TEXT_COLUMNS
    ]
    laterality = TEXT_COLUMNS.index("laterality")
    columns[laterality] = [side or None for side in columns[laterality]]
    canvases = file["references/canvas_mm"][()].tolist()
    references = tuple(
        Reference(**dict(zip(TEXT_COLUMNS, texts)), canvas_mm=canvas)
        for texts, canvas in zip(zip(*columns), canvases, strict=True)
    )
    vectors = _array(file["vectors"], seal.part("vectors"), raw)
    offsets = np.asarray(file["offsets"][()], dtype=np.int64)
    angles_deg = np.asarray(file["angles_deg"][()], dtype=np.float32)
    if (
        vectors.ndim != 2
        or offsets.shape != (len(references) + 1,)
        or offsets[0] != 0
        or offsets[-1] != len(vectors)
        or (np.diff(offsets) < 1).any()
        or angles_deg.shape != (len(vectors),)
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
        vectors=vectors,
        offsets=offsets,
        angles_deg=angles_deg,
        _seal=seal,
        _raw=raw,
        _graph_scalars=None if graph is None else {name: _scalar(value) for name, value in graph.attrs.items()},
        _graph_arrays=graph_arrays,
    )


def _write(
    group: h5py.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: Any,
    blocks: Sequence[NDArray[Any]],
    axes: str | None = None,
    units: str | None = None,
) -> Part:
    dataset = group.create_dataset(name, shape=shape, dtype=np.dtype(dtype).newbyteorder("<"))
    if axes is not None:
        dataset.attrs.update({"axes": axes, "units": units})
    return _fill(dataset, name, blocks)


def _write_texts(group: h5py.Group, name: str, texts: Sequence[bytes]) -> Part:
    # Fixed length and NUL-terminated: contiguous in the file, and h5dump and HDFView show plain text.
    length = max(map(len, texts), default=0) + 1
    column = h5py.h5t.C_S1.copy()
    column.set_size(length)
    column.set_cset(h5py.h5t.CSET_UTF8)
    column.set_strpad(h5py.h5t.STR_NULLTERM)
    space = h5py.h5s.create_simple((len(texts),))
    dataset = h5py.Dataset(
        h5py.h5d.create(group.require_group("references").id, Path(name).name.encode(), column, space)
    )
    dataset.attrs["axes"] = "bone"
    return _fill(dataset, name, [np.array(texts, dtype=h5py.string_dtype("utf-8", length))])


def _fill(dataset: h5py.Dataset, name: str, blocks: Sequence[NDArray[Any]]) -> Part:
    """Write the blocks one after the other; the checksum is of the bytes as they stand in the file."""
    digest = hashlib.sha256()
    position = length = 0
    for block in blocks:
        if block.size:
            rows = np.ascontiguousarray(block)
            dataset[position : position + len(rows)] = rows
            digest.update(rows.view(np.uint8).data)
            length += rows.nbytes
        position += len(block)
    dataset.attrs["sha256"] = digest.hexdigest()
    # A dataset without elements has no place in the file.
    offset = dataset.id.get_offset() if length else 0
    return Part(name, offset, length, digest.hexdigest())


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
