"""Rank of the right bone among simulated femora that nobody trained or calibrated on.

The gallery is ingested from DICOM by the ordinary command path; probes are natural-looking radiographs in a pose,
exposure, noise and blur that the gallery does not hold. Nothing is tuned here: thresholds are those of the card.
"""

import argparse
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import report
import torch

import boneprint
from boneprint import calibration_set, views
from boneprint.cohort import simulate_cohort
from boneprint.evidence.metrics import share_interval
from boneprint.nouns import Radiograph

RANKS = (1, 2, 5, 10)


def main() -> None:
    """Parse, run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bones", type=int, default=100, help="people in the gallery, each probed once; at least 2")
    parser.add_argument("--seed", type=int, default=31, help="of the cohort")
    parser.add_argument("--probe-seed", type=int, default=77, help="of poses and exposures")
    parser.add_argument("--species", default="human")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--name", default="identify", help="of the JSON in benchmarks/results")
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        result = run(given, Path(folder))
    print(report.heading())
    print(table(result))
    report.write(given.name, result)


def run(given: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Simulate, ingest, probe, search; every probe's rank and distances."""
    clock = time.perf_counter()
    people = [(folder / f"{i:04d}", given.seed, given.species, i, given.probe_seed) for i in range(given.bones)]
    with ProcessPoolExecutor(given.workers, mp_context=get_context("spawn")) as pool:
        probes = list(pool.map(simulate_and_probe, people))
    simulated = time.perf_counter()
    with boneprint.open(folder / "bones.h5", writable=True) as database:
        ingested = database.ingest(folder)
        if len(ingested.enrolled) != given.bones:
            raise SystemExit(f"{len(ingested.enrolled)} of {given.bones} enrolled: {ingested.failed[:3]}")
        searched = {
            "AP": [search(database, truth, [ap]) for truth, ap, _ in probes],
            "ML": [search(database, truth, [ml]) for truth, _, ml in probes],
            "AP + ML": [search(database, truth, [ap, ml]) for truth, ap, ml in probes],
        }
        embedder = database.store.embedder
        views_each = database.info()["views"] // given.bones
    outcome = {name: summary(each) for name, each in searched.items()}
    return {
        "question": "closed-set identification, rank of the right bone",
        "embedder": embedder,
        "gallery": {"bones": given.bones, "views_each": views_each, "species": given.species, "seed": given.seed},
        "probes": {
            "seed": given.probe_seed,
            "axis_deg": calibration_set.AXIS_DEG,
            "plane_deg": calibration_set.PLANE_DEG,
            "tilt_sd_deg": calibration_set.TILT_DEG,
            "content": "soft tissue, random exposure, focal blur, scatter, quantum noise",
        },
        "sets": "train, calibration and test people come from disjoint seed streams (boneprint.simulate.individual)",
        "interval": "95 %, bootstrap over bones; 3 / bones where nothing went wrong",
        "outcome": outcome,
        "seconds": {
            "simulate_and_probe": round(simulated - clock, 1),
            "ingest_per_bone": round(ingested.seconds / given.bones, 2),
            "search_median": round(float(np.median([e["seconds"] for e in searched["AP"]])), 4),
        },
    }


def simulate_and_probe(person: tuple[Path, int, str, int, int]) -> tuple[str, Radiograph, Radiograph]:
    """Write one person's DICOM, read it again, and take an AP and an ML radiograph from what was read."""
    folder, seed, species, index, probe_seed = person
    torch.set_num_threads(1)
    (member,) = simulate_cohort(folder, 1, seed=seed, species=species, first=index)
    volume = views.single_ct(folder).load().volume
    rng = np.random.default_rng((probe_seed, index))
    ap, ml = (views.natural(volume, **calibration_set.probe_poses(rng, side)) for side in calibration_set.SIDES)
    return member.subject_id, ap, ml


def search(database: boneprint.Database, truth: str, probes: list[Radiograph]) -> dict[str, float]:
    """Where the right bone came, how near it was, and how near the nearest wrong one."""
    result = database.search(probes, k=1_000_000)
    right = next(c for c in result.candidates if c.reference.subject_id == truth)
    wrong = [c for c in result.candidates if c.reference.subject_id != truth]
    return {
        "rank": right.rank,
        "distance": right.distance,
        "nearest_wrong": wrong[0].distance,
        "missed": not right.within_margin,
        "false_matches": sum(c.within_margin for c in wrong),
        "wrong": len(wrong),
        "seconds": result.seconds,
    }


def summary(each: list[dict[str, float]]) -> dict[str, object]:
    """Cumulative match characteristic with intervals, and error rates at the card's threshold."""
    ranks = np.array([e["rank"] for e in each])
    return {
        "ranks": {str(r): {"share": float((ranks <= r).mean()), "interval": share_interval(ranks <= r)} for r in RANKS},
        "fnmr_at_card_threshold": float(np.mean([e["missed"] for e in each])),
        "fmr_at_card_threshold": float(sum(e["false_matches"] for e in each) / sum(e["wrong"] for e in each)),
        "median_distance": float(np.median([e["distance"] for e in each])),
        "median_nearest_wrong": float(np.median([e["nearest_wrong"] for e in each])),
    }


def table(result: dict[str, object]) -> str:
    """The outcome for people."""
    gallery = result["gallery"]
    lines = [
        f"gallery {gallery['bones']} {gallery['species']} femora, {gallery['views_each']} views each, "
        f"embedder {result['embedder']}, seeds {gallery['seed']} (people) and {result['probes']['seed']} (probes)",
        f"{'probe':<9}" + "".join(f"{'rank ' + str(r):>22}" for r in RANKS) + f"{'FNMR':>8}{'FMR':>10}",
    ]
    for name, each in result["outcome"].items():
        cells = []
        for r in RANKS:
            found = each["ranks"][str(r)]
            low, high = found["interval"]
            cells.append(f"{found['share']:>8.1%} ({low:.0%}-{high:.0%})".rjust(22))
        rates = f"{each['fnmr_at_card_threshold']:>8.1%}{each['fmr_at_card_threshold']:>10.1e}"
        lines.append(f"{name:<9}" + "".join(cells) + rates)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
