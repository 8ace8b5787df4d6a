"""Laterality errors injected into simulated ingests: how many are flagged, and how many sound ones are doubted.

    python benchmarks/sides.py [-n 200] [--seed 20262] [--bone femur] [--bone tibia ...] [--jobs 1] [-o]

Each bone is ingested as it is, and once more with its tag exchanged, or its voxels mirrored, or the wrong --side. Every
other long bone lies in a random way instead of that of the patient, errors and all. "told" is an error whose bone says
SIDE NOT CHECKED: it was not seen, but neither was the side passed off as checked.

Bones are scanned coarsely (2.5 x 2.5 x 3 mm), to be quick; but radii at 1 x 1 x 1.5 mm, as their signs are 2 mm small.
"""

import argparse
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat

import numpy as np
from report import heading, write

from boneprint import ingest
from boneprint.nouns import Scan, Volume
from boneprint.simulate import Scanner, individual

OTHER = {"L": "R", "R": "L"}
KINDS = ("femur", "tibia", "hip", "humerus", "radius")
ERRORS = ("tag", "mirrored", "option")
FINE = ("radius",)
AS_IT_LIES = ("hip",)  # told in patient axes


def outcome(volume: Volume, kind: str, side: str, options: ingest.Options | None = None) -> str:
    """What an ingestion says of the side of a bone: "flagged", "told" that it was not checked, or nothing."""
    scan = Scan(volume, "x", "0" * 64, "S", kind, side)
    (specimen,) = ingest.specimens(scan, options or ingest.Options())
    said = " ".join(specimen.notes)
    return "flagged" if "LATERALITY IN DOUBT" in said else "told" if "SIDE NOT CHECKED" in said else "nothing"


def turned(volume: Volume, rng: np.random.Generator) -> Volume:
    """The same body in another position, any is as likely."""
    axes, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    rotation = np.eye(4)
    rotation[:3, :3] = axes * np.sign(np.linalg.det(axes))
    return Volume(volume.hu, rotation @ volume.affine)


def counted(kind: str, n: int, seed: int) -> dict[str, int]:
    """Outcomes of n ingests of a kind of bone, by what was done to them."""
    spacing = (1.0, 1.0, 1.5) if kind in FINE else (2.5, 2.5, 3.0)
    scanner = Scanner(spacing, soft_tissue_mm=18.0, blur_mm=0.6 if kind in FINE else 1.0, noise_hu=12.0)
    rng = np.random.default_rng(seed)
    counts: Counter[str] = Counter()
    for index in range(n):
        body = individual(seed, index, bone=kind)
        volume, _ = body.scan(scanner)
        if index % 2 and kind not in AS_IT_LIES:
            volume = turned(volume, rng)
        side = str(body.laterality)
        counts[f"sound, {outcome(volume, kind, side)}"] += 1
        error = ERRORS[index % len(ERRORS)]
        if error == "tag":
            found = outcome(volume, kind, OTHER[side])
        elif error == "mirrored":
            axis = 2 if kind in AS_IT_LIES else int(rng.integers(3))
            found = outcome(Volume(np.ascontiguousarray(np.flip(volume.hu, axis)), volume.affine), kind, side)
        else:
            found = outcome(volume, kind, side, ingest.Options(laterality=OTHER[side]))
        counts[f"{error}, {'UNNOTICED' if found == 'nothing' else found}"] += 1
    return dict(sorted(counts.items()))


def main() -> None:
    """Count, print, write JSON with -o, and exit 1 where an error went unnoticed or a sound bone was doubted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20262)
    parser.add_argument("--bone", action="append", choices=KINDS, help="may be given several times; else all")
    parser.add_argument("--jobs", type=int, default=1, help="so many kinds at the same time")
    parser.add_argument("-o", "--out", action="store_true", help="write benchmarks/results/sides-KIND.json")
    asked = parser.parse_args()
    print(f"seed {asked.seed}, {asked.n} ingests of each kind; {heading()}")
    kinds = asked.bone or KINDS
    found = {}
    with ProcessPoolExecutor(asked.jobs) as pool:
        for kind, counts in zip(kinds, pool.map(counted, kinds, repeat(asked.n), repeat(asked.seed)), strict=True):
            found[kind] = counts
            print(f"{kind}: {counts}", flush=True)
            if asked.out:
                write(f"sides-{kind}", {"seed": asked.seed, "ingests": asked.n, "outcomes": counts})
    sys.exit(any("UNNOTICED" in name or name == "sound, flagged" for counts in found.values() for name in counts))


if __name__ == "__main__":
    main()
