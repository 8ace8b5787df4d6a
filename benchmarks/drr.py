"""Rendering speed and error against plastimatch, RTK, DiffDRR, ASTRA and nanodrr, all in one run.

    python benchmarks/drr.py [--rivals PYTHON] [--seed 7] [--only WORKLOAD...]

Every engine renders the same attenuation in the same geometry, in a process of its own with two threads, after a
warm-up; errors are relative L2 against boneprint's Siddon. Rivals run in the environment of drr_rivals.txt (`make
bench-drr` makes it); what is not there is reported as missing. Writes results/drr.json and results/drr.png.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from statistics import median

import drr_bodies
import numpy as np
import report
from numpy.typing import NDArray
from PIL import Image
from rivals.engine import peak_mib

from boneprint import drr
from boneprint.drr import Absorber, Detector, Pose, Rays, s1, shear_warp, siddon
from boneprint.nouns import Canvas, Volume

THREADS = 2
OURS = ("boneprint", "boneprint-siddon")
RUNNER = Path(__file__).parent / "rivals" / "run.py"
S1_SEPARATE = 2 * drr.S1_IMAGES  # AP and ML are two images to an engine that renders one at a time
SAMPLE = 20

# workload: engines, and how many views and repeats each renders (the slow ones one)
PLANS: dict[str, dict[str, tuple[int, int]]] = {
    "W1 cone": {
        "boneprint": (4, 5), "boneprint-siddon": (4, 1), "plastimatch-exact": (4, 2), "rtk-joseph": (4, 2),
        "diffdrr-siddon": (1, 1), "diffdrr-trilinear": (1, 1), "nanodrr": (1, 1),
    },
    "W2 parallel": {
        "boneprint": (3, 5), "boneprint-siddon": (3, 1), "plastimatch-exact": (3, 2), "rtk-joseph": (3, 2),
        "astra-line": (3, 2),
    },
    "W3 cone": {
        "boneprint": (4, 3), "boneprint-siddon": (4, 1), "plastimatch-exact": (2, 1), "rtk-joseph": (2, 1),
    },
    "W3 parallel": {
        "boneprint": (3, 5), "boneprint-siddon": (3, 1), "plastimatch-exact": (2, 1), "astra-line": (2, 1),
    },
    "dense cone": {
        "boneprint": (4, 5), "boneprint-siddon": (4, 1), "plastimatch-exact": (4, 1), "rtk-joseph": (4, 1),
    },
}  # fmt: skip


def body_of(workload: str, seed: int) -> tuple[Volume, Detector, tuple[Pose, ...]]:
    """What a workload renders."""
    shape = drr_bodies.W3 if workload.startswith("W3") else drr_bodies.W1
    volume = drr_bodies.limb(shape, seed, air=workload != "dense cone")
    if workload.endswith("parallel"):
        return volume, drr_bodies.PARALLEL[shape], drr_bodies.TURNS
    return volume, drr_bodies.CONE[shape], drr_bodies.POSES


def write_request(
    path: Path, mu_per_mm: NDArray[np.float32], detector: Detector, poses: tuple[Pose, ...], repeats: int
) -> None:
    """As rivals/run.py reads it."""
    views = [Rays.of(pose, detector) for pose in poses]
    parallel = views[0].source_mm is None
    origin = {"direction": np.stack([view.beam for view in views])}
    if not parallel:
        origin = {"source_mm": np.stack([view.source_mm for view in views])}  # type: ignore[misc]
    np.savez(
        path,
        mu_per_mm=mu_per_mm,
        spacing_mm=np.full(3, drr_bodies.SPACING_MM),
        detector_centre_mm=np.stack([view.middle_mm for view in views]),
        column_step_mm=np.stack([view.column_step_mm for view in views]),
        row_step_mm=np.stack([view.row_step_mm for view in views]),
        rows=detector.rows,
        columns=detector.columns,
        parallel=parallel,
        repeats=repeats,
        threads=THREADS,
        **origin,  # type: ignore[arg-type]
    )


def run_ours(engine: str, request: Path, answer: Path) -> None:
    """What rivals/run.py does, for our two projectors; called in a process of its own."""
    with np.load(request) as given:
        mu = given["mu_per_mm"]
        count, repeats = len(given["detector_centre_mm"]), int(given["repeats"])
        rows, columns = int(given["rows"]), int(given["columns"])
        first = (
            given["detector_centre_mm"]
            - (columns - 1) / 2 * given["column_step_mm"]
            - (rows - 1) / 2 * given["row_step_mm"]
        )
        views = [
            Rays(
                None if given["parallel"] else given["source_mm"][number],
                given["direction"][number]
                if given["parallel"]
                else _unit(given["detector_centre_mm"][number] - given["source_mm"][number]),
                first[number],
                given["column_step_mm"][number],
                given["row_step_mm"][number],
                rows,
                columns,
            )
            for number in range(count)
        ]
    idle_mib = peak_mib()
    begun = time.perf_counter()
    render: Callable[[Rays], NDArray[np.floating]]
    if engine == "boneprint":
        body = Absorber.of_values(mu, drr_bodies.affine(mu.shape))
        render = lambda view: shear_warp.project(body, view)[0]  # noqa: E731
    else:  # the oracle: the very float32 values, no 16-bit levels
        columns_first = np.ascontiguousarray(mu.transpose(1, 2, 0)[..., None])
        affine = drr_bodies.affine(mu.shape)[:, [1, 0, 2, 3]]
        render = lambda view: siddon.integrate(columns_first, affine, view)[0]  # noqa: E731
    prepare_s = time.perf_counter() - begun
    begun = time.perf_counter()
    render(views[0])
    warm_up_s = time.perf_counter() - begun
    costs = np.zeros((2, count, repeats))
    for repeat in range(repeats):
        images = []
        for number, view in enumerate(views):
            wall, cpu = time.perf_counter(), time.process_time()
            images.append(render(view))
            costs[:, number, repeat] = time.perf_counter() - wall, time.process_time() - cpu
    np.savez(
        answer, images=np.stack(images), wall_s=costs[0], cpu_s=costs[1], prepare_s=prepare_s, warm_up_s=warm_up_s,
        peak_mib=peak_mib(), idle_mib=idle_mib, version="", method=engine, reason="",
    )  # fmt: skip


def _unit(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    return vector / np.linalg.norm(vector)


def compare(
    workload: str, seed: int, rivals: Path | None, pictures: dict[str, NDArray[np.float32]]
) -> dict[str, object]:
    """One workload with every engine."""
    volume, detector, poses = body_of(workload, seed)
    print(
        f"\n{workload}: {' x '.join(map(str, volume.hu.shape[::-1]))} voxels, {detector.columns} x {detector.rows} px"
    )
    print(f"  {'engine':20}{'wall s':>9}{'CPU s':>9}{'memory MiB':>12}{'error %':>9}{'prepare s':>11}")
    results: dict[str, object] = {}
    mu_per_mm = drr_bodies.attenuation(volume)
    exact: NDArray[np.floating] | None = None
    with tempfile.TemporaryDirectory() as folder:
        for engine in ("boneprint-siddon", *(name for name in PLANS[workload] if name != "boneprint-siddon")):
            count, repeats = PLANS[workload][engine]
            request, answer = Path(folder) / "request.npz", Path(folder) / "answer.npz"
            write_request(request, mu_per_mm, detector, poses[:count], repeats)
            reason = _ask(engine, request, answer, rivals)
            if reason:
                results[engine] = {"reason": reason}
                print(f"  {engine:20} not run: {reason}")
                continue
            with np.load(answer) as found:
                images = found["images"]
                if exact is None:
                    exact = images
                row = {
                    "wall_s": float(np.median(found["wall_s"])),
                    "slowest_view_s": float(np.median(found["wall_s"], axis=1).max()),
                    "cpu_s": float(np.median(found["cpu_s"])),
                    "memory_mib": float(found["peak_mib"] - found["idle_mib"]),
                    "prepare_s": float(found["prepare_s"]),
                    "errors": [float(_difference(image, true)) for image, true in zip(images, exact)],
                    "views": count,
                    "repeats": repeats,
                    "version": str(found["version"]),
                }
            results[engine] = row
            if engine == "boneprint":
                pictures.update({f"{workload} {number}": image for number, image in enumerate(images)})
            print(
                f"  {engine:20}{row['wall_s']:9.3f}{row['cpu_s']:9.3f}{row['memory_mib']:12.0f}"
                f"{100 * max(row['errors']):9.4f}{row['prepare_s']:11.2f}"  # type: ignore[type-var]
            )
    return results


def _ask(engine: str, request: Path, answer: Path, rivals: Path | None) -> str:
    """Have one engine answer; the reason where it did not."""
    if engine in OURS:
        command = [sys.executable, __file__, "--ours", engine, str(request), str(answer)]
    elif rivals is None or not rivals.exists():
        return "its environment is missing (make bench-drr makes it)"
    else:
        command = [str(rivals), str(RUNNER), engine, str(request), str(answer)]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "NUMBA_NUM_THREADS": str(THREADS)}
    )
    if done.returncode == 0:
        return ""
    if answer.exists():
        with np.load(answer) as found:
            if str(found["reason"]):
                return str(found["reason"])
    return (done.stderr.strip().splitlines() or ["no message"])[-1]


def _difference(image: NDArray[np.floating], true: NDArray[np.floating]) -> float:
    return float(np.linalg.norm(image.astype(np.float64) - true) / np.linalg.norm(true))


def s1_set(shape: tuple[int, int, int], seed: int, conn: Path) -> None:
    """The 900 images of one body, from HU to the last picture; called in a process of its own."""
    volume = drr.own_axes(drr_bodies.limb(shape, seed))
    canvas = Canvas(280.0, 140.0) if shape == drr_bodies.W1 else Canvas(560.0, 280.0)
    for _ in chain(s1.joined_images(Absorber.of(_small()), canvas)):
        break
    _reset_peak()
    idle_mib = peak_mib()
    walls, cpus, prepares = [], [], []
    for _ in range(3 if shape == drr_bodies.W1 else 2):
        wall, cpu = time.perf_counter(), time.process_time()
        body = Absorber.of(volume)
        prepares.append(time.perf_counter() - wall)
        count = sum(len(joined.pictures) for joined in s1.joined_images(body, canvas))
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
        del body
    np.savez(
        conn, wall_s=walls, cpu_s=cpus, prepare_s=prepares, images=count,
        memory_mib=peak_mib() - idle_mib,
    )  # fmt: skip


def _small() -> Volume:
    return drr.own_axes(Volume(np.full((40, 30, 30), 60, np.int16), np.eye(4)))


def _reset_peak() -> None:
    """Let the peak of resident memory begin again at what is resident now (proc(5), clear_refs)."""
    Path("/proc/self/clear_refs").write_text("5")


def time_s1(name: str, seed: int) -> dict[str, float]:
    """`s1_set` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "s1.npz"
        environment = {**os.environ, "NUMBA_NUM_THREADS": str(THREADS)}
        subprocess.run([sys.executable, __file__, "--s1", name, str(seed), str(answer)], check=True, env=environment)
        with np.load(answer) as found:
            result = {key: float(np.median(found[key])) for key in found.files}
    print(
        f"\nS1 set of {name}: {result['images']:.0f} images in {result['wall_s']:.2f} s ({result['cpu_s']:.2f} s CPU), "
        f"{result['prepare_s']:.2f} s of it preparation; {result['memory_mib']:.0f} MiB beyond the volume"
    )
    return result


def time_plastimatch_s1(seed: int, rivals: Path | None) -> dict[str, object]:
    """S1's set of W1 image by image, as plastimatch makes it: parallel, 400 x 800, one angle after the other."""
    volume = drr_bodies.limb(drr_bodies.W1, seed)
    poses = tuple(Pose(3.0 * number - 21) for number in range(SAMPLE))
    with tempfile.TemporaryDirectory() as folder:
        request, answer = Path(folder) / "request.npz", Path(folder) / "answer.npz"
        write_request(request, drr_bodies.attenuation(volume), Detector(800, 400, 0.35), poses, 1)
        reason = _ask("plastimatch-exact", request, answer, rivals)
        if reason:
            return {"reason": reason}
        with np.load(answer) as found:
            return {
                "images": SAMPLE,
                "seconds": float(found["wall_s"].sum()),
                "set_s": float(found["wall_s"].mean() * S1_SEPARATE),
                "set_as_commands_s": float(found["process_s"].mean() * S1_SEPARATE),
            }


def time_device(seed: int) -> dict[str, object]:
    """S1's set of W1 on a GPU, and rendering with embedding in one go; where there is one."""
    import torch

    from boneprint.drr import TensorAbsorber, tensor, tensor_s1
    from boneprint.embed import load_embedder

    if not torch.cuda.is_available():
        return {"reason": "not measured: no GPU on this machine"}
    body = TensorAbsorber.of(Absorber.of(drr.own_axes(drr_bodies.limb(drr_bodies.W1, seed))), "cuda")
    canvas = Canvas(280.0, 140.0)
    walls = []
    for _ in range(4):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _batch in tensor_s1.joined_images(body, canvas):
            pass
        torch.cuda.synchronize()
        walls.append(time.perf_counter() - begun)
    embedder = load_embedder()
    detector = Detector(400, 364, drr_bodies.SPACING_MM)
    embedded = []
    for _ in range(4):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        views = tensor.turntable(body, drr.ENROLMENT_ANGLES, detector)[:, 1]
        embedder.embed_tensors(views, detector.spacing_mm, canvas).cpu()
        embedded.append(time.perf_counter() - begun)
    return {
        "device": torch.cuda.get_device_name(),
        "s1_set_s": median(walls[1:]),
        "s1_set_first_s": walls[0],
        "36_views_rendered_and_embedded_s": median(embedded[1:]),
    }


def analytic() -> dict[str, float]:
    """A sphere of 60 mm and a slab of 80 mm on W1's grid against their chords, cone beam."""
    detector = drr_bodies.CONE[drr_bodies.W1]
    affine = drr_bodies.affine(drr_bodies.W1)
    ball = Absorber.of_values(drr_bodies.sphere(drr_bodies.W1, 60.0), affine)
    slab = np.zeros(drr_bodies.W1, np.float32)
    slab[:, 48:208] = 1
    plate = Absorber.of_values(slab, affine)
    worst = {"sphere": 0.0, "slab": 0.0}
    for pose in (Pose(), Pose(20, 10, 5)):
        rays = Rays.of(pose, detector)
        row, column = np.mgrid[: detector.rows, : detector.columns]
        way = rays.first_mm + column[..., None] * rays.column_step_mm + row[..., None] * rays.row_step_mm
        way -= rays.source_mm  # type: ignore[arg-type]
        way /= np.linalg.norm(way, axis=-1, keepdims=True)
        apart = np.linalg.norm(np.cross(-rays.source_mm, way), axis=-1)  # type: ignore[arg-type,operator]
        chord = 2 * np.sqrt(np.maximum(60.0**2 - apart**2, 0))
        worst["sphere"] = max(worst["sphere"], _difference(shear_warp.project(ball, rays)[0], chord))
        middle = np.s_[380:420, 180:220]  # rays that enter and leave by the slab's two faces
        thickness = 80.0 / np.abs(way[middle][..., 1])
        worst["slab"] = max(worst["slab"], _difference(shear_warp.project(plate, rays)[0][middle], thickness))
    print(f"\nagainst the chord: sphere {100 * worst['sphere']:.3f} %, slab {100 * worst['slab']:.3f} %")
    return worst


def bars(result: dict[str, dict[str, dict[str, float]]]) -> list[tuple[str, float, str, float, bool]]:
    """Each bar of the issue: what, figure, relation, bar, met."""
    found: list[tuple[str, float, str, float]] = []
    work, s1_sets, slow = result["workloads"], result["s1"], result["plastimatch_s1"]
    if "W1" in s1_sets:
        found.append(("S1 set of W1, s", s1_sets["W1"]["wall_s"], "<=", 2.5))
        if "set_s" in slow:
            ours_s = s1_sets["W1"]["wall_s"]
            found.append(("times plastimatch's set, a command an image", slow["set_as_commands_s"] / ours_s, ">=", 200))
            found.append(("times plastimatch's set, its rendering alone", slow["set_s"] / ours_s, ">=", 200))
    if "W3" in s1_sets:
        found.append(("S1 set of W3, s", s1_sets["W3"]["wall_s"], "<=", 7.0))
        found.append(("S1 set of W3, MiB beyond the volume", s1_sets["W3"]["memory_mib"], "<=", 1024 + 10))
    limits = {"W1 cone": 0.10, "W2 parallel": 0.02, "W3 cone": 0.30, "W3 parallel": 0.08}
    for name, rows in work.items():
        if "reason" in rows["boneprint"]:
            continue
        ours, exact = rows["boneprint"], rows.get("plastimatch-exact", {})
        if name in limits:
            found.append((f"{name}, slowest view, s", ours["slowest_view_s"], "<=", limits[name]))
        error = max(ours["errors"])  # type: ignore[call-overload]
        found.append((f"{name}, error %", 100 * error, "<=", 1.0 if "parallel" in name else 0.6))
        if "cpu_s" in exact:
            found.append((f"{name}, times less CPU than plastimatch", exact["cpu_s"] / ours["cpu_s"], ">=", 3))
    diffdrr = work.get("W1 cone", {}).get("diffdrr-siddon", {})
    if "errors" in diffdrr:
        found.append(("Siddon against DiffDRR's", max(diffdrr["errors"]), "<=", 1e-5))  # type: ignore[call-overload]
    for shape, error in result["analytic"].items():
        found.append((f"{shape} against its chord, %", 100 * error, "<=", 0.5))  # type: ignore[operator]
    return [
        (what, value, sign, bar, value <= bar if sign == "<=" else value >= bar) for what, value, sign, bar in found
    ]


def draw(pictures: dict[str, NDArray[np.float32]]) -> None:
    """The views side by side, each from its own black to its own white."""
    tiles = [np.rint(255 * image / image.max()).astype(np.uint8)[::2, ::2] for image in pictures.values()]
    path = report.RESULTS / "drr.png"
    Image.fromarray(np.concatenate(tiles, axis=1)).save(path, optimize=True)
    print(f"written: {path}")


def main() -> None:
    """Run the workloads, print tables and bars, write JSON and picture."""
    if sys.argv[1:2] == ["--ours"]:
        run_ours(sys.argv[2], Path(sys.argv[3]), Path(sys.argv[4]))
        return
    if sys.argv[1:2] == ["--s1"]:
        s1_set(getattr(drr_bodies, sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rivals", type=Path, help="the Python of the rivals' environment")
    parser.add_argument("--seed", type=int, default=7, help="of the bodies' noise")
    parser.add_argument(
        "--only", nargs="*", choices=[*PLANS, "S1"], help="some workloads; the JSON is then not written"
    )
    asked = parser.parse_args()
    wanted = asked.only or [*PLANS, "S1"]
    print(f"{report.heading()}, seed {asked.seed}, {THREADS} threads")
    pictures: dict[str, NDArray[np.float32]] = {}
    result: dict[str, object] = {
        "seed": asked.seed,
        "threads": THREADS,
        "workloads": {name: compare(name, asked.seed, asked.rivals, pictures) for name in PLANS if name in wanted},
        "s1": {name: time_s1(name, asked.seed) for name in ("W1", "W3")} if "S1" in wanted else {},
        "plastimatch_s1": time_plastimatch_s1(asked.seed, asked.rivals) if "S1" in wanted else {},
        "gpu": time_device(asked.seed),
        "analytic": analytic(),
    }
    print(f"plastimatch, S1 set extrapolated from {SAMPLE} images: {result['plastimatch_s1']}")
    print(f"GPU: {result['gpu']}\n")
    checked = bars(result)  # type: ignore[arg-type]
    for what, value, sign, bar, met in checked:
        print(f"  {'met   ' if met else 'MISSED'}  {what:48}{value:12.5g}  bar {sign} {bar:g}")
    result["bars"] = [
        {"what": what, "figure": value, "bar": f"{sign} {bar:g}", "met": bool(met)}
        for what, value, sign, bar, met in checked
    ]
    if not asked.only:
        report.write("drr", result)
        draw(pictures)


if __name__ == "__main__":
    main()
