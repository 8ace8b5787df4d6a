"""Surfaces compared, against issue bars: a bone and itself moved anyhow, an offset surface, and 100,000 triangles.

The bone is a simulated cat's femur of some 120 mm. Times are of computing, on one core.
"""

import argparse
import time
from dataclasses import replace

import numpy as np
import report
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from boneprint.shape import Surface, compare, decimated
from boneprint.simulate import individual

_DENSE, _SAMPLES = 300_000, 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--starts", type=int, default=200)
    parser.add_argument("--triangles", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=18, help="of the bones; motions are of seeds from 0")
    parser.add_argument("--name", default="surfaces", help="of the JSON in benchmarks/results")
    given = parser.parse_args()
    print(report.heading(), f"seed {given.seed}", sep="\n")
    bone, other = (decimated(femur(given.seed, number, "cat"), faces=4000) for number in (0, 1))
    outcome = {
        "itself": itself(bone, given.starts),
        "one_mm_outside": offset(bone),
        "k_d_tree": tree(other, bone),
        "large": large(given),
    }
    report.write(given.name, {"question": "are surfaces compared rightly, and how fast", "outcome": outcome})


def femur(seed: int, index: int, species: str, step_mm: float | None = None) -> Surface:
    body = individual(seed, index, species=species, laterality="R")
    return Surface(*body.surface(step_mm=step_mm), f"{species} {index}")


def itself(bone: Surface, starts: int) -> dict[str, object]:
    """From random rotations and 300 mm (sd) away."""
    clock = time.process_time()
    errors = np.array(
        [compare(bone.moved(motion(seed)), bone, samples=2000, seed=seed).rms_mm for seed in range(starts)]
    )
    found = {
        "starts": starts,
        "diagonal_mm": round(bone.diagonal_mm, 1),
        "largest_rms_mm": float(errors.max()),
        "median_rms_mm": float(np.median(errors)),
        "above_0_02_mm": int((errors > 0.02).sum()),
        "cpu_s_each": round((time.process_time() - clock) / starts, 2),
    }
    print("itself:", found, flush=True)
    return found


def motion(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    moved = np.eye(4)
    moved[:3, :3] = Rotation.random(rng=rng).as_matrix()
    moved[:3, 3] = rng.normal(0, 300, 3)
    return moved


def offset(bone: Surface) -> dict[str, float]:
    outside = replace(bone, vertices=bone.vertices + bone.vertex_normals)
    found = {"rms_mm": compare(outside.moved(motion(1)), bone).rms_mm}
    print("1 mm outside:", found, flush=True)
    return found


def tree(one: Surface, other: Surface) -> dict[str, float]:
    """By MeshLab, and by nearest points of a dense cloud."""
    found = compare(one, other)
    squares = []
    for here, there in ((found.a, found.b), (found.b, found.a)):
        away, _ = cKDTree(there.sampled(_DENSE, seed=8)[0]).query(here.sampled(_SAMPLES, seed=9)[0])
        squares.append(float((away**2).mean()))
    rms = {"meshlab_rms_mm": found.rms_mm, "k_d_tree_rms_mm": float(np.sqrt(np.mean(squares)))}
    print("k-d tree:", rms, flush=True)
    return rms


def large(given: argparse.Namespace) -> dict[str, object]:
    """Two people's femora."""
    pair = [decimated(femur(given.seed, number, "human", 1.0), faces=given.triangles) for number in (0, 1)]
    clock, wall = time.process_time(), time.perf_counter()
    measured = compare(pair[0].moved(motion(3)), pair[1])
    found = {
        "triangles": [len(each.faces) for each in pair],
        "rms_mm": measured.rms_mm,
        "cpu_s": round(time.process_time() - clock, 2),
        "wall_s": round(time.perf_counter() - wall, 2),
    }
    print("large:", found, flush=True)
    return found


if __name__ == "__main__":
    main()
