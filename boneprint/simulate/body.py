"""A simulated individual: one bone with its inside, and how a scanner sees it."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from skimage.measure import marching_cubes

from boneprint.nouns import Volume
from boneprint.simulate.femur import (
    WARP_SCALES,
    FemurShape,
    cortex_thickness,
    signed_distance,
    trabecular_share,
)
from boneprint.simulate.fields import smooth_field

# Half extents of the modelled box along x, y, z as fractions of the bone length.
_BOX = ((-0.15, 0.19), (-0.16, 0.16), (-0.55, 0.55))

# HU of the tissues in usual clinical ranges (cortex about 1200-1900, spongy bone 100-500, marrow about -80..0,
# muscle 40-70, fat -110..-80).
_MUSCLE_HU = 55.0
_FAT_HU = -95.0
_AIR_HU = -1000.0


@dataclass(frozen=True)
class Scanner:
    """How a CT is taken: voxel spacing x, y, z in mm, blur and noise, and what surrounds the bone.

    ``tilt_deg`` and ``turn_deg`` are standard deviations of the bone's random position on the table; a soft tissue of
    0 mm scans a dry bone in air.
    """

    spacing_mm: tuple[float, float, float]
    soft_tissue_mm: float
    blur_mm: float
    noise_hu: float
    tilt_deg: float = 3.0
    turn_deg: float = 6.0

    @classmethod
    def usual(cls, species: str) -> "Scanner":
        """A usual protocol for the species: about 1 mm for people, 0.3 mm for cats."""
        if species == "cat":
            return cls((0.3, 0.3, 0.4), soft_tissue_mm=8.0, blur_mm=0.2, noise_hu=18.0)
        return cls((1.0, 1.0, 1.5), soft_tissue_mm=26.0, blur_mm=0.6, noise_hu=18.0)


@dataclass(frozen=True, eq=False)
class _Atlas:
    """Fields of the body in its bone frame, on a grid of cubic cells of ``step_mm`` that starts at ``origin_mm``."""

    distance: torch.Tensor
    cortex_scale: torch.Tensor
    texture: torch.Tensor
    origin_mm: NDArray[np.float64]
    step_mm: float


@dataclass(frozen=True)
class Body:
    """One simulated femur: always the same one for the same ``entropy`` and ``shape``."""

    subject_id: str
    species: str
    laterality: str
    shape: FemurShape
    entropy: tuple[int, ...]
    bone: str = "femur"
    upside_down: bool = False

    def _rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.entropy, spawn_key=(stream,)))

    def _atlas(self, step_mm: float) -> _Atlas:
        length = self.shape["length_mm"]
        axes = [torch.arange(low * length, high * length, step_mm) for low, high in _BOX]
        unit = [(axis - axis[0]) / (axis[-1] - axis[0]) for axis in axes]
        ux, uy, uz = unit
        warp_rng = self._rng(0)
        warp = torch.zeros(3, len(uz), len(uy), len(ux))
        for points, amplitude in WARP_SCALES:
            across = max(2, round(points / 3))
            warp += amplitude * length * smooth_field(warp_rng, (uz, uy, ux), (points, across, across), 3)
        x, y, z = axes[0][None, None, :], axes[1][None, :, None], axes[2][:, None, None]
        distance = signed_distance(self.shape, x + warp[0], y + warp[1], z + warp[2])
        inside_rng = self._rng(1)
        cortex_scale = torch.exp(0.22 * smooth_field(inside_rng, (uz, uy, ux), (14, 5, 5), 1)[0])
        texture = 0.6 * smooth_field(inside_rng, (uz, uy, ux), (40, 12, 12), 1)[0]
        grain = torch.from_numpy(inside_rng.standard_normal(distance.shape, dtype=np.float32))
        texture += F.avg_pool3d(grain[None, None], 3, 1, 1)[0, 0] * 3.0
        origin = np.array([float(axis[0]) for axis in axes])
        return _Atlas(distance, cortex_scale, texture, origin, step_mm)

    def surface(self, affine: NDArray[np.float64] | None = None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The true outer surface, to about 0.2 mm (surface and scan evaluate one warp on grids of their own).

        Parameters
        ----------
        affine : (4, 4), bone frame to patient mm, as ``scan`` returns it; None stays in the bone frame

        Returns
        -------
        vertices (N, 3) mm and faces (M, 3), outward normals
        """
        atlas = self._atlas(self.shape["length_mm"] / 320.0)
        vertices, faces, _, _ = marching_cubes(atlas.distance.numpy(), level=0.0)  # type: ignore[no-untyped-call]
        vertices = vertices[:, ::-1] * atlas.step_mm + atlas.origin_mm
        faces = faces.astype(np.int64)
        mirrored = affine is not None and np.linalg.det(affine[:3, :3]) < 0
        if affine is not None:
            vertices = vertices @ affine[:3, :3].T + affine[:3, 3]
        # Reading (z, y, x) vertices as (x, y, z) turned every triangle inside out once already.
        return np.ascontiguousarray(vertices), faces if mirrored else faces[:, ::-1].copy()

    def scan(self, scanner: Scanner, scan_number: int = 0) -> tuple[Volume, NDArray[np.float64]]:
        """Scan the body: another ``scan_number`` is another position on the table and other noise.

        Returns
        -------
        Volume, int16 HU, patient LPS; and the (4, 4) rigid (for a left bone mirrored) map from bone frame to patient mm
        """
        rng = self._rng(100 + scan_number)
        length = self.shape["length_mm"]
        to_patient = self._place(rng, scanner)
        spacing = np.array(scanner.spacing_mm)
        step = max(float(spacing.min()), length / 230.0)
        atlas = self._atlas(step)

        corner_mm, shape_xyz = self._field_of_view(atlas, to_patient, scanner, spacing)
        affine: NDArray[np.float64] = np.diag([*spacing, 1.0])
        affine[:3, 3] = corner_mm
        to_bone = np.linalg.inv(to_patient) @ affine
        bone_mm = _grid(to_bone, shape_xyz)
        distance, cortex_scale, texture = _carry(atlas, bone_mm)

        around = self._around_hu(bone_mm, scanner, rng)
        inside = self._inside_hu(-distance, cortex_scale, texture, bone_mm[2], edge_mm=step)
        solid = (0.5 - distance / step).clamp(0, 1)
        hu = solid * inside + (1 - solid) * around
        hu = _blur(hu, scanner.blur_mm / spacing[::-1])
        noise = torch.from_numpy(rng.standard_normal(hu.shape, dtype=np.float32))
        hu = hu + scanner.noise_hu * 1.6 * _blur(noise, np.array([0.5, 0.5, 0.5]))
        return Volume(hu.round().clamp(-1024, 3071).to(torch.int16).numpy(), affine), to_patient

    def _place(self, rng: np.random.Generator, scanner: Scanner) -> NDArray[np.float64]:
        tilt = np.deg2rad(rng.normal(0.0, [scanner.tilt_deg, scanner.tilt_deg, scanner.turn_deg]))
        rotation = _rotation(0, tilt[0]) @ _rotation(1, tilt[1]) @ _rotation(2, tilt[2])
        if self.laterality == "L":
            rotation = rotation @ np.diag([-1.0, 1.0, 1.0])
        if self.upside_down:
            rotation = _rotation(1, math.pi) @ rotation
        placed = np.eye(4)
        placed[:3, :3] = rotation
        side = 1.0 if self.laterality == "L" else -1.0
        placed[:3, 3] = [side * 0.2 * self.shape["length_mm"], rng.normal(0, 10), rng.normal(-600, 20)]
        return placed

    def _field_of_view(
        self, atlas: _Atlas, to_patient: NDArray[np.float64], scanner: Scanner, spacing: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
        solid = np.argwhere((atlas.distance < 0).numpy()[::2, ::2, ::2]) * 2
        points = solid[:, ::-1] * atlas.step_mm + atlas.origin_mm
        placed = points @ to_patient[:3, :3].T + to_patient[:3, 3]
        air = 0.02 * self.shape["length_mm"]
        # In a limb the picture goes on beyond the bone's ends; a dry bone lies in a narrow box of air.
        beyond = air + scanner.soft_tissue_mm
        margin = np.array([beyond, beyond, beyond])
        low, high = placed.min(axis=0) - margin, placed.max(axis=0) + margin
        nx, ny, nz = (int(n) for n in np.ceil((high - low) / spacing) + 1)
        return low, (nx, ny, nz)

    def _around_hu(self, bone_mm: list[torch.Tensor], scanner: Scanner, rng: np.random.Generator) -> torch.Tensor:
        """Muscle, fat under the skin, and air: an elliptic limb around the bone."""
        x, y, z = bone_mm
        if scanner.soft_tissue_mm <= 0:
            return torch.full_like(x, _AIR_HU)
        length = self.shape["length_mm"]
        wobble = 1 + 0.06 * float(rng.uniform(-1, 1)) * torch.sin(z / length * 4 + float(rng.uniform(0, 6)))
        half_x = (0.115 * length + scanner.soft_tissue_mm) * wobble
        half_y = (0.080 * length + scanner.soft_tissue_mm) * wobble
        rim = torch.sqrt(((x - 0.02 * length) / half_x) ** 2 + (y / half_y) ** 2)
        skin = (1 - rim) * 0.5 * (half_x + half_y)
        fat_mm = scanner.soft_tissue_mm * float(rng.uniform(0.2, 0.5))
        muscle = torch.where(skin > fat_mm, _MUSCLE_HU, _FAT_HU)
        return torch.where(skin > 0, muscle, _AIR_HU)

    def _inside_hu(
        self,
        depth: torch.Tensor,
        cortex_scale: torch.Tensor,
        texture: torch.Tensor,
        z_mm: torch.Tensor,
        edge_mm: float,
    ) -> torch.Tensor:
        rng = self._rng(2)
        cortical, spongy, marrow = (float(v) for v in rng.normal([1550, 260, -40], [110, 45, 20]))
        shell = cortex_thickness(self.shape, z_mm) * cortex_scale
        compact = ((shell - depth) / edge_mm + 0.5).clamp(0, 1)
        share = trabecular_share(self.shape, z_mm)
        # Spongy bone is densest under the shell; its texture belongs to the person.
        rim = torch.exp(-(depth - shell).clamp(min=0) / (0.03 * self.shape["length_mm"]))
        core = marrow + share * (spongy - marrow + 160.0 * rim + 90.0 * texture)
        return compact * cortical + (1 - compact) * core.clamp(min=-120.0)


def _grid(to_bone: NDArray[np.float64], shape_xyz: tuple[int, int, int]) -> list[torch.Tensor]:
    """Bone-frame x, y, z in mm of every voxel: three (Z, Y, X) tensors."""
    nx, ny, nz = shape_xyz
    ix = torch.arange(nx, dtype=torch.float32)[None, None, :]
    iy = torch.arange(ny, dtype=torch.float32)[None, :, None]
    iz = torch.arange(nz, dtype=torch.float32)[:, None, None]
    rows = ([float(value) for value in row] for row in to_bone[:3])
    return [a * ix + b * iy + c * iz + d for a, b, c, d in rows]


def _carry(atlas: _Atlas, bone_mm: list[torch.Tensor]) -> torch.Tensor:
    """The atlas's three fields at points of the bone frame: (3, Z, Y, X)."""
    cells = [n - 1 for n in atlas.distance.shape[::-1]]
    unit = [
        (mm - float(origin)) * (2 / atlas.step_mm / n) - 1 for mm, origin, n in zip(bone_mm, atlas.origin_mm, cells)
    ]
    fields = torch.stack([atlas.distance, atlas.cortex_scale, atlas.texture])[None]
    at = torch.stack(unit, dim=-1)[None]
    return F.grid_sample(fields, at, padding_mode="border", align_corners=True)[0]


def _rotation(axis: int, angle: float) -> NDArray[np.float64]:
    c, s = math.cos(angle), math.sin(angle)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = c
    matrix[i, j], matrix[j, i] = -s, s
    return matrix


def _blur(volume: torch.Tensor, sigma_voxels: NDArray[np.float64]) -> torch.Tensor:
    """Separable Gaussian over (Z, Y, X), as sums of shifted copies; conv3d took half the time of a scan."""
    out = volume
    for dim, sigma in enumerate(sigma_voxels):
        radius = math.ceil(2.5 * float(sigma))
        weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / max(float(sigma), 1e-6)) ** 2)
        padding = [0] * 6
        padding[2 * (2 - dim)] = padding[2 * (2 - dim) + 1] = radius
        padded = F.pad(out[None, None], padding, mode="replicate")[0, 0]
        out = torch.zeros_like(out)
        for start, weight in enumerate(weights / weights.sum()):
            out.add_(padded.narrow(dim, start, volume.shape[dim]), alpha=float(weight))
    return out
