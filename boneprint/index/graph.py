"""The graph: prototypes of every bone in one HNSW. A cache made from the vectors. The only importer of hnswlib."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import hnswlib
import numpy as np
from numpy.typing import NDArray

from boneprint.index.cells import INDEX_VERSION, Cells
from boneprint.index.prototypes import Cover
from boneprint.index.rows import UNIT_TOLERANCE

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

# FIELD section 7: below about 50,000 views exact search is the better default (1 M views: 51 ms).
EXACT_VIEWS = 50_000
# A smaller gallery has no cells either.
CELL_VIEWS = 5_000
# hnswlib's own recommendation for some 100 dimensions is M 12-48. Prototypes of unrelated bones lie all about as far
# from each other, which is hard for a graph: with 32 links it finds as many of them as with 16 and twice the width.
_LINKS, _EF_CONSTRUCTION = 32, 100
_SEED = 20200618
# Where a filter leaves less of the bones than this, asking the graph for as many more bones as the filter takes away
# costs more than measuring those that are left.
_WALKED_SHARE = 0.2
# Up to so many prototypes all of them are compared with a probe, as bytes, which finds more than a walk: that must
# measure what it has found besides.
SWEPT_PROTOTYPES = 500_000
# Where hardly a bone has more prototypes than its centre, the sweep over all centres that proves an answer (0.2 ms for
# 10,000) has already found what the prototypes could tell.
WALKED_CROWDING = 1.5
_NOTHING = np.zeros(0, np.int64), np.zeros(0, np.float32)


@dataclass(frozen=True, eq=False)
class PrototypeGraph:
    """Q prototypes of G bones, and the ball around each bone; see `Cover`.

    Parameters
    ----------
    cells : what the prototypes stand for
    radii : (Q,) float32
    centres, reaches : (G, D) and (G,) float32
    """

    cells: Cells
    radii: FloatArray
    centres: FloatArray
    reaches: FloatArray
    _state: Mapping[str, Any] = field(repr=False)
    _built: Any = field(repr=False, default=None)

    @classmethod
    def built(cls, covers: Iterable[Cover], dim: int, *, threads: int = 1) -> Self:
        """Build it; with one thread byte for byte the same every time, with more faster."""
        hnsw = hnswlib.Index("l2", dim)
        hnsw.init_index(1, M=_LINKS, ef_construction=_EF_CONSTRUCTION, random_seed=_SEED)
        nothing = np.zeros((0, dim), np.float32)
        empty = cls(Cells.of([], dim), nothing[:, 0], nothing, nothing[:, 0], {}, hnsw)
        return empty.grown(covers, threads=threads)

    def grown(self, covers: Iterable[Cover], *, threads: int = 1) -> Self:
        """Add bones behind its own, at the cost of these alone; the graph that it was must not be used any more."""
        covers = list(covers)
        prototypes = np.concatenate([self.centres[:0], *(cover.prototypes for cover in covers)])
        radii = np.concatenate([self.radii, *(cover.radii for cover in covers)])
        centres = np.concatenate([self.centres, *(cover.centre[None] for cover in covers)])
        reaches = np.concatenate([self.reaches, np.array([cover.reach for cover in covers], np.float32)])
        # Bone by bone, the walk gets stuck among the first (FIELD section 7).
        order = np.random.default_rng(_SEED).permutation(len(prototypes))
        if len(order):
            self._hnsw.resize_index(len(radii))
            self._hnsw.add_items(prototypes[order], len(self.radii) + order, num_threads=threads)
        return type(self)(self.cells.grown(covers), radii, centres, reaches, self._hnsw.__getstate__()[0], self._hnsw)

    @classmethod
    def restored(
        cls, arrays: Mapping[str, NDArray[Any]], scalars: Mapping[str, Any], *, bones: int, views: int, dim: int
    ) -> Self:
        """Restore what `stored` gave, without building.

        The arrays must have been verified by checksum: hnswlib checks no bounds, and flipped bits crash the process.

        Raises
        ------
        ValueError
            If it is of another version, or does not belong to ``bones`` bones with ``views`` views of dimension
            ``dim``.
        """
        cells = Cells.restored(arrays, scalars.get("graph_version"), bones=bones, views=views, dim=dim)
        state = {
            name.removeprefix("hnsw_"): value
            for name, value in (*arrays.items(), *scalars.items())
            if name.startswith("hnsw_")
        }
        try:
            radii, centres, reaches = arrays["radii"], arrays["centres"], arrays["reaches"]
            nodes = len(radii)
            fits = (
                len(cells) == nodes
                and centres.shape == (bones, dim)
                and reaches.shape == (bones,)
                and state["dim"] == dim
                and state["cur_element_count"] == nodes
                and len(state["data_level0"]) == state["max_elements"] * state["size_data_per_element"]
            )
        except KeyError as error:
            raise ValueError(f"index without {error}") from error
        if not fits:
            raise ValueError(f"graph of {nodes} prototypes; expected {len(cells)} of {dim} numbers")
        # Restoring starts hnswlib's level generator anew from this seed: with the old one, items that are added would
        # repeat the levels of the first ones.
        state["seed"] = _SEED + nodes
        return cls(cells, radii, centres, reaches, state)

    def stored(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Arrays and scalars from which `restored` makes it again; the prototypes are in hnswlib's level 0."""
        arrays: dict[str, NDArray[Any]] = {
            **self.cells.stored(),
            "radii": self.radii,
            "centres": self.centres,
            "reaches": self.reaches,
        }
        scalars: dict[str, Any] = {"graph_version": INDEX_VERSION}
        for name, value in self._state.items():
            if isinstance(value, np.ndarray):
                arrays[f"hnsw_{name}"] = value
            else:
                scalars[f"hnsw_{name}"] = value
        return arrays, scalars

    @property
    def bones(self) -> int:
        """G, the number of bones."""
        return self.cells.bones

    @property
    def offsets(self) -> IntArray:
        """(G + 1,) prototypes of bone n are offsets[n] to offsets[n + 1]."""
        return self.cells.offsets

    def cover(self, bone: int) -> Cover:
        """What stands for one bone."""
        own = np.array([bone])
        radii = self.radii[self.offsets[bone] : self.offsets[bone + 1]]
        slack = self.cells.codes.slack[self.offsets[bone] : self.offsets[bone + 1]]
        owners = self.cells.owners_of(bone)
        return Cover(self._prototypes_of(own), radii, slack, owners, self.centres[bone], self.reaches[bone])

    @property
    def crowding(self) -> float:
        """How many prototypes a bone has, but at most 4: where it has more, its nearest ones are what a walk meets."""
        return min(max(len(self.radii) / max(self.bones, 1), 1.0), 4.0)

    @cached_property
    def several(self) -> NDArray[np.bool_]:
        """(G,) whether a bone has more prototypes than its centre."""
        return np.asarray(np.diff(self.offsets) > 1)

    def walked(self, probes: FloatArray, count: int, *, share: float) -> tuple[IntArray, FloatArray]:
        """Numbers, rising, and `gaps` of about ``count`` bones that the graph finds near any of the (P, D) probes.

        ``share`` is the share of all bones that is wanted. The graph knows no filter, and is asked for as many more.
        It is not asked at all where little is left of the bones, or where `balls` say all that it knows.
        """
        nodes = round(count * self.crowding / share)
        if share < _WALKED_SHARE or self.crowding < WALKED_CROWDING or nodes >= len(self.radii):
            return _NOTHING
        try:
            labels, squared = self._hnsw.knn_query(probes, k=nodes, num_threads=1)
        except RuntimeError:  # fewer nodes were reached than asked for
            return _NOTHING
        # Nearest first.
        bones, firsts = np.unique(self._owners[labels.astype(np.int64)], return_index=True)
        return bones, np.sqrt(squared[0, firsts]) if len(probes) == 1 else self.gaps(probes, bones)

    def balls(self, probes: FloatArray, bones: IntArray) -> tuple[FloatArray, FloatArray]:
        """For each of (B,) bones, how far its centre is, and the distance that no view of it is nearer than: both (B,).

        By the triangle inequality a view within r of a centre at d is at least d - r away. Fused over the (P, D)
        probes as distances are.
        """
        # All of them are not copied.
        centres = self.centres if len(bones) == self.bones else self.centres[bones]
        distances = np.array([_distances(centres @ probe) for probe in probes])
        return _fused(distances), _fused(distances - self.reaches[bones])

    def gaps(self, probes: FloatArray, bones: IntArray) -> FloatArray:
        """For each of (B,) bones, how far its nearest prototype is: (B,), fused over the (P, D) probes."""
        return _fused(self._nearest(self._to_prototypes(probes, bones), bones))

    def _to_prototypes(self, probes: FloatArray, bones: IntArray) -> FloatArray:
        prototypes = self._prototypes_of(bones)
        return np.array([_distances(prototypes @ probe) for probe in probes])

    def _nearest(self, distances: FloatArray, bones: IntArray) -> FloatArray:
        """(P, B) the least of each bone's."""
        counts = np.diff(self.offsets)[bones]
        return np.asarray(np.minimum.reduceat(distances, np.cumsum(counts) - counts, axis=1))

    def _rows_of(self, bones: IntArray) -> IntArray:
        counts = np.diff(self.offsets)[bones]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.asarray(np.repeat(self.offsets[bones], counts) + within)

    def _prototypes_of(self, bones: IntArray) -> FloatArray:
        prototypes, places = self._level0
        return np.asarray(prototypes[places[self._rows_of(bones)]])

    @cached_property
    def _hnsw(self) -> Any:
        """The graph itself, which copies all prototypes: not before it is walked or added to."""
        return hnswlib.Index(params=self._state) if self._built is None else self._built

    @cached_property
    def _level0(self) -> tuple[FloatArray, IntArray]:
        """The prototypes as hnswlib keeps them, and where among them each one is."""
        state, nodes = self._state, len(self.radii)
        width = int(state["size_data_per_element"])
        raw = state["data_level0"]
        prototypes: FloatArray = np.ndarray(
            (nodes, self.centres.shape[1]), np.float32, raw, int(state["offset_data"]), (width, 4)
        )
        labels: NDArray[np.uint64] = np.ndarray((nodes,), np.uint64, raw, int(state["label_offset"]), (width,))
        places = np.empty(nodes, dtype=np.int64)
        places[labels.astype(np.int64)] = np.arange(nodes)
        return prototypes, places

    @cached_property
    def _owners(self) -> IntArray:
        return np.repeat(np.arange(self.bones), np.diff(self.offsets))


def is_graph(names: Collection[str]) -> bool:
    """Whether there is a graph among what is stored of an index, and not cells alone."""
    return "hnsw_data_level0" in names


def _fused(distances: FloatArray) -> FloatArray:
    """Root mean square over the probes, of (P, B)."""
    positive = np.maximum(distances, 0)
    return np.asarray(positive[0] if len(positive) == 1 else np.sqrt(np.square(positive).mean(axis=0)))


def _distances(products: FloatArray) -> FloatArray:
    """Least that the distance between rows of about unit length can be, given their float32 products."""
    # 4 D eps for the product, as in exact.squared_error, with D at most 1000, and as much as for 24 more for the few
    # roundings from here on; twice the tolerance for the probe's length and a rounding for that of centres and
    # prototypes.
    error = 4 * 1024 * float(np.finfo(np.float32).eps) + 3 * UNIT_TOLERANCE
    return np.asarray(np.sqrt(np.maximum((2.0 - error) - 2.0 * products, 0)))
