"""The gallery: all enrolled bones at one moment, never changing."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError, StoreError
from boneprint.index.cells import Cells
from boneprint.index.graph import PrototypeGraph
from boneprint.index.prototypes import Cover, cover_of
from boneprint.index.rows import Rows
from boneprint.nouns import Reference

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Gallery:
    """N enrolled bones of one generation of a store.

    Parameters
    ----------
    references : N bones
    rows : their fingerprints, where they lie in the files
    angles_deg : (M,) float32, for every row the rotation of the view about the long axis; NaN where unknown
    tilts_deg : (M,) float32, how far the source had moved towards the head; None: all are level
    generation : counts what was added and removed
    embedder : id of what made the vectors, e.g. "compact-1:ab12cd34ef56"
    indexed : (I,) int64, rising: the first I bones have these numbers in the stored graph, and the others are looked at
        one by one; all bones by default
    stored_cells, stored_graph : fetch the cells, and the graph, kept in the file; None where there are none, StoreError
        where they are damaged
    picture : fetches the PNG file of the view of a row, None where none is kept
    solid : fetches the encoded grid of a bone, by its place in ``references``; None where none is kept, StoreError
        where it is damaged

    Raises
    ------
    BoneprintError
        If the shapes do not agree.
    """

    references: tuple[Reference, ...]
    rows: Rows
    angles_deg: NDArray[np.float32]
    generation: int
    embedder: str
    tilts_deg: NDArray[np.float32] | None = field(default=None, repr=False)
    indexed: IntArray | None = field(default=None, repr=False)
    stored_cells: Callable[[], Cells | None] | None = field(default=None, repr=False)
    stored_graph: Callable[[], PrototypeGraph | None] | None = field(default=None, repr=False)
    picture: Callable[[int], bytes | None] = field(default=lambda row: None, repr=False)
    solid: Callable[[int], bytes | None] = field(default=lambda bone: None, repr=False)

    def __post_init__(self) -> None:
        begins, ends = self.rows.begins, self.rows.ends
        if (
            begins.shape != (self.bones,)
            or ends.shape != (self.bones,)
            or (ends <= begins).any()
            or (begins[1:] < ends[:-1]).any()
            or sum(len(block.rows) for block in self.rows.blocks) != len(self.angles_deg)
            or (self.tilts_deg is not None and self.tilts_deg.shape != self.angles_deg.shape)
            or (self.bones > 0 and ends[-1] > len(self.angles_deg))
            or self.indexed_bones > self.bones
        ):
            raise BoneprintError(
                f"gallery: {self.bones} references, rows of {len(begins)} bones, angles {self.angles_deg.shape}; "
                "expected N references, rows of N bones one after the other, and an angle for every row. "
                "Every bone needs a view."
            )

    @property
    def bones(self) -> int:
        """N, the number of bones."""
        return len(self.references)

    @cached_property
    def views(self) -> int:
        """The number of views of all bones."""
        return int(self.rows.counts().sum())

    @property
    def dim(self) -> int:
        """D, the length of a fingerprint."""
        return self.rows.dim

    @property
    def indexed_bones(self) -> int:
        """I, the number of bones that the graph covers."""
        return self.bones if self.indexed is None else len(self.indexed)

    def direction(self, view: int) -> tuple[float, float]:
        """Degrees about the long axis and towards the head that the view of a row was taken from."""
        return float(self.angles_deg[view]), 0.0 if self.tilts_deg is None else float(self.tilts_deg[view])

    @cached_property
    def enrolled(self) -> frozenset[tuple[str, str]]:
        """(source_hash, part) of every bone: what an ingestion need not do again."""
        return frozenset((reference.source_hash, reference.part) for reference in self.references)

    @cached_property
    def places(self) -> IntArray:
        """(N,) 0 to N - 1."""
        return np.arange(self.bones)

    @cached_property
    def indexed_views(self) -> int:
        """The number of views of the first I bones."""
        return int(self.rows.counts()[: self.indexed_bones].sum())

    @cached_property
    def stored_index(self) -> tuple[Cells, IntArray] | None:
        """The stored cells and the (I,) numbers of the first I bones among them; None where none are in order."""
        if self.stored_cells is None or self.indexed is None:
            return None
        try:
            found = self.stored_cells()
        except (StoreError, ValueError) as error:
            _warn(str(error))
            return None
        return None if found is None else (found, self.indexed)

    @cached_property
    def cells(self) -> tuple[Cells, IntArray]:
        """The cells of the first I bones, and their (I,) numbers among them: restored, or made from the vectors."""
        return self.stored_index or (Cells.of(self._covers(), self.dim), np.arange(self.indexed_bones))

    @cached_property
    def graph(self) -> tuple[PrototypeGraph, IntArray]:
        """The graph over the first I bones, and their (I,) numbers in it: restored, or else built from the vectors."""
        if self.stored_graph is not None and self.indexed is not None:
            try:
                graph = self.stored_graph()
                if graph is not None:
                    return graph, self.indexed
                finding = "the store holds no graph"
            except (StoreError, ValueError) as error:
                finding = str(error)
            _warn(finding)
        return PrototypeGraph.built(self._covers(), self.dim), np.arange(self.indexed_bones)

    def _covers(self) -> Iterator[Cover]:
        return (cover_of(self.rows.of(bone)) for bone in range(self.indexed_bones))

    def matching(self, field_name: str, value: str) -> NDArray[np.bool_]:
        """(N,) bool, which bones have this value in a field of their reference; None is the empty value."""
        found = np.zeros(self.bones, dtype=bool)
        found[self._bones_by_value(field_name).get(value, [])] = True
        return found

    @cached_property
    def canvases_mm(self) -> NDArray[np.float64]:
        """(N,) height of the field of view of each bone."""
        return np.array([reference.canvas_mm for reference in self.references], dtype=np.float64)

    def _bones_by_value(self, field_name: str) -> Mapping[str, IntArray | list[int]]:
        # Made once for a field: to look through 10,000 references takes longer than to search them.
        if field_name not in self._columns:
            column: dict[str, list[int]] = {}
            for bone, reference in enumerate(self.references):
                column.setdefault(getattr(reference, field_name) or "", []).append(bone)
            self._columns[field_name] = {value: np.array(bones) for value, bones in column.items()}
        return self._columns[field_name]

    @cached_property
    def _columns(self) -> dict[str, Mapping[str, IntArray]]:
        return {}


def _warn(finding: str) -> None:
    warnings.warn(
        f"{finding}: rebuilding it from the vectors, which are the record. "
        "Run `boneprint checkpoint` to store it again.",
        stacklevel=4,
    )
