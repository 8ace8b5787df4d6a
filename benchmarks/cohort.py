"""How alike simulated bones are, beside real ones: the simulation must not be easier than life.

Every bone is laid onto every other one rigidly, without scaling (left ones mirrored first), and the distance between
the two surfaces is measured. Surfaces are sampled evenly by area; the alignment is ICP from the principal axes in all
four ways they can be matched, point to nearest point both ways; the distance is the root mean square of the distances
of either bone's sample to the other's dense sample, and of the two, symmetric.

Beside it the time of a CT by the usual scanner, flesh and noise included, on the CPU and on a GPU where one is.
"""

import argparse
import time
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import report
import torch
import trimesh
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from boneprint.simulate import Scanner, individual

REAL = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "meshes" / "staple"
PAIRED_PEOPLE = 6  # of whom both sides are simulated
TIMED_PEOPLE = 3

# Points of a surface: for the coarse and the fine alignment, for the measurement, and of the cloud measured against
# (one point in 1 mm^2 of a femur, so that its grain adds less than 0.1 mm to 2.8).
COARSE, FINE, MEASURED, CLOUD = 300, 1500, 4000, 60_000
COARSE_STEPS, FINE_STEPS, STILL_MM = 25, 60, 1e-3

FLIPS = [np.diag([a, b, a * b]) for a in (1.0, -1.0) for b in (1.0, -1.0)]


@dataclass(frozen=True, eq=False)
class Cloud:
    """A surface as evenly drawn points, in mm, about their centre of mass along their principal axes."""

    name: str
    person: str
    points: NDArray[np.float64]
    tree: cKDTree

    @classmethod
    def of(cls, name: str, person: str, mesh: trimesh.Trimesh, *, mirror: bool) -> "Cloud":
        points, _ = trimesh.sample.sample_surface(mesh, CLOUD, seed=1)
        points = np.asarray(points) * [-1.0 if mirror else 1.0, 1.0, 1.0]
        points = points - points.mean(axis=0)
        _, axes = np.linalg.eigh(np.cov(points.T))
        if np.linalg.det(axes) < 0:
            axes[:, 0] *= -1
        points = points @ axes
        return cls(name, person, points, cKDTree(points))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bones", type=int, default=18, help="simulated people of each kind")
    parser.add_argument("--kinds", nargs="+", default=["femur"], help="e.g. femur tibia humerus radius vertebra hip")
    parser.add_argument("--seed", type=int, default=18, help="of the cohort")
    parser.add_argument("--name", default="cohort", help="of the JSON in benchmarks/results")
    given = parser.parse_args()
    torch.set_num_threads(1)

    outcome: dict[str, object] = {}
    print(report.heading())
    print(f"seed {given.seed}; points: {FINE} to align, {MEASURED} against {CLOUD} to measure; mm RMS, symmetric")
    print(f"{'':<26}{'bones':>6}{'nearest other: mean':>21}{'range':>14}{'random pair':>13}{'left on right':>17}")
    for kind in given.kinds:
        for origin in ("simulated", "real"):
            clouds = simulated(kind, given.bones, given.seed) if origin == "simulated" else real(kind)
            if clouds:
                found = outcome[f"{kind}, {origin}"] = table(clouds)
                print(line(f"{kind}, {origin}", found), flush=True)
    scans = {kind: scan_seconds(kind, given.seed) for kind in given.kinds}
    for kind, by_device in scans.items():
        print(f"a CT of one {kind}: " + ", ".join(f"{device} {each:.2f} s" for device, each in by_device.items()))
    report.write(
        given.name,
        {
            "question": "are simulated bones as alike as real ones?",
            "bar": "18 simulated femora: nearest other 2.3-3.4 mm on average, random pair 4.5-7, sides about 1.5",
            "published": "18 real femora: 2.85 (2.28-4.17), random pair 5.7, left on right 1.0-2.2 (issue 4)",
            "seed": given.seed,
            "points": {"coarse": COARSE, "fine": FINE, "measured": MEASURED, "cloud": CLOUD},
            "outcome": outcome,
            "scan_seconds": {"threads": torch.get_num_threads(), "people": TIMED_PEOPLE, **scans},
        },
    )


def simulated(kind: str, bones: int, seed: int) -> list[Cloud]:
    """Right bones of people 0 to ``bones`` - 1, and the left ones of the first few."""
    found = []
    for index in range(bones):
        for side in ("R", "L") if index < PAIRED_PEOPLE else ("R",):
            body = individual(seed, index, bone=kind, laterality=side)
            if side == "R" or body.laterality is not None:
                # The bone frame is that of the right side for either: a left bone comes out mirrored already.
                mesh = trimesh.Trimesh(*body.surface(), process=False)
                found.append(Cloud.of(f"{index} {side}", str(index), mesh, mirror=False))
    return found


def scan_seconds(kind: str, seed: int) -> dict[str, float]:
    """Median seconds of a first scan by the usual scanner, by device."""
    found = {}
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        spent = []
        for index in range(-1, TIMED_PEOPLE):  # the first one warms up
            body = individual(seed, abs(index), bone=kind)
            clock = time.perf_counter()
            body.scan(Scanner.usual("human"), device=device)  # ends with the volume on the CPU
            spent.append(time.perf_counter() - clock)
        found[device] = float(np.median(spent[1:]))
    return found


def real(kind: str) -> list[Cloud]:
    """The real bones of that kind, if they are there; tibiae come with fibulae, pelves with a sacrum."""
    found = []
    for femur in sorted(REAL.glob("*/femur_r.ply")):
        home = femur.parent
        if kind in ("femur", "tibia"):
            sides = {file.stem[-1].upper(): _parts(file)[0] for file in sorted(home.glob(f"{kind}_?.ply"))}
        elif kind == "hip":
            # Of the three large parts of a pelvis the sacrum is the shortest; the right one is next to the right femur.
            hips = sorted(_parts(home / "pelvis.ply")[:3], key=lambda part: -part.extents.max())[:2]
            to_femur = trimesh.load(femur).centroid
            hips.sort(key=lambda part: float(np.linalg.norm(part.centroid - to_femur)))
            sides = {"R": hips[0], "L": hips[1]}
        else:
            sides = {}
        found += [Cloud.of(f"{home.name} {s}", home.name, mesh, mirror=s == "L") for s, mesh in sides.items()]
    if not found:
        print(f"{kind + ', real':<26}skipped: no real bones of this kind in {REAL}")
    return found


def _parts(file: Path) -> list[trimesh.Trimesh]:
    """Connected parts of a mesh, largest area first; crumbs of a few triangles are at the end."""
    return sorted(trimesh.load(file).split(only_watertight=False), key=lambda part: -part.area)


def table(clouds: list[Cloud]) -> dict[str, object]:
    """Nearest other person's bone, random pairs of people, and the two sides of one person."""
    first = {}  # one bone of each person; the other side is only laid onto its own
    for cloud in clouds:
        first.setdefault(cloud.person, cloud)
    between = {pair: apart(first[pair[0]], first[pair[1]]) for pair in combinations(first, 2)}
    sides = [apart(first[cloud.person], cloud) for cloud in clouds if cloud is not first[cloud.person]]
    nearest = [min(d for pair, d in between.items() if person in pair) for person in first]
    return {
        "people": len(first),
        "nearest_mean_mm": float(np.mean(nearest)),
        "nearest_range_mm": [min(nearest), max(nearest)],
        "random_pair_mm": float(np.mean(list(between.values()))),
        "left_on_right_mm": sides,
    }


def line(name: str, found: dict[str, object]) -> str:
    """One row for people."""
    low, high = found["nearest_range_mm"]
    sides = found["left_on_right_mm"]
    left = f"{np.mean(sides):.2f} ({min(sides):.1f}-{max(sides):.1f})" if sides else "-"
    return (
        f"{name:<26}{found['people']:>6}{found['nearest_mean_mm']:>21.2f}{f'{low:.2f}-{high:.2f}':>14}"
        f"{found['random_pair_mm']:>13.2f}{left:>17}"
    )


def apart(a: Cloud, b: Cloud) -> float:
    """Symmetric RMS distance in mm of two surfaces after the best rigid alignment."""
    started = [_icp(a, b, flip, np.zeros(3), COARSE, COARSE_STEPS) for flip in FLIPS]
    _, turn, shift = min(started, key=lambda each: each[0])
    _, turn, shift = _icp(a, b, turn, shift, FINE, FINE_STEPS)
    there, _ = b.tree.query(a.points[:MEASURED] @ turn.T + shift)
    back, _ = a.tree.query((b.points[:MEASURED] - shift) @ turn)
    return float(np.sqrt(0.5 * ((there**2).mean() + (back**2).mean())))


def _icp(
    a: Cloud, b: Cloud, turn: NDArray[np.float64], shift: NDArray[np.float64], count: int, steps: int
) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
    """Lay a onto b (b's frame = a @ turn.T + shift), pairing the nearest points both ways: RMS, rotation, shift."""
    error = np.inf
    for _ in range(steps):
        moved = a.points[:count] @ turn.T + shift
        back = (b.points[:count] - shift) @ turn
        d1, i1 = b.tree.query(moved)
        d2, i2 = a.tree.query(back)
        now = float(np.sqrt(0.5 * ((d1**2).mean() + (d2**2).mean())))
        source = np.concatenate([a.points[:count], a.points[i2]])
        target = np.concatenate([b.points[i1], b.points[:count]])
        cs, ct = source.mean(axis=0), target.mean(axis=0)
        u, _, vt = np.linalg.svd((source - cs).T @ (target - ct))
        d = np.sign(np.linalg.det(vt.T @ u.T))
        turn = vt.T @ np.diag([1.0, 1.0, d]) @ u.T
        shift = ct - turn @ cs
        if error - now < STILL_MM:
            break
        error = now
    return min(error, now), turn, shift


if __name__ == "__main__":
    main()
