"""Make the pictures of rendering.md from a simulated femur. Usage: rendering_pictures.py."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from boneprint import bone, drr
from boneprint.drr import Absorber, Beam, Detector, Exposure, KVp, Pose
from boneprint.drr.exposure import Collimation, Display, Marker, Photometric
from boneprint.simulate import Scanner, individual

FOLDER = Path(__file__).resolve().parent / "pictures"
SEED = 7
SPACING_MM = 1.25
ROOM = {"source_detector_mm": 1300.0, "source_isocentre_mm": 1000.0}


def write(name: str, pictures: list[NDArray[np.float32]]) -> None:
    """Grey values 0..1 side by side, two pixels apart."""
    apart = [np.pad(np.clip(picture, 0, 1), [(0, 0), (0, 2)], constant_values=1) for picture in pictures]
    joined = np.concatenate(apart, axis=1)[:, :-2]
    FOLDER.mkdir(exist_ok=True)
    Image.fromarray(np.rint(255 * joined).astype(np.uint8)).save(FOLDER / f"rendering-{name}.png", optimize=True)


def main() -> None:
    """Scan, project, write."""
    volume, _ = individual(SEED, 0).scan(Scanner.usual("human"))
    pose = bone.find_pose(bone.isolate(volume))
    limb = pose.placed(volume)
    body = Absorber.of(limb)
    content = bone.extremes_mm(volume, -300.0) @ pose.axes.T
    middle = tuple(float(value) for value in (content.min(axis=0) + content.max(axis=0)) / 2)

    def seen(room: dict[str, float], **turns: float) -> tuple[NDArray[np.float32], Detector]:
        where = Pose(centre_mm=middle, **turns)  # type: ignore[arg-type]
        detector = Detector(420, 200, SPACING_MM * room["source_detector_mm"] / room["source_isocentre_mm"], **room)  # type: ignore[arg-type]
        return drr.project(body, [where], detector)[0], detector

    shown = Display(window=(0.02, 0.999))
    tube = Beam.spectrum(KVp(70)).thinned()
    near = {"source_detector_mm": 600.0, "source_isocentre_mm": 400.0}
    views = [seen(ROOM), seen(ROOM, axis_deg=90), seen(ROOM, tilt_deg=25), seen(near)]
    plain = Exposure(beam=tube, display=shown)
    write("poses", [drr.expose(paths, detector.spacing_mm, plain, seed=0) for paths, detector in views])

    paths, detector = views[0]
    integrals = [Beam.spectrum(KVp(kvp)).line_integral(paths) for kvp in (50, 70, 81, 100, 120)]
    write("spectra", [integral / integrals[0].max() for integral in integrals])

    exposures = [
        plain,
        replace(plain, quanta=150.0),
        replace(plain, scatter=1.0, scatter_mm=25.0),
        replace(plain, focal_blur_mm=1.5, detector_blur_mm=1.0),
        replace(plain, collimation=Collimation(0.8, 0.7, turn_deg=3.0), marker=Marker(25.0, 0.2, 0.25)),
        replace(plain, display=replace(shown, photometric=Photometric.MONOCHROME1)),
    ]
    write("detector", [drr.expose(paths, detector.spacing_mm, exposure, seed=1) for exposure in exposures])


if __name__ == "__main__":
    main()
