"""Write one immutable HDF5 file of the store; see `segment`, which reads it."""

import hashlib
import io
import mmap
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from boneprint.index.seal import CREATED_BY, FORMAT_VERSION, SEAL_BYTES, Part, Seal
from boneprint.index.segment import GRAPH, TEXT_COLUMNS, Scalar, encoded
from boneprint.index.sink import Sink
from boneprint.nouns import Reference

# Arrays and scalars.
Stored = tuple[Mapping[str, NDArray[Any]], Mapping[str, Scalar]]

# Aligned data: a memory-mapped float32 row must not straddle two cache lines, of 64 bytes on x86 and ARM.
_LAYOUT: dict[str, Any] = {"userblock_size": SEAL_BYTES, "alignment_threshold": 64, "alignment_interval": 64}
# A text column is as wide as a multiple of this, so that few segments of as many bones differ in their layout.
_TEXT_STEP = 32
_PIECE_BYTES = 4 * 2**20


@dataclass(frozen=True, eq=False)
class Content:
    """What one file of the store shall hold.

    Parameters
    ----------
    store_id, embedder : the same in all files of a store
    dim : D
    half : whether vectors are kept as float16
    generation : of a segment its own number, of a base that of the last segment it covers
    references : N bones
    vectors : blocks of (., D) rows, each of one or more whole bones, in the order of the references
    counts : (N,) int64, how many views each bone has
    angles_deg, tilts_deg : (M,) float32
    removed : ids of bones of earlier generations that are enrolled no longer
    pictures : PNG file of each of the M views, empty where there is none; or none at all
    solids : encoded grid of each of the N bones, empty where there is none; or none at all
    graph : arrays and scalars
    """

    store_id: str
    embedder: str
    dim: int
    half: bool
    generation: int
    references: Sequence[Reference] = ()
    vectors: Sequence[NDArray[Any]] = ()
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    angles_deg: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    tilts_deg: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    removed: Sequence[str] = ()
    pictures: Sequence[bytes | memoryview] = ()
    solids: Sequence[bytes | memoryview] = ()
    graph: Stored | None = None


def write_segment(path: Path, content: Content) -> None:
    """Write and seal one file of any size. The caller makes it durable and gives it its name (`publish`)."""
    with Sink(path) as sink:
        with h5py.File(sink, "w", **_LAYOUT) as file:
            parts = _write_all(file, content)
        if sink.ok():
            with mmap.mmap(sink.fileno(), 0, access=mmap.ACCESS_READ) as mapped, memoryview(mapped) as raw:
                seal = Seal.over(raw, parts)
            sink.seek(0)
            sink.write(seal.text())


def unsealed(content: Content) -> tuple[bytes, list[Part]]:
    """The bytes of a small file without its seal, and its datasets."""
    file = io.BytesIO()
    with h5py.File(file, "w", **_LAYOUT) as hdf5:
        parts = _write_all(hdf5, content)
    return file.getvalue(), parts


def _write_all(file: h5py.File, content: Content) -> list[Part]:
    file.attrs["format_version"] = FORMAT_VERSION
    file.attrs["created_by"] = CREATED_BY
    file.attrs["store_id"] = content.store_id
    file.attrs["embedder"] = content.embedder
    file.attrs["generation"] = content.generation
    precision = np.float16 if content.half else np.float32
    views = int(content.counts.sum())
    offsets = np.concatenate([[0], np.cumsum(content.counts)]).astype(np.int64)
    checksums = _Checksums(content.counts)
    blocks = (checksums.passed(block.astype(precision, copy=False)) for block in content.vectors)
    parts = [
        _write(file, "vectors", (views, content.dim), precision, blocks, axes="view, dimension", units="1"),
        _write(file, "checksums", offsets[1:].shape, np.uint32, [checksums.found], axes="bone", units="CRC-32"),
        _write(file, "angles_deg", (views,), np.float32, [content.angles_deg], axes="view", units="degree"),
        _write(file, "tilts_deg", (views,), np.float32, [content.tilts_deg], axes="view", units="degree"),
        _write(file, "offsets", offsets.shape, np.int64, [offsets], axes="bone", units="view"),
    ]
    for column in TEXT_COLUMNS:
        texts = [encoded(getattr(reference, column) or "") for reference in content.references]
        parts.append(_write_texts(file, f"references/{column}", texts))
    canvases = np.array([reference.canvas_mm for reference in content.references], dtype=np.float64)
    parts.append(_write(file, "references/canvas_mm", canvases.shape, np.float64, [canvases], "bone", "mm"))
    if content.removed:
        parts.append(_write_texts(file, "removed/bone_id", [encoded(bone_id) for bone_id in content.removed]))
    if any(content.pictures):
        parts += _write_blobs(file, "pictures", content.pictures, axis="view", units="PNG files")
    if any(content.solids):
        parts += _write_blobs(file, "solids", content.solids, axis="bone", units="encoded grids")
        # PNG files have checksums of their own; what a grid is encoded as is not the store's affair.
        sums = np.array([zlib.crc32(solid) for solid in content.solids], dtype=np.uint32)
        parts.append(_write(file, "solids/checksums", sums.shape, np.uint32, [sums], "bone", "CRC-32"))
    if content.graph is not None:
        arrays, scalars = content.graph
        for name, array in arrays.items():
            parts.append(_write(file, f"{GRAPH}{name}", array.shape, array.dtype, [array]))
        file["graph"].attrs.update(scalars)
        file["graph"].attrs["vectors_sha256"] = parts[0].sha256
    return parts


class _Checksums:
    """CRC-32 of every bone's rows, taken as blocks of whole bones pass by."""

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self.found = np.zeros(len(counts), np.uint32)
        self._counts = counts.tolist()
        self._bone = 0

    def passed(self, block: NDArray[Any]) -> NDArray[Any]:
        raw = np.ascontiguousarray(block)
        row = 0
        while row < len(raw):
            count = self._counts[self._bone]
            self.found[self._bone] = zlib.crc32(raw[row : row + count].view(np.uint8).data)
            row += count
            self._bone += 1
        return raw


def _write(
    group: h5py.Group,
    name: str,
    shape: tuple[int, ...],
    dtype: Any,
    blocks: Iterable[NDArray[Any]],
    axes: str | None = None,
    units: str | None = None,
) -> Part:
    dataset = group.create_dataset(name, shape=shape, dtype=np.dtype(dtype).newbyteorder("<"))
    if axes is not None:
        dataset.attrs.update({"axes": axes, "units": units})
    return _fill(dataset, name, blocks)


def _write_blobs(
    group: h5py.Group, name: str, blobs: Sequence[bytes | memoryview], *, axis: str, units: str
) -> list[Part]:
    ends = np.cumsum([0, *map(len, blobs)], dtype=np.int64)
    return [
        _write(group, f"{name}/data", (int(ends[-1]),), np.uint8, _gathered(blobs), "byte", units),
        _write(group, f"{name}/offsets", ends.shape, np.int64, [ends], axis, "byte"),
    ]


def _gathered(blobs: Iterable[bytes | memoryview]) -> Iterator[NDArray[np.uint8]]:
    """Few long pieces instead of many short ones: whatever its length, a write costs h5py some 0.1 ms."""
    waiting: list[bytes | memoryview] = []
    length = 0
    for blob in blobs:
        waiting.append(blob)
        length += len(blob)
        if length >= _PIECE_BYTES:
            yield np.frombuffer(b"".join(waiting), np.uint8)
            waiting, length = [], 0
    yield np.frombuffer(b"".join(waiting), np.uint8)


def _write_texts(group: h5py.Group, name: str, texts: Sequence[bytes]) -> Part:
    # Fixed length and NUL-terminated: contiguous in the file, and h5dump and HDFView show plain text.
    length = text_width(texts)
    column = h5py.h5t.C_S1.copy()
    column.set_size(length)
    column.set_cset(h5py.h5t.CSET_UTF8)
    column.set_strpad(h5py.h5t.STR_NULLTERM)
    space = h5py.h5s.create_simple((len(texts),))
    folder, _, leaf = name.rpartition("/")
    # As h5py does: a time in the file would make two of the same content differ.
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_obj_track_times(False)
    dataset = h5py.Dataset(h5py.h5d.create(group.require_group(folder).id, leaf.encode(), column, space, how))
    dataset.attrs["axes"] = "bone"
    return _fill(dataset, name, [np.array(texts, dtype=h5py.string_dtype("utf-8", length))])


def text_width(texts: Sequence[bytes]) -> int:
    """Bytes that a column has for each of its texts, at least one of them NUL."""
    return -(-(max(map(len, texts), default=0) + 1) // _TEXT_STEP) * _TEXT_STEP


def _fill(dataset: h5py.Dataset, name: str, blocks: Iterable[NDArray[Any]]) -> Part:
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
