"""Laterality errors injected into simulated ingests: how many are flagged, and how many sound ones are doubted.

    python benchmarks/sides.py [-n 200] [--seed 20262] [--bone femur]

Each bone is isolated as it is, and once more with its tag exchanged, or its voxels mirrored, or the wrong --side.
"""

import argparse
import subprocess
import sys
from collections import Counter

import numpy as np

from boneprint import ingest
from boneprint.nouns import Scan, Volume
from boneprint.simulate import Scanner, individual

OTHER = {"L": "R", "R": "L"}


def doubted(volume: Volume, kind: str, side: str, options: ingest.Options | None = None) -> bool:
    """Whether an ingestion doubts the side of a bone."""
    scan = Scan(volume, "x", "0" * 64, "S", kind, side)
    (specimen,) = ingest.specimens(scan, options or ingest.Options())
    return any("LATERALITY IN DOUBT" in note for note in specimen.notes)


def main() -> None:
    """Count, and exit 1 where an error went unnoticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--seed", type=int, default=20262)
    parser.add_argument("--bone", default="femur", choices=("femur", "tibia", "hip", "humerus"))
    asked = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    scanner = Scanner((2.5, 2.5, 3.0), soft_tissue_mm=18.0, blur_mm=1.0, noise_hu=12.0)
    counts: Counter[str] = Counter()
    kinds = ("tag", "mirrored", "option")
    for index in range(asked.n):
        body = individual(asked.seed, index, bone=asked.bone)
        volume, _ = body.scan(scanner)
        side = str(body.laterality)
        counts["sound, doubted"] += doubted(volume, asked.bone, side)
        kind = kinds[index % len(kinds)]
        if kind == "tag":
            found = doubted(volume, asked.bone, OTHER[side])
        elif kind == "mirrored":
            found = doubted(Volume(np.ascontiguousarray(volume.hu[:, :, ::-1]), volume.affine), asked.bone, side)
        else:
            found = doubted(volume, asked.bone, side, ingest.Options(laterality=OTHER[side]))
        counts[f"{kind}, {'flagged' if found else 'UNNOTICED'}"] += 1
    print(f"seed {asked.seed}, commit {commit}, {asked.n} ingests of a {asked.bone}: {dict(sorted(counts.items()))}")
    sys.exit(any("UNNOTICED" in name for name in counts))


if __name__ == "__main__":
    main()
