"""The pictures of S1's experiment: simulated cat femora, up to 900 joined images each, kept on disk as 8 bits.

Each bone has one file SEED-STREAM-NUMBER.npz with ``joined`` (M, H, H) for S1's networks, AP on the left and ML on the
right, and ``halves`` (M, 2, h, w), the same AP and ML at the pixel size of boneprint's canvas. Both are uint8, white is
``WHITE``. A file that is there is not rendered again; the folder's name tells the revision of what is rendered.
"""

import os
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from boneprint import bone, drr
from boneprint.drr import s1
from boneprint.embed.preprocess import canvas_pixels, place_all
from boneprint.nouns import Canvas
from boneprint.simulate import CALIBRATION, COHORT, Scanner, individual

CANVAS = Canvas(140.0, 70.0)  # the smallest for long bones; it holds every cat's femur
SPACING_MM = CANVAS.height_mm / canvas_pixels(CANVAS)[0]
# Absorbed share that is white in 8 bits: a cat's femoral head absorbs less than 0.4 at 140 keV.
WHITE = 0.5


@dataclass(frozen=True)
class Views:
    """Which of S1's images are made: at all four energies, M in all, in the order axis, plane, energy."""

    axes_deg: tuple[float, ...] = s1.ANGLES_DEG
    planes_deg: tuple[float, ...] = s1.ANGLES_DEG
    pixels: int = 224  # what VGG-16 and ResNet-50 were made for

    def table(self) -> NDArray[np.float64]:
        """(M, 3): turn about the axis and in the plane in degrees, keV."""
        energies = [energy.value for energy in s1.ENERGIES]
        grid = np.meshgrid(self.axes_deg, self.planes_deg, energies, indexing="ij")
        return np.stack([part.ravel() for part in grid], axis=1)


@dataclass(frozen=True)
class Cat:
    """One simulated cat's right femur. One side for all: left ones would be told from right ones too easily."""

    seed: int
    number: int
    stream: int = COHORT

    def file(self, folder: Path) -> Path:
        """Where its pictures are kept."""
        return folder / f"{self.seed}-{self.stream}-{self.number:04d}.npz"


def cats(seed: int, count: int, *, first: int = 0) -> list[Cat]:
    """Cats that nobody trained on."""
    return [Cat(seed, first + number) for number in range(count)]


def others(seed: int, count: int) -> list[Cat]:
    """Cats for fixing thresholds: in no cohort and no training set."""
    return [Cat(seed, number, CALIBRATION) for number in range(count)]


def render(cat: Cat, views: Views, folder: Path) -> None:
    """Scan one cat's femur, isolate it, render its images as `boneprint drr --protocol s1` does, and keep them."""
    torch.set_num_threads(1)
    body = individual(cat.seed, cat.number, species="cat", laterality="R", stream=cat.stream)
    volume, _ = body.scan(Scanner.usual("cat"))
    upright, _ = bone.stand_up(bone.isolate(volume), float(min(volume.spacing_mm)))
    joined, halves = [], []
    for pose in s1.joined_images(drr.Absorber.of(drr.own_axes(upright)), CANVAS):
        if pose.axis_deg not in views.axes_deg or pose.in_plane_deg not in views.planes_deg:
            continue
        pictures = torch.from_numpy(pose.pictures)
        size = (views.pixels, views.pixels)
        joined.append(F.interpolate(pictures[:, None], size=size, mode="bilinear", antialias=True)[:, 0])
        sides = torch.stack(pictures.split(s1.COLUMNS, dim=2), dim=1)
        placed = place_all(sides.flatten(0, 1), s1.pitch_mm(CANVAS), CANVAS)
        halves.append(placed.unflatten(0, sides.shape[:2]))
    folder.mkdir(parents=True, exist_ok=True)
    written = cat.file(folder).with_suffix(f".{os.getpid()}.tmp")
    with written.open("wb") as file:
        np.savez(file, joined=_eight_bits(torch.cat(joined)), halves=_eight_bits(torch.cat(halves)))
    written.replace(cat.file(folder))


def _eight_bits(pictures: torch.Tensor) -> NDArray[np.uint8]:
    return (pictures * (255 / WHITE)).round_().clamp_(0, 255).byte().numpy()


class Studio:
    """Renders in processes of its own while others train; hands out tensors on a device."""

    def __init__(self, folder: Path, views: Views, workers: int, device: torch.device) -> None:
        self.folder, self.views, self.device = folder, views, device
        # Read by the processes to come: each renders on one thread.
        os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
        self._pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
        self._coming: dict[Cat, Future[None]] = {}
        self._shown: dict[tuple[Cat, ...], torch.Tensor] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def order(self, wanted: list[Cat]) -> None:
        """Begin to render what is not there yet, in this order."""
        for cat in wanted:
            if not cat.file(self.folder).exists() and cat not in self._coming:
                self._coming[cat] = self._pool.submit(render, cat, self.views, self.folder)

    def joined(self, wanted: list[Cat]) -> torch.Tensor:
        """(B, M, H, H) uint8, kept on the device; waits for what is still being rendered."""
        if tuple(wanted) not in self._shown:
            self._shown[tuple(wanted)] = self._stacked(wanted, "joined")
        return self._shown[tuple(wanted)]

    def halves(self, wanted: list[Cat]) -> torch.Tensor:
        """(B, M, 2, h, w) uint8 on the device, AP and ML at ``SPACING_MM``."""
        return self._stacked(wanted, "halves")

    def _stacked(self, wanted: list[Cat], name: str) -> torch.Tensor:
        self.order(wanted)
        parts = []
        for cat in wanted:
            if cat in self._coming:
                self._coming.pop(cat).result()
            with np.load(cat.file(self.folder)) as kept:
                parts.append(torch.from_numpy(kept[name]).to(self.device))
        return torch.stack(parts)
