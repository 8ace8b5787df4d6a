"""Bodies to train on: simulated, scanned, brought upright and projected once, kept on disk until training ends.

A view is kept as two projections (bone beyond soft tissue, and thickness), from which ``embed.augment`` makes another
radiograph every time it is used. The folder can be deleted; it is made again from the seed.
"""

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from boneprint import bone, drr
from boneprint._version import __version__
from boneprint.embed.preprocess import canvas_pixels, place
from boneprint.embed.training import TrainingViews
from boneprint.errors import BoneprintError
from boneprint.nouns import AIR_HU, Radiograph, Volume, canvas_for
from boneprint.simulate import TRAINING, Body, Scanner, family, individual

VIEWS = 24  # over half a turn: in parallel beam the other half is its mirror image
_TILTS = 3
_TILT_DEG = 4.0


@dataclass(frozen=True)
class Recipe:
    """How many bodies of which kind; together with the seed it determines every view."""

    seed: int = 1
    people: int = 500
    families: int = 200
    cats: int = 100
    cat_families: int = 40
    siblings: int = 4

    def __post_init__(self) -> None:
        counts = (self.people, self.families, self.cats, self.cat_families)
        if min(counts) < 0 or self.siblings < 2 or sum(counts) < 2:
            raise BoneprintError(
                f"training set of {self.people} people, {self.families} families, {self.cats} cats, "
                f"{self.cat_families} families of cats: expected no negative number, and at least two in all."
            )

    def bodies(self) -> list[tuple[Body, int]]:
        """Every body with the number of its family (-1 without)."""
        plain = [individual(self.seed, i, stream=TRAINING) for i in range(self.people)]
        plain += [individual(self.seed, 500_000 + i, species="cat", stream=TRAINING) for i in range(self.cats)]
        listed = [(body, -1) for body in plain]
        for number in range(self.families + self.cat_families):
            species = "human" if number < self.families else "cat"
            listed += [(body, number) for body in family(self.seed, number, self.siblings, species=species)]
        return listed


def project_body(body: Body) -> tuple[NDArray[np.float16], NDArray[np.float32]]:
    """Scan a body dry and coarsely, and project it over half a turn, tilted a little another way every few views.

    Returns
    -------
    (VIEWS, 2, H, W) float16: bone line integrals, and thickness in mm / 100; and their (VIEWS,) angles in degrees
    """
    torch.set_num_threads(1)
    step = body.shape["length_mm"] / 220.0
    noise = Scanner((step,) * 3, soft_tissue_mm=0.0, blur_mm=0.35 * step, noise_hu=15.0)
    scan, _ = body.scan(noise)
    upright = bone.upright(scan, bone.find_pose(scan, long=True), step)
    canvas = canvas_for(upright.hu.shape[0] * step, drr.view_width(upright.hu.shape) * step, long=True)
    rng = np.random.default_rng(np.random.SeedSequence(body.entropy, spawn_key=(7,)))

    height, width = canvas_pixels(canvas)
    views = np.zeros((VIEWS, 2, height, width), dtype=np.float16)
    angles = np.arange(VIEWS) * (180.0 / VIEWS) + rng.uniform(0, 180.0 / VIEWS)
    for group in range(_TILTS):
        hu = _tilted(upright, np.deg2rad(rng.normal(0, _TILT_DEG, 2)))
        members = range(group, VIEWS, _TILTS)
        at = [float(angles[m]) for m in members]
        integrals = drr.turntable(drr.bone_mu_per_mm(hu, drr.ENROLMENT_ENERGY), step, at)
        paths = drr.turntable((hu > -500).astype(np.float32), step, at)
        for member, integral, path in zip(members, integrals, paths):
            for channel, picture in enumerate((integral, path / 100)):
                placed = place(Radiograph(picture, step), canvas).numpy()
                views[member, channel] = _centred(placed, height, width)
    return views, angles.astype(np.float32)


def build(
    recipe: Recipe, folder: Path, *, workers: int | None = None, report: Callable[[int, int], None] | None = None
) -> TrainingViews:
    """Make the views of a recipe, or go on where an earlier run stopped.

    Parameters
    ----------
    folder : cache; holds ``views.npy``, ``angles.npy`` and ``manifest.json``
    report : called with (bodies done, bodies in all)

    Raises
    ------
    BoneprintError
        If the folder holds the views of another recipe.
    """
    listed = recipe.bodies()
    folder.mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.json"
    about = {"boneprint": __version__, "views": VIEWS, "tilt_deg": _TILT_DEG, "kev": drr.ENROLMENT_ENERGY.value}
    said = json.dumps({"recipe": asdict(recipe), **about}, indent=1)
    if manifest.exists() and manifest.read_text() != said:
        raise BoneprintError(
            f"{folder}: holds the views of another recipe or version; delete it or name another one with --cache."
        )
    manifest.write_text(said)
    views = _open(
        folder / "views.npy", (len(listed), VIEWS, 2, *canvas_pixels(canvas_for(1, 1, long=True))), np.float16
    )
    angles = _open(folder / "angles.npy", (len(listed), VIEWS), np.float32)

    # A body is done when its last angle has been written, after its views; angles of 0 in the last place never occur.
    waiting = [i for i in range(len(listed)) if angles[i, -1] == 0]
    for i, (pictures, at) in zip(waiting, _projected([listed[i][0] for i in waiting], workers)):
        views[i] = pictures
        angles[i] = at
        if report:
            report(int((angles[:, -1] > 0).sum()), len(listed))
    views.flush()
    angles.flush()
    return TrainingViews(views, angles, np.array([number for _, number in listed]), repr(recipe))


def _projected(bodies: list[Body], workers: int | None) -> Iterator[tuple[NDArray[np.float16], NDArray[np.float32]]]:
    workers = workers or os.cpu_count() or 1
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(project_body, bodies)


def _open(path: Path, shape: tuple[int, ...], dtype: type) -> np.memmap:
    if path.exists():
        kept = np.lib.format.open_memmap(path, mode="r+")
        if kept.shape != shape or kept.dtype != dtype:
            raise BoneprintError(f"{path}: holds {kept.dtype} {kept.shape}, expected {shape}; delete its folder.")
        return kept
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _tilted(volume: Volume, angles: NDArray[np.float64]) -> NDArray[np.float32]:
    """The grid turned about its centre by small angles about x and y, in a box that holds it."""
    about_x, about_y = angles
    cx, sx, cy, sy = np.cos(about_x), np.sin(about_x), np.cos(about_y), np.sin(about_y)
    turn = np.array([[cx, -sx, 0], [sx, cx, 0], [0, 0, 1]]) @ np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    size = np.array(volume.hu.shape)
    larger = np.ceil(np.abs(turn) @ size).astype(int)
    offset = (size - 1) / 2 - turn @ ((larger - 1) / 2)
    return np.asarray(
        ndimage.affine_transform(
            volume.hu, turn, offset=offset, output_shape=tuple(larger), order=1, mode="constant", cval=AIR_HU
        )
    )


def _centred(image: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Cut or pad a picture to a size, about its centre."""
    padded = np.pad(image, [(height // 2 + 1,) * 2, (width // 2 + 1,) * 2])
    top, left = (padded.shape[0] - height) // 2, (padded.shape[1] - width) // 2
    return padded[top : top + height, left : left + width]
