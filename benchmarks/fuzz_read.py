"""Mutated DICOM, NIfTI, PNG, TIFF and zip files against the readers: only our errors, no hang, bounded memory.

    python benchmarks/fuzz_read.py [-n 20000] [--seed 1] [--jobs 1] [-o]

Every file is a sound one with a few bytes changed, cut, doubled or moved; the seed and the number of a file make it
again. Address space is limited, so that a reader that asks for too much fails here as it would there.
"""

import argparse
import io
import random
import resource
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from PIL import Image
from pydicom.uid import JPEG2000Lossless, RLELossless
from report import write

from boneprint.errors import BoneprintError
from boneprint.nouns import Volume
from boneprint.read import find_series, read_labels, read_radiograph, write_ct_series

SLOWEST_S = 10
MOST_BYTES = 2 * 2**30  # above what the process holds when it starts


def sound_files(folder: Path) -> dict[str, tuple[bytes, Callable[[Path], object]]]:
    """One small sound file of each kind, and what reads it."""
    random_hu = np.random.default_rng(0).integers(-1000, 1500, (6, 24, 24)).astype(np.int16)
    paths = write_ct_series(folder / "ct", Volume(random_hu, np.eye(4)), subject_id="S", laterality="L")
    dataset = pydicom.dcmread(paths[2])
    dataset.Modality, dataset.SOPClassUID = "DX", "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.Rows = dataset.Columns = 72
    dataset.PixelData = np.random.default_rng(1).integers(0, 4000, (72, 72)).astype("<u2").tobytes()
    dataset.PixelSpacing = dataset.ImagerPixelSpacing = [0.2, 0.2]
    dataset.ShutterShape = ["RECTANGULAR", "CIRCULAR", "POLYGONAL"]
    dataset.ShutterUpperHorizontalEdge = dataset.ShutterLeftVerticalEdge = 2
    dataset.ShutterLowerHorizontalEdge = dataset.ShutterRightVerticalEdge = 71
    dataset.CenterOfCircularShutter, dataset.RadiusOfCircularShutter = [36, 36], 50
    dataset.VerticesOfThePolygonalShutter = [1, 1, 1, 72, 72, 72, 72, 1]

    def saved(change: Callable[[pydicom.Dataset], object]) -> bytes:
        copied = pydicom.dcmread(io.BytesIO(plain))
        change(copied)
        out = io.BytesIO()
        copied.save_as(out)
        return out.getvalue()

    out = io.BytesIO()
    dataset.save_as(out)
    plain = out.getvalue()
    ramp = np.add.outer(np.arange(70) * 300, np.arange(80) * 200).astype(np.uint16)
    Image.fromarray(ramp).save(folder / "x.png")
    Image.fromarray(ramp).save(folder / "x.tif")
    nibabel.save(nibabel.Nifti1Image(random_hu.T, np.eye(4)), folder / "x.nii")
    nibabel.save(nibabel.Nifti1Image((random_hu.T > 300).astype(np.uint8), np.eye(4)), folder / "seg.nii.gz")
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, path.name)

    def load_all(path: Path) -> None:
        found = find_series([path, *paths[:2], *paths[3:]])
        for source in found.sources:
            source.load()

    def load_one(path: Path) -> None:
        for source in find_series(path).sources:
            source.load()

    return {
        "slice": (paths[2].read_bytes(), load_all),
        "dx": (plain, read_radiograph),
        "dx-j2k": (saved(lambda d: d.compress(JPEG2000Lossless)), read_radiograph),
        "dx-rle": (saved(lambda d: d.compress(RLELossless)), read_radiograph),
        "png": ((folder / "x.png").read_bytes(), read_radiograph),
        "tiff": ((folder / "x.tif").read_bytes(), read_radiograph),
        "nifti": ((folder / "x.nii").read_bytes(), load_one),
        "labels": ((folder / "seg.nii.gz").read_bytes(), read_labels),
        "zip": ((folder / "x.zip").read_bytes(), load_one),
    }


def mutated(content: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, a piece cut, doubled or moved, or the end gone; headers more often than pixels."""
    out = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        if len(out) < 16:
            break
        at = chance.randrange(min(len(out), 2048) if chance.random() < 0.7 else len(out))
        kind = chance.randrange(6)
        size = chance.choice((1, 2, 4, 8, 64))
        if kind == 0:
            out[at] = chance.randrange(256)
        elif kind == 1:
            out[at : at + size] = chance.choice((b"\x00", b"\xff", b"\x7f")) * size
        elif kind == 2:
            out[at] ^= 1 << chance.randrange(8)
        elif kind == 3:
            del out[at : at + size]
        elif kind == 4:
            out[at:at] = out[at : at + size]
        else:
            out = out[: chance.randrange(1, len(out))]
    return bytes(out)


Outcome = tuple[Counter[tuple[str, str]], float, list[tuple[int, str, str]], float]


def tried(seed: int, numbers: range) -> Outcome:
    """Read some of the files: what came of each kind, the slowest in s, what went wrong, and the peak in GiB."""
    counts: Counter[tuple[str, str]] = Counter()
    slowest, bad = 0.0, []

    def hang(*_: object) -> None:
        raise TimeoutError("took longer than 10 s")

    signal.signal(signal.SIGALRM, hang)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sound = sound_files(folder)
        for content, read in sound.values():  # loads every library before memory is limited
            (folder / "m").write_bytes(content)
            read(folder / "m")
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + MOST_BYTES, resource.RLIM_INFINITY))
        kinds = sorted(sound)
        for number in numbers:
            kind = kinds[number % len(kinds)]
            content, read = sound[kind]
            path = folder / "m"
            path.write_bytes(mutated(content, random.Random(f"{seed}/{number}")))
            started = time.perf_counter()
            signal.alarm(SLOWEST_S)
            try:
                read(path)
                outcome = "read"
            except BoneprintError as error:
                outcome = "refused"
                if "\n" in str(error):
                    bad.append((number, kind, "more than one line"))
            except BaseException as error:
                outcome = "WRONG"
                bad.append((number, kind, f"{type(error).__name__}: {error}"))
                if isinstance(error, KeyboardInterrupt):
                    raise
            finally:
                signal.alarm(0)
            slowest = max(slowest, time.perf_counter() - started)
            counts[kind, outcome] += 1
    return counts, slowest, bad, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Read n mutated files; exit 1 at a crash of ours, a hang, or too much memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the files")
    parser.add_argument("-o", "--out", action="store_true", help="write benchmarks/results/fuzz_read-SEED.json")
    asked = parser.parse_args()
    shares = [range(first, asked.n, asked.jobs) for first in range(asked.jobs)]
    with ProcessPoolExecutor(asked.jobs, mp_context=get_context("spawn")) as pool:
        parts: list[Outcome] = list(pool.map(tried, repeat(asked.seed), shares))
    counts = sum((part[0] for part in parts), Counter())
    slowest, peak = max(part[1] for part in parts), max(part[3] for part in parts)
    bad = [each for part in parts for each in part[2]]
    for (kind, outcome), count in sorted(counts.items()):
        print(f"{kind:<8} {outcome:<8} {count}")
    print(f"seed {asked.seed}, {asked.n} files, slowest {slowest:.2f} s, peak {peak:.2f} GiB, {len(bad)} wrong")
    for each in bad[:20]:
        print("WRONG", *each)
    if asked.out:
        outcomes = {f"{kind}, {outcome}": count for (kind, outcome), count in sorted(counts.items())}
        figures = {"slowest_s": slowest, "peak_gib": peak, "wrong": [list(map(str, each)) for each in bad]}
        write(f"fuzz_read-{asked.seed}", {"seed": asked.seed, "files": asked.n, "outcomes": outcomes, **figures})
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
