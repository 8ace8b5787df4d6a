"""Bodies, scans and databases that several test files share; everything is made here, nothing is downloaded."""

from pathlib import Path

import pytest
import torch

from boneprint.read import write_ct_series
from boneprint.simulate import Scanner, individual

# Two test processes share two cores; threads that wait for each other would only slow them down.
torch.set_num_threads(1)

REAL_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"

# Coarser than any real protocol, so that a scan takes a fraction of a second.
COARSE = Scanner((2.5, 2.5, 3.0), soft_tissue_mm=18.0, blur_mm=1.0, noise_hu=12.0)
COHORT_SEED = 4711


@pytest.fixture(scope="session")
def coarse_scan():
    """The CT of simulated person 0, right femur, with soft tissue."""
    volume, _ = individual(COHORT_SEED, 0, laterality="R").scan(COARSE)
    return volume


@pytest.fixture(scope="session")
def cohort_dir(tmp_path_factory):
    """DICOM series of four simulated people, one folder each."""
    folder = tmp_path_factory.mktemp("cohort")
    for index in range(4):
        body = individual(COHORT_SEED, index)
        volume, _ = body.scan(COARSE)
        write_ct_series(
            folder / body.subject_id,
            volume,
            subject_id=body.subject_id,
            body_part=body.bone,
            laterality=body.laterality,
        )
    return folder


@pytest.fixture(scope="session")
def bones_h5(cohort_dir, tmp_path_factory):
    """A database with the four people enrolled by the shipped embedder; not to be written to."""
    import boneprint

    path = tmp_path_factory.mktemp("database") / "bones.h5"
    with boneprint.open(path, writable=True) as database:
        report = database.ingest(cohort_dir)
    assert len(report.enrolled) == 4
    return path


@pytest.fixture(scope="session")
def probe_pngs(cohort_dir, tmp_path_factory):
    """Natural-looking radiographs of person 2 (AP, another AP, ML) and of person 1 (AP), as PNG with spacing."""
    from boneprint import views
    from boneprint.read import write_png

    folder = tmp_path_factory.mktemp("probes")
    poses = {
        "ap": (2, {"angle_deg": 7.0, "in_plane_deg": -5.0, "seed": 1}),
        "ap-again": (2, {"angle_deg": -4.0, "in_plane_deg": 3.0, "seed": 2}),
        "ml": (2, {"angle_deg": 95.0, "in_plane_deg": 4.0, "seed": 3}),
        "stranger": (1, {"angle_deg": -6.0, "in_plane_deg": 5.0, "seed": 4}),
    }
    written = {}
    for name, (index, pose) in poses.items():
        volume = views.single_ct(cohort_dir / f"SIM-{COHORT_SEED}-{index:04d}").load().volume
        written[name] = folder / f"{name}.png"
        write_png(written[name], views.natural(volume, **pose))
    return written
