"""The graph: prototypes of every bone in one HNSW. A cache made from the vectors. The only importer of hnswlib."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import hnswlib
import numpy as np
from numpy.typing import NDArray

from boneprint.index.exact import UNIT_TOLERANCE
from boneprint.index.prototypes import prototypes_of

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

# FIELD section 7: below about 50,000 views exact search is the better default (1 M views: 51 ms).
EXACT_VIEWS = 50_000
# Raised when prototypes or arrays change their meaning: an older stored graph is then rebuilt.
GRAPH_VERSION = 1
# hnswlib's own recommendation for some 100 dimensions is M 12-48; 16 and 200 gave FIELD section 7's figures.
_LINKS, _EF_CONSTRUCTION = 16, 200
_SEED = 20200618


@dataclass(frozen=True, eq=False)
class PrototypeGraph:
    """Q prototypes of N bones.

    Parameters
    ----------
    prototypes : (Q, D) float32, unit rows, ordered by bone
    offsets : (N + 1,) int64; prototypes of bone n are prototypes[offsets[n] : offsets[n + 1]]
    radii : (Q,) float32; no view that a prototype stands for is farther from it
    """

    prototypes: FloatArray
    offsets: IntArray
    radii: FloatArray
    _hnsw: Any = field(repr=False)

    @classmethod
    def built(cls, views_by_bone: Iterable[FloatArray], dim: int, known: Self | None = None) -> Self:
        """Build it from the (V, D) views of each bone; byte for byte the same every time.

        ``known`` is a graph over the first of these bones, whose prototypes are taken from it.
        """
        views = iter(views_by_bone)
        covers: list[tuple[FloatArray, FloatArray]] = []
        if known is not None:
            for first, last in pairwise(known.offsets):
                next(views)
                covers.append((known.prototypes[first:last], known.radii[first:last]))
        covers += [prototypes_of(bone) for bone in views]
        prototypes = np.concatenate([np.zeros((0, dim), np.float32), *(cover[0] for cover in covers)])
        radii = np.concatenate([np.zeros(0, np.float32), *(cover[1] for cover in covers)])
        offsets = np.cumsum([0, *(len(cover[1]) for cover in covers)], dtype=np.int64)
        hnsw = hnswlib.Index("l2", dim)
        hnsw.init_index(max(len(radii), 1), M=_LINKS, ef_construction=_EF_CONSTRUCTION, random_seed=_SEED)
        # Bone by bone, the walk gets stuck among the first (FIELD section 7); and two threads are not deterministic.
        order = np.random.default_rng(_SEED).permutation(len(radii))
        if len(order):
            hnsw.add_items(prototypes[order], order, num_threads=1)
        return cls(prototypes, offsets, radii, hnsw)

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray[Any]], scalars: Mapping[str, Any], *, bones: int, dim: int) -> Self:
        """Restore what `stored` gave, without building.

        The arrays must have been verified by checksum: hnswlib checks no bounds, and flipped bits crash the process.

        Raises
        ------
        ValueError
            If it is of another version, or does not belong to ``bones`` bones of dimension ``dim``.
        """
        if scalars.get("graph_version") != GRAPH_VERSION:
            raise ValueError(f"index version {scalars.get('graph_version')}, expected {GRAPH_VERSION}")
        state = {
            name.removeprefix("hnsw_"): value
            for name, value in (*arrays.items(), *scalars.items())
            if name.startswith("hnsw_")
        }
        try:
            prototypes, radii = arrays["prototypes"], arrays["radii"]
            offsets = np.asarray(arrays["offsets"], dtype=np.int64)
            nodes = len(radii)
            fits = (
                prototypes.shape == (nodes, dim)
                and offsets.shape == (bones + 1,)
                and offsets[-1] == nodes
                and state["dim"] == dim
                and state["cur_element_count"] == nodes
                and len(state["data_level0"]) == state["max_elements"] * state["size_data_per_element"]
            )
        except KeyError as error:
            raise ValueError(f"index without {error}") from error
        if not fits:
            raise ValueError(
                f"index of {len(offsets) - 1} bones, {nodes} prototypes; expected {bones} of {dim} numbers"
            )
        # Restoring starts hnswlib's level generator anew from this seed: were items ever added, with the old seed they
        # would repeat the levels of the first ones. None are.
        state["seed"] = _SEED + nodes
        return cls(prototypes, offsets, radii, hnswlib.Index(params=state))

    def stored(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Arrays and scalars from which `restored` makes it again."""
        arrays: dict[str, NDArray[Any]] = {"prototypes": self.prototypes, "offsets": self.offsets, "radii": self.radii}
        scalars: dict[str, Any] = {"graph_version": GRAPH_VERSION}
        for name, value in self._hnsw.__getstate__()[0].items():
            if isinstance(value, np.ndarray):
                arrays[f"hnsw_{name}"] = value
            else:
                scalars[f"hnsw_{name}"] = value
        return arrays, scalars

    @property
    def bones(self) -> int:
        """N, the number of bones."""
        return len(self.offsets) - 1

    @cached_property
    def _owners(self) -> IntArray:
        return np.repeat(np.arange(self.bones), np.diff(self.offsets))

    def nearest_bones(self, probe: FloatArray, count: int) -> IntArray:
        """About ``count`` bones whose prototypes are nearest to a (D,) probe, nearest first; fewer only if N is."""
        wanted = min(count, self.bones)
        nodes = min(2 * wanted, len(self.radii))
        while True:
            try:
                labels, _ = self._hnsw.knn_query(probe[None], k=nodes, num_threads=1)
            except RuntimeError:
                # The walk has reached fewer nodes than were asked for; asking for so many, one may as well look at all.
                return np.arange(self.bones)
            owners = self._owners[labels[0].astype(np.int64)]
            _, first = np.unique(owners, return_index=True)
            if len(first) >= wanted or nodes == len(self.radii):
                return np.asarray(owners[np.sort(first)][:count])
            nodes = min(2 * nodes, len(self.radii))

    def lower_bounds(self, probes: FloatArray) -> NDArray[np.float64]:
        """(N,) distance that no view of each bone is nearer than, fused over the (P, D) probes as distances are.

        By the triangle inequality: a view within r of a prototype at d is at least d - r away.
        """
        squares = np.zeros(self.bones)
        # Rounding of the float32 product, as in exact.squared_error; the lengths are taken as they are.
        error = 4 * self.prototypes.shape[1] * float(np.finfo(np.float32).eps) * (1 + UNIT_TOLERANCE) ** 2
        for probe in probes:
            squared = (
                self._squared_lengths + np.square(probe.astype(np.float64)).sum() - 2.0 * (self.prototypes @ probe)
            )
            gaps = np.sqrt(np.maximum(squared - error, 0)) - self.radii
            squares += np.square(np.maximum(np.minimum.reduceat(gaps, self.offsets[:-1]), 0))
        return np.sqrt(squares / len(probes))

    @cached_property
    def _squared_lengths(self) -> NDArray[np.float64]:
        return np.asarray(np.einsum("qd,qd->q", self.prototypes, self.prototypes, dtype=np.float64))
