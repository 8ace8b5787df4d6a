"""Small segments at a fraction of the cost: HDF5 lays out one, and the next ones are that file with other bytes in it.

A segment of one bone is some 40 kB in 15 datasets, and to have libhdf5 write and read them takes ten times as long as
to compute what they hold. Segments with as many bones and views and equally wide texts have the same layout; what
differs are the data, their SHA-256 and the generation. So libhdf5 writes one segment for each layout, of data that are
found again in it, and every segment of that layout is a copy of it with these places written over: byte for byte the
file that `write_segment` writes.
"""

import hashlib
import zlib
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boneprint.index.blobs import Blobs
from boneprint.index.rows import Block
from boneprint.index.seal import SEAL_BYTES, Part, Seal
from boneprint.index.segment import TEXT_COLUMNS, Identity, Segment, encoded
from boneprint.index.write import Content, text_width, unsealed
from boneprint.nouns import Reference

# More is written as it is: the cost is then that of the data.
_MOST_VIEWS = 512
_MOST_LAYOUTS = 16
# As good as never found by chance in some kB of structure.
_GENERATION = 0x62_6F_6E_65_70_72_69_6E


@dataclass(frozen=True, eq=False)
class Written:
    """The bytes of a whole file of the store, and what they say."""

    content: Content
    raw: bytes
    seal: Seal

    def write(self, path: Path) -> None:
        """Make the file. The caller makes it durable and gives it its name (`publish`)."""
        with path.open("wb", buffering=0) as file:
            rest = memoryview(self.raw)
            while rest:
                rest = rest[file.write(rest) :]

    def segment(self, path: Path, identity: Identity) -> Segment:
        """What `read_segment` reads from the published file."""
        content, raw = self.content, memoryview(self.raw)

        def array(name: str, dtype: str) -> NDArray[Any]:
            part = self.seal.part(name)
            return np.frombuffer(raw[part.offset : part.offset + part.length], dtype)

        vectors = array("vectors", "<f2" if content.half else "<f4").reshape(-1, content.dim)
        return Segment(
            path=path,
            identity=identity,
            store_id=content.store_id,
            embedder=content.embedder,
            generation=content.generation,
            references=tuple(content.references),
            block=Block(vectors, None, path),
            offsets=array("offsets", "<i8"),
            angles_deg=array("angles_deg", "<f4"),
            tilts_deg=array("tilts_deg", "<f4"),
            removed=frozenset(),
            pictures=Blobs.none("pictures", path, len(vectors)),
            solids=Blobs.none("solids", path, len(content.references)),
            outdated=False,
            _seal=self.seal,
            _raw=raw,
            _graph_scalars=None,
            _graph_arrays={},
        )


@dataclass(frozen=True, eq=False)
class _Layout:
    """A file with other data, and where in it the parts, their digests and the generation stand."""

    image: bytes
    parts: tuple[Part, ...]
    digests: tuple[int, ...]
    generation: int


class Layouts:
    """The layouts of the segments that a writer has written last."""

    def __init__(self) -> None:
        self._known: OrderedDict[Hashable, _Layout] = OrderedDict()

    def written(self, content: Content) -> Written | None:
        """The file that `write_segment` would write; None if it is not one of these small ones."""
        # What is removed is written by the way; how long pictures and solids are is never the same.
        if (
            not content.references
            or content.removed
            or any(content.pictures)
            or any(content.solids)
            or content.graph is not None
            or content.counts.sum() > _MOST_VIEWS
        ):
            return None
        texts = {
            name: [encoded(getattr(reference, name) or "") for reference in content.references] for name in TEXT_COLUMNS
        }
        widths = {name: text_width(column) for name, column in texts.items()}
        views, bones = int(content.counts.sum()), len(content.references)
        key = (content.store_id, content.embedder, content.dim, content.half, views, bones, *widths.values())
        layout = self._known.pop(key, None) or _laid_out(content, widths)
        self._known[key] = layout
        if len(self._known) > _MOST_LAYOUTS:
            self._known.popitem(last=False)

        precision = "<f2" if content.half else "<f4"
        vectors = [np.ascontiguousarray(block, precision).tobytes() for block in content.vectors]
        canvases = [float(reference.canvas_mm) for reference in content.references]
        data = {
            "vectors": b"".join(vectors),
            "angles_deg": content.angles_deg.astype("<f4").tobytes(),
            "tilts_deg": content.tilts_deg.astype("<f4").tobytes(),
            "offsets": np.concatenate([[0], np.cumsum(content.counts)]).astype("<i8").tobytes(),
            "references/canvas_mm": np.array(canvases, "<f8").tobytes(),
            **{f"references/{name}": np.array(column, f"S{widths[name]}").tobytes() for name, column in texts.items()},
        }
        ends = np.cumsum(content.counts) * (len(data["vectors"]) // views)
        sums = [zlib.crc32(data["vectors"][first:last]) for first, last in zip([0, *ends.tolist()], ends.tolist())]
        data["checksums"] = np.array(sums, "<u4").tobytes()
        return _filled(layout, content, data)


def _filled(layout: _Layout, content: Content, data: dict[str, bytes]) -> Written:
    image = bytearray(layout.image)
    parts = []
    for part, digest in zip(layout.parts, layout.digests):
        raw = data[part.name]
        if len(raw) != part.length:
            raise ValueError(f"{part.name}: {len(raw)} bytes, expected {part.length}")
        parts.append(replace(part, sha256=hashlib.sha256(raw).hexdigest()))
        image[part.offset : part.offset + part.length] = raw
        image[digest : digest + 64] = parts[-1].sha256.encode()
    image[layout.generation : layout.generation + 8] = content.generation.to_bytes(8, "little")
    seal = Seal.over(memoryview(image), parts)
    image[:SEAL_BYTES] = seal.text()
    return Written(content, bytes(image), seal)


def _laid_out(content: Content, widths: dict[str, int]) -> _Layout:
    """Have libhdf5 write as much of something else, in which no two datasets are alike."""
    bones = len(content.references)
    rng = np.random.default_rng(0)

    def some_text(name: str, bone: int) -> str:
        return hashlib.shake_128(f"{name} {bone}".encode()).hexdigest(widths[name] // 2)[: widths[name] - 1]

    references = [
        Reference(**{name: some_text(name, bone) for name in TEXT_COLUMNS}, canvas_mm=1000.0 + bone)
        for bone in range(bones)
    ]
    other = replace(
        content,
        generation=_GENERATION,
        references=references,
        vectors=[rng.random(block.shape, np.float32) for block in content.vectors],
        angles_deg=rng.random(len(content.angles_deg), np.float32),
        tilts_deg=rng.random(len(content.tilts_deg), np.float32),
        pictures=(),
        solids=(),
    )
    image, parts = unsealed(other)
    digests = tuple(_only(image, part.sha256.encode()) for part in parts)
    return _Layout(image, tuple(parts), digests, _only(image, _GENERATION.to_bytes(8, "little")))


def _only(image: bytes, mark: bytes) -> int:
    """Where the mark stands; it must stand there once."""
    if image.count(mark) != 1:
        raise ValueError(f"{image.count(mark)} places for {mark!r}, expected one")
    return image.index(mark)
