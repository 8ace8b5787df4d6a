"""The gallery: all enrolled bones at one moment, never changing."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError, StoreError
from boneprint.index.graph import PrototypeGraph
from boneprint.nouns import Reference

StoredGraph = tuple[Mapping[str, NDArray[Any]], Mapping[str, Any]]


@dataclass(frozen=True, eq=False)
class Gallery:
    """N enrolled bones with M views in all, of one generation of a store.

    Parameters
    ----------
    references : N bones
    vectors : (M, D) float32, unit rows, ordered by bone; memory-mapped where no segments are pending
    offsets : (N + 1,) int64; views of bone n are vectors[offsets[n] : offsets[n + 1]], at least one
    angles_deg : (M,) float32, rotation of each view about the long axis; NaN where unknown
    generation : counts the appends
    embedder : id of what made the vectors, e.g. "compact-1:ab12cd34ef56"
    graph_bones : how many bones, from the first, the graph covers; the others are searched exactly. All by default
    stored_graph : fetches the graph kept in the file, None where there is none, StoreError where it is damaged

    Raises
    ------
    BoneprintError
        If the shapes do not agree.
    """

    references: tuple[Reference, ...]
    vectors: NDArray[np.float32]
    offsets: NDArray[np.int64]
    angles_deg: NDArray[np.float32]
    generation: int
    embedder: str
    graph_bones: int = -1
    stored_graph: Callable[[], StoredGraph | None] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.graph_bones < 0:
            object.__setattr__(self, "graph_bones", self.bones)
        if (
            self.vectors.ndim != 2
            or self.vectors.dtype != np.float32
            or self.offsets.shape != (self.bones + 1,)
            or self.offsets[0] != 0
            or self.offsets[-1] != len(self.vectors)
            or (np.diff(self.offsets) < 1).any()
            or self.angles_deg.shape != (len(self.vectors),)
            or self.graph_bones > self.bones
        ):
            raise BoneprintError(
                f"gallery: {self.bones} references, {self.vectors.dtype} vectors {self.vectors.shape}, offsets "
                f"{self.offsets.shape}, angles {self.angles_deg.shape}; expected N references, float32 (M, D), "
                "offsets (N + 1,) rising from 0 to M, and angles (M,). Every bone needs a view."
            )

    @property
    def bones(self) -> int:
        """N, the number of bones."""
        return len(self.references)

    @property
    def views(self) -> int:
        """M, the number of views of all bones."""
        return len(self.vectors)

    @property
    def dim(self) -> int:
        """D, the length of a fingerprint."""
        return int(self.vectors.shape[1])

    @property
    def graph_views(self) -> int:
        """The number of views that the graph covers."""
        return int(self.offsets[self.graph_bones])

    @cached_property
    def enrolled(self) -> frozenset[tuple[str, str]]:
        """(source_hash, part) of every bone: what an ingestion need not do again."""
        return frozenset((reference.source_hash, reference.part) for reference in self.references)

    @cached_property
    def graph(self) -> PrototypeGraph:
        """The graph over the first ``graph_bones`` bones: restored from the file, or else built from the vectors."""
        if self.stored_graph is not None:
            try:
                stored = self.stored_graph()
                if stored is not None:
                    return PrototypeGraph.restored(*stored, bones=self.graph_bones, dim=self.dim)
                finding = "the store holds no index"
            except (StoreError, ValueError) as error:
                finding = str(error)
            warnings.warn(
                f"{finding}: rebuilding it from the vectors, which are the record. "
                "Run `boneprint checkpoint` to store it again.",
                stacklevel=2,
            )
        covered = self.offsets[: self.graph_bones + 1]
        return PrototypeGraph.built((self.vectors[first:last] for first, last in pairwise(covered)), self.dim)
