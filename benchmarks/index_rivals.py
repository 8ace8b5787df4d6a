"""One other engine on one data set of benchmarks/index.py: views in, bones out. Runs in an environment of its own.

Each engine indexes all views. It is asked for so many views that ten different bones are among them; a bone's distance
is that of its nearest view. Widths of search and numbers of views asked for are tried from small to large, and the
fastest setting that reaches the recall of the bar is the one reported; where none does, the one with the best recall.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Ask = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]

LINKS, EF_CONSTRUCTION = 16, 200
WIDTHS = (200, 500, 1000, 2500, 5000)
CELLS, PROBED = 4096, (4, 8, 16, 32, 64, 128, 256, 512)
ASKED = (100, 200, 500, 1000, 1500, 2500)
TOP10, TOP1 = 0.99, 0.999
SLOW_MS = 100.0


class FaissFlat:
    """Everything is looked at."""

    def build(self, vectors: np.ndarray, path: Path) -> None:
        """Index the views and keep the index in a file."""
        import faiss

        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        faiss.write_index(index, str(path))

    def settings(self, path: Path, dim: int) -> Iterator[tuple[str, Ask]]:
        """Every setting worth trying, and how to ask in it."""
        import faiss

        faiss.omp_set_num_threads(1)
        index = faiss.read_index(str(path))

        def ask(probe: np.ndarray, asked: int) -> tuple[np.ndarray, np.ndarray]:
            products, rows = index.search(probe[None], asked)
            # Where fewer were found, the rest is -1 with the least number there is.
            return rows[0], 2 - 2 * np.maximum(products[0], -1)

        for setting in self.set_one_by_one(index):
            yield setting, ask

    def set_one_by_one(self, index: Any) -> Iterator[str]:
        """Nothing to set."""
        yield "flat"


class FaissIvf(FaissFlat):
    """Cells by k-means, and so many of the nearest looked at."""

    def build(self, vectors: np.ndarray, path: Path) -> None:
        """As above."""
        import faiss

        cells = min(CELLS, len(vectors) // 40)
        index = faiss.IndexIVFFlat(
            faiss.IndexFlatIP(vectors.shape[1]), vectors.shape[1], cells, faiss.METRIC_INNER_PRODUCT
        )
        index.cp.niter, index.cp.seed = 10, 1
        sample = np.random.default_rng(1).choice(len(vectors), min(len(vectors), 40 * cells), replace=False)
        index.train(vectors[sample])
        index.add(vectors)
        faiss.write_index(index, str(path))

    def set_one_by_one(self, index: Any) -> Iterator[str]:
        """Numbers of cells."""
        for index.nprobe in PROBED:
            yield f"{index.nlist} cells, {index.nprobe} probed"


class FaissHnsw(FaissFlat):
    """A graph."""

    def build(self, vectors: np.ndarray, path: Path) -> None:
        """As above."""
        import faiss

        index = faiss.IndexHNSWFlat(vectors.shape[1], LINKS, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = EF_CONSTRUCTION
        index.add(vectors)
        faiss.write_index(index, str(path))

    def set_one_by_one(self, index: Any) -> Iterator[str]:
        """Widths."""
        for index.hnsw.efSearch in WIDTHS:
            yield f"M {LINKS}, ef {index.hnsw.efSearch}"


class Usearch:
    """A graph."""

    def build(self, vectors: np.ndarray, path: Path) -> None:
        """As above."""
        index = self._empty(vectors.shape[1])
        index.add(np.arange(len(vectors)), vectors)
        index.save(str(path))

    def settings(self, path: Path, dim: int) -> Iterator[tuple[str, Ask]]:
        """As above."""
        index = self._empty(dim)
        index.load(str(path))

        def ask(probe: np.ndarray, asked: int) -> tuple[np.ndarray, np.ndarray]:
            found = index.search(probe, asked, threads=1)
            return np.asarray(found.keys, np.int64), 2 * np.asarray(found.distances)

        for index.expansion_search in WIDTHS:
            yield f"M {LINKS}, ef {index.expansion_search}", ask

    def _empty(self, dim: int) -> Any:
        from usearch.index import Index

        return Index(ndim=dim, metric="ip", dtype="f32", connectivity=LINKS, expansion_add=EF_CONSTRUCTION)


class Hnswlib:
    """The graph that boneprint uses, over views instead of prototypes."""

    def build(self, vectors: np.ndarray, path: Path) -> None:
        """As above."""
        import hnswlib

        index = hnswlib.Index("ip", vectors.shape[1])
        index.init_index(len(vectors), M=LINKS, ef_construction=EF_CONSTRUCTION, random_seed=1)
        index.add_items(vectors)
        index.save_index(str(path))

    def settings(self, path: Path, dim: int) -> Iterator[tuple[str, Ask]]:
        """As above."""
        import hnswlib

        index = hnswlib.Index("ip", dim)
        index.load_index(str(path))

        def ask(probe: np.ndarray, asked: int) -> tuple[np.ndarray, np.ndarray]:
            rows, distances = index.knn_query(probe[None], k=asked, num_threads=1)
            return rows[0].astype(np.int64), 2 * distances[0]

        for width in WIDTHS:
            index.set_ef(width)
            yield f"M {LINKS}, ef {width}", ask


ENGINES = {
    "faiss-flat": FaissFlat,
    "faiss-ivf": FaissIvf,
    "faiss-hnsw": FaissHnsw,
    "usearch": Usearch,
    "hnswlib": Hnswlib,
}


def main() -> None:
    """Build the index unless it is there; unless only that was asked for, try the settings and print the best."""
    folder, name, k = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    engine, path = ENGINES[name](), folder / f"{name}.index"
    if not path.exists():
        unfinished = folder / f"{name}.unfinished"
        engine.build(np.load(folder / "vectors.npy"), unfinished)
        unfinished.replace(path)
    if k == 0:
        return
    probes = np.load(folder / "probes.npy")
    known = np.load(folder / "truth.npz")
    views, right = int(known["views"]), known["distances"]
    tried: list[dict[str, Any]] = []
    for setting, ask in engine.settings(path, probes.shape[1]):
        for asked in ASKED:
            # The first hundred probes tell which settings are worth the rest.
            found = run(ask, asked, probes[:100], views, right, k)
            too_slow = found["p50_ms"] > SLOW_MS and name != "faiss-flat"
            if found["top10"] >= TOP10 - 0.01:
                found = run(ask, asked, probes, views, right, k)
            tried.append({"setting": f"{setting}, {asked} views asked", **found})
            if too_slow or found["top10"] >= TOP10:
                break
        if tried[-1]["top10"] >= 0.999 or too_slow:
            break
    able = [each for each in tried if each["top10"] >= TOP10 and each["top1"] >= TOP1]
    by_recall = max(tried, key=lambda each: (each["top10"] + each["top1"], -each["p50_ms"]))
    best = min(able, key=lambda each: each["p50_ms"]) if able else by_recall
    print(json.dumps({**best, "reaches_the_bar": bool(able), "tried": tried}))


def run(ask: Ask, asked: int, probes: np.ndarray, views: int, right: np.ndarray, k: int) -> dict[str, float]:
    """Recall and latency over some probes."""
    seconds, top10, top1 = [], [], []
    for probe, distances in zip(probes, right):
        clock = time.process_time()
        rows, squared = ask(probe, asked)
        found = rows >= 0
        _, first = np.unique(rows[found] // views, return_index=True)
        nearest = np.sqrt(np.maximum(np.sort(squared[found][first])[:k], 0))
        seconds.append(time.process_time() - clock)
        top10.append((nearest <= distances[k - 1] + 1e-4).sum() / k)
        top1.append(float(len(nearest) and nearest[0] <= distances[0] + 1e-4))
    p50, p99 = np.quantile(seconds, [0.5, 0.99]) * 1e3
    return {
        "top10": float(np.mean(top10)),
        "top1": float(np.mean(top1)),
        "p50_ms": round(p50, 3),
        "p99_ms": round(p99, 3),
    }


if __name__ == "__main__":
    main()
