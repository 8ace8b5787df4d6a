"""How long a CT takes from DICOM to searchable, step by step, and how much memory a whole body with labels needs.

    python benchmarks/ingest.py [--whole-body] [-o]

The CT is a simulated femur in its limb on a grid of 256 x 256 x 400, written as 400 uncompressed slices. The whole body
is 512 x 512 x 1500 with two labelled femora in it; its peak memory is that of a process of its own.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from report import heading, write

SEED = 20261
LIMIT_S, LIMIT_BYTES = 4.0, 2 * 2**30  # the bars of the project


def limb(shape: tuple[int, int, int]) -> "tuple[np.ndarray, np.ndarray]":
    """HU of a simulated femur on a grid of (Z, Y, X) voxels, and the affine."""
    from boneprint.simulate import Scanner, individual

    body = individual(SEED, 0, laterality="L")
    volume, _ = body.scan(Scanner((1.0, 1.0, 1.2), soft_tissue_mm=30.0, blur_mm=0.6, noise_hu=15.0))
    hu = np.full(shape, -1000, np.int16)
    room = [min(have, want) for have, want in zip(volume.hu.shape, shape, strict=True)]
    start = [(want - size) // 2 for want, size in zip(shape, room, strict=True)]
    cut = [(have - size) // 2 for have, size in zip(volume.hu.shape, room, strict=True)]
    hu[tuple(slice(s, s + r) for s, r in zip(start, room, strict=True))] = volume.hu[
        tuple(slice(c, c + r) for c, r in zip(cut, room, strict=True))
    ]
    return hu, np.diag([*volume.spacing_mm, 1.0])


def one_ct(folder: Path, runs: int) -> dict[str, object]:
    """Seconds of each step of an ingestion into a new database, the median of some runs."""
    import boneprint
    from boneprint import bone, drr, ingest
    from boneprint.embed import load_embedder
    from boneprint.nouns import Volume
    from boneprint.read import find_series, write_ct_series

    hu, affine = limb((400, 256, 256))
    write_ct_series(folder / "ct", Volume(hu, affine), subject_id="S", body_part="femur", laterality="L")
    embedder = load_embedder()
    rounds: list[dict[str, float]] = []
    for number in range(runs + 1):  # the first compiles and warms up
        steps: dict[str, float] = {}
        last = time.perf_counter()

        def lap(name: str, steps: dict[str, float] = steps) -> None:
            nonlocal last
            now = time.perf_counter()
            steps[name] = now - last
            last = now

        (source,) = find_series(folder / "ct").sources
        lap("find")
        _ = source.source_hash
        lap("hash")
        scan = source.load()
        lap("read")
        (specimen,) = ingest.specimens(scan, ingest.Options())
        lap("isolate")
        upright, pose = bone.stand_up(specimen.volume)
        lap("stand up")
        views = drr.enrolment_views(upright, "x", long=pose.long)
        lap("project")
        embedder.embed_views(views, drr.canvas_of(upright, long=pose.long))
        lap("embed")
        started, busy = time.perf_counter(), time.process_time()
        with boneprint.open(folder / f"{number}.h5", writable=True) as database:
            report = database.ingest(folder / "ct")
        steps["whole"] = time.perf_counter() - started
        steps["whole, of the processor"] = time.process_time() - busy
        assert len(report.enrolled) == 1, report
        if number:
            rounds.append(steps)
    medians = {name: float(np.median([each[name] for each in rounds])) for name in rounds[0]}
    spread = [each["whole"] for each in rounds]
    return {"seconds": medians, "whole_min": min(spread), "whole_max": max(spread), "bar": LIMIT_S}


def whole_body(folder: Path) -> dict[str, object]:
    """Seconds and peak memory of a process that ingests 512 x 512 x 1500 with two labelled bones."""
    import nibabel

    from boneprint.nouns import Volume
    from boneprint.read import write_ct_series

    hu = np.full((1500, 512, 512), -1000, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    bone, affine = limb((400, 150, 150))
    table = ""
    for number, (name, x) in enumerate((("femur_right", 60), ("femur_left", 300)), start=1):
        place = (slice(200, 600), slice(150, 300), slice(x, x + 150))
        hu[place] = bone if number == 2 else bone[:, :, ::-1]
        labels[place][hu[place] > 200] = number
        table += f'<Label Key="{number}" Red="0" Green="0" Blue="0" Alpha="1">{name}</Label>'
    write_ct_series(folder / "body", Volume(hu, affine), subject_id="W")
    image = nibabel.Nifti1Image(labels.T, np.diag([-1.0, -1, 1, 1]) @ affine)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, f"<LabelTable>{table}</LabelTable>".encode()))
    nibabel.save(image, folder / "labels.nii.gz")
    del hu, labels, image
    started = time.perf_counter()
    code = "import sys; from boneprint.cli import main; main(sys.argv[1:])"
    command = ["ingest", folder / "body", "--labels", folder / "labels.nii.gz", "--db", folder / "w.h5", "--json"]
    child = subprocess.run([sys.executable, "-c", code, *map(str, command)], capture_output=True, check=True)
    bones = len(json.loads(child.stdout)["enrolled"])
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    seconds = time.perf_counter() - started
    return {"bones": bones, "seconds": seconds, "peak_bytes": peak, "bar": LIMIT_BYTES}


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--whole-body", action="store_true")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("-o", "--out", action="store_true", help="write benchmarks/results/ingest....json")
    asked = parser.parse_args()
    result: dict[str, object] = {"seed": SEED}
    print(heading())
    with tempfile.TemporaryDirectory() as name:
        if asked.whole_body:
            result["whole_body"] = found = whole_body(Path(name))
            print(
                f"whole body: {found['bones']} bones, {found['seconds']:.1f} s, {found['peak_bytes'] / 2**30:.2f} GiB"
            )
        else:
            result["one_ct"] = found = one_ct(Path(name), asked.runs)
            seconds = found["seconds"]
            parts = sum(value for step, value in seconds.items() if not step.startswith("whole"))
            for step, value in seconds.items():
                share = "" if step.startswith("whole") else f" {value / parts:6.1%}"
                print(f"{step:<24} {value:7.3f} s{share}")
    if asked.out:
        write("ingest-whole-body" if asked.whole_body else "ingest", result)


if __name__ == "__main__":
    main()
