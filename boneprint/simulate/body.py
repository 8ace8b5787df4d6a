"""A simulated individual: one bone with its inside, and how a scanner sees it."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from skimage.measure import marching_cubes

from boneprint.nouns import AIR_HU, Volume
from boneprint.simulate.atlas import SCAN, Atlas, Beside, Visit, atlas, outer_surface
from boneprint.simulate.condition import HEALTHY, Condition
from boneprint.simulate.kinds import KINDS
from boneprint.simulate.scanner import Scanner
from boneprint.simulate.shape import Shape

# HU of the tissues in usual clinical ranges (muscle 40-70, fat -110..-80); metal is beyond what 12 bits hold.
_MUSCLE_HU = 55.0
_FAT_HU = -95.0
_METAL_HU = 3071.0
# A joint space: no neighbour comes nearer than 0.4 % of the length, 1.7 mm in a femur (chosen by hand).
_JOINT_SPACE = 0.004
# Neighbouring bones are seen in passing: a thin cortex over spongy bone, the same for everybody.
_BESIDE_SHELL_MM, _BESIDE_CORTEX_HU, _BESIDE_CORE_HU = 1.6, 1300.0, 220.0


@dataclass(frozen=True)
class Body:
    """One simulated bone: always the same one for the same ``entropy``, ``shape`` and side.

    ``laterality`` is "L" or "R", or None for a bone that has no side. Left and right of one individual share their
    entropy and are mirror images but for a small asymmetry.
    """

    subject_id: str
    species: str
    laterality: str | None
    shape: Shape
    entropy: tuple[int, ...]
    bone: str = "femur"
    upside_down: bool = False

    @property
    def implants(self) -> tuple[str, ...]:
        """Which implants fit this kind of bone."""
        return KINDS[self.bone].implants

    @property
    def finest_mm(self) -> float:
        """The voxel below which a scan of the whole bone shows nothing new."""
        return self._visit(1, HEALTHY).finest_mm

    def stream(self, *key: int) -> np.random.Generator:
        """Random numbers of this body alone, another sequence for every key."""
        return np.random.default_rng(np.random.SeedSequence(self.entropy, spawn_key=key))

    def _visit(self, session: int, condition: Condition) -> Visit:
        return Visit(KINDS[self.bone], self.shape, self.laterality, self.stream, session, condition)

    def surface(
        self,
        affine: NDArray[np.float64] | None = None,
        *,
        step_mm: float | None = None,
        session: int = 1,
        condition: Condition = HEALTHY,
        device: torch.device | str = "cpu",
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The true outer surface of what is left of the bone, without neighbours and metal.

        Parameters
        ----------
        affine : (4, 4), bone frame to patient mm, as ``scan`` returns it; None stays in the bone frame
        step_mm : of the grid it is found on; None: 1.6 mm in a femur, off by 0.06 mm where the surface turns in 5 mm

        Returns
        -------
        vertices (N, 3) mm and faces (M, 3), outward normals
        """
        visit = self._visit(session, condition)
        step = step_mm or visit.finest_mm / 1.25
        distance, origin = outer_surface(visit, step, torch.device(device))
        vertices, faces, _, _ = marching_cubes(distance.cpu().numpy(), level=0.0)  # type: ignore[no-untyped-call]
        vertices = vertices[:, ::-1] * step + origin
        faces = faces.astype(np.int64)
        mirrored = affine is not None and np.linalg.det(affine[:3, :3]) < 0
        if affine is not None:
            vertices = vertices @ affine[:3, :3].T + affine[:3, 3]
        # Reading (z, y, x) vertices as (x, y, z) turned every triangle inside out once already.
        return np.ascontiguousarray(vertices), faces if mirrored else faces[:, ::-1].copy()

    def scan(
        self,
        scanner: Scanner,
        session: int = 1,
        *,
        condition: Condition = HEALTHY,
        dry: bool = False,
        device: torch.device | str = "cpu",
    ) -> tuple[Volume, NDArray[np.float64]]:
        """Scan the body.

        Parameters
        ----------
        session : number of the visit, from 1. Another visit is another position on the table, other flesh around the
            bone and other noise; after the first the bone itself has been remodelled a little.
        condition : what has happened to the bone by then, and what lies beside it
        dry : leave out the flesh, but not the room that it takes
        device : where the volume is computed; the outcome is the same to the rounding of float32

        Returns
        -------
        Volume, int16 HU, patient LPS; and the (4, 4) rigid (for a left bone mirrored) map from bone frame to patient mm
        """
        rng = self.stream(SCAN, session)
        to_patient = self._place(rng, scanner)
        spacing = np.array(scanner.spacing_mm)
        visit = self._visit(session, condition)
        where = torch.device(device)
        fields = atlas(visit, max(float(spacing.min()), visit.finest_mm), where)

        corner_mm, shape_xyz = _field_of_view(fields, to_patient, scanner, self.shape["length_mm"])
        affine: NDArray[np.float64] = np.diag([*spacing, 1.0])
        affine[:3, 3] = corner_mm
        bone_mm = _grid(np.linalg.inv(to_patient) @ affine, shape_xyz, where)
        tissue_mm = 0.0 if dry else scanner.soft_tissue_mm
        hu = _flesh_hu(fields, bone_mm, tissue_mm, rng)
        at = _near(fields, bone_mm)
        edge_mm = float(np.prod(spacing) ** (1 / 3))
        hu[at] = _bone_hu(fields, [mm[at] for mm in bone_mm], hu[at], edge_mm, self.shape["length_mm"])
        hu = _seen(hu, scanner, rng)
        return Volume(hu.round().clamp(-1024, 3071).to(torch.int16).cpu().numpy(), affine), to_patient

    def _place(self, rng: np.random.Generator, scanner: Scanner) -> NDArray[np.float64]:
        tilt = np.deg2rad(rng.normal(0.0, [scanner.tilt_deg, scanner.tilt_deg, scanner.turn_deg]))
        rotation = _rotation(0, tilt[0]) @ _rotation(1, tilt[1]) @ _rotation(2, tilt[2])
        if self.laterality == "L":
            rotation = rotation @ np.diag([-1.0, 1.0, 1.0])
        if self.upside_down:
            rotation = _rotation(1, math.pi) @ rotation
        placed = np.eye(4)
        placed[:3, :3] = rotation
        side = {"L": 1.0, "R": -1.0, None: 0.0}[self.laterality]
        placed[:3, 3] = [side * 0.2 * self.shape["length_mm"], rng.normal(0, 10), rng.normal(-600, 20)]
        return placed


def _field_of_view(
    fields: Atlas, to_patient: NDArray[np.float64], scanner: Scanner, length_mm: float
) -> tuple[NDArray[np.float64], tuple[int, int, int]]:
    solid = np.argwhere((fields.solid < 0)[::2, ::2, ::2].cpu().numpy()) * 2
    points = solid[:, ::-1] * fields.step_mm + fields.origin_mm
    placed = points @ to_patient[:3, :3].T + to_patient[:3, 3]
    # In a limb the picture goes on beyond the bone's ends; a dry bone lies in a narrow box of air.
    beyond = 0.02 * length_mm + scanner.soft_tissue_mm
    low, high = placed.min(axis=0) - beyond, placed.max(axis=0) + beyond
    nx, ny, nz = (int(n) for n in np.ceil((high - low) / scanner.spacing_mm) + 1)
    return low, (nx, ny, nz)


def _flesh_hu(fields: Atlas, bone_mm: list[torch.Tensor], tissue: float, rng: np.random.Generator) -> torch.Tensor:
    """Muscle, fat under the skin, and air: an elliptic limb around the bone, eccentric, thicker at one end."""
    x, y, z = bone_mm
    if tissue <= 0:
        return torch.full_like(x, AIR_HU)
    solid = fields.solid < 0
    (x0, x1), (y0, y1), (z0, z1) = (_extent(solid, fields, axis) for axis in range(3))
    along = (z - 0.5 * (z0 + z1)) / (z1 - z0)
    wobble = float(rng.uniform(-0.25, 0.25)) * along + 0.06 * float(rng.uniform(-1, 1)) * torch.sin(
        4 * along + float(rng.uniform(0, 6))
    )
    half_x, half_y = (0.4 * (b - a) + tissue * (1 + wobble) for a, b in ((x0, x1), (y0, y1)))
    off_x, off_y = (0.5 * (a + b) + tissue * float(rng.uniform(-0.3, 0.3)) for a, b in ((x0, x1), (y0, y1)))
    rim = torch.sqrt(((x - off_x) / half_x) ** 2 + ((y - off_y) / half_y) ** 2)
    skin = (1 - rim) * 0.5 * (half_x + half_y)
    muscle = torch.where(skin > tissue * float(rng.uniform(0.2, 0.5)), _MUSCLE_HU, _FAT_HU)
    return torch.where(skin > 0, muscle, AIR_HU)


def _near(fields: Atlas, bone_mm: list[torch.Tensor]) -> tuple[slice, slice, slice]:
    """The voxels where anything but flesh can be: most of a limb's picture is flesh, and it costs the most time."""
    if fields.beside is not None:
        return slice(None), slice(None), slice(None)  # they go on to the picture's borders
    thing = fields.solid if fields.metal is None else torch.minimum(fields.solid, fields.metal)
    margin = 3 * fields.step_mm
    inside = torch.ones(bone_mm[0].shape, dtype=torch.bool, device=thing.device)
    for axis, mm in enumerate(bone_mm):
        low, high = _extent(thing < 0, fields, axis)
        inside &= (mm > low - margin) & (mm < high + margin)
    found = []
    for axis in range(3):
        there = inside.any(dim=2 if axis != 2 else 1).any(dim=0 if axis != 0 else 1).nonzero()
        found.append(slice(int(there.min()), int(there.max()) + 1))
    return found[0], found[1], found[2]


def _extent(solid: torch.Tensor, fields: Atlas, axis: int) -> tuple[float, float]:
    """Lowest and highest x, y or z of a bone, mm."""
    there = solid.any(dim=2 if axis != 0 else 1).any(dim=0 if axis != 2 else 1).nonzero()
    low, high = float(there.min()), float(there.max())
    return (float(v) * fields.step_mm + float(fields.origin_mm[axis]) for v in (low, high))  # type: ignore[return-value]


def _bone_hu(
    fields: Atlas, bone_mm: list[torch.Tensor], around: torch.Tensor, edge_mm: float, length_mm: float
) -> torch.Tensor:
    """Cortex, core, neighbours and metal in what surrounds them; edges are shared by the voxels that hold them."""
    carried = [fields.distance, fields.solid, fields.shell, fields.core]
    if fields.metal is not None:
        carried.append(fields.metal)
    distance, solid, shell, core, *metal = _carry(carried, fields, bone_mm)

    def share(signed: torch.Tensor) -> torch.Tensor:
        return (0.5 - signed / edge_mm).clamp(0, 1)

    def mixed(part: torch.Tensor, inside: torch.Tensor | float, outside: torch.Tensor | float) -> torch.Tensor:
        return part * inside + (1 - part) * outside

    hu = around
    if fields.beside is not None:
        (beside,) = _carry([fields.beside.distance], fields.beside, bone_mm)
        beside = torch.maximum(beside, _JOINT_SPACE * length_mm - distance)
        bony = mixed(share(-beside - _BESIDE_SHELL_MM), _BESIDE_CORTEX_HU, _BESIDE_CORE_HU)
        flesh = hu > 0.5 * AIR_HU
        # Nothing of them sticks out of the skin.
        hu = mixed(share(beside) * flesh if flesh.any() else share(beside), bony, hu)
    hu = mixed(share(solid), mixed(share(-distance - shell), fields.cortical_hu, core), hu)
    for signed in metal:
        hu = mixed(share(signed), _METAL_HU, hu)
    return hu


def _seen(hu: torch.Tensor, scanner: Scanner, rng: np.random.Generator) -> torch.Tensor:
    """Blur or sharpening of the kernel, noise, and calibration."""
    sigma = scanner.blur_mm / np.array(scanner.spacing_mm)[::-1]
    hu = _blur(hu, sigma)
    if scanner.sharpening > 0:
        hu = hu + scanner.sharpening * (hu - _blur(hu, 1.5 * sigma))
    noise = torch.from_numpy(rng.standard_normal(hu.shape, dtype=np.float32)).to(hu.device)
    hu = hu + scanner.noise_hu * 1.6 * _blur(noise, np.array([0.5, 0.5, 0.5]))
    return (hu - AIR_HU) * scanner.hu_gain + AIR_HU + scanner.hu_offset


def _grid(to_bone: NDArray[np.float64], shape_xyz: tuple[int, int, int], device: torch.device) -> list[torch.Tensor]:
    """Bone-frame x, y, z in mm of every voxel: three (Z, Y, X) tensors."""
    nx, ny, nz = shape_xyz
    ix = torch.arange(nx, dtype=torch.float32, device=device)[None, None, :]
    iy = torch.arange(ny, dtype=torch.float32, device=device)[None, :, None]
    iz = torch.arange(nz, dtype=torch.float32, device=device)[:, None, None]
    rows = ([float(value) for value in row] for row in to_bone[:3])
    return [a * ix + b * iy + c * iz + d for a, b, c, d in rows]


def _carry(carried: list[torch.Tensor], on: Atlas | Beside, bone_mm: list[torch.Tensor]) -> torch.Tensor:
    """Fields on the cells of an atlas, or of what lies beside, at points of the bone frame: (C, Z, Y, X)."""
    cells = [n - 1 for n in carried[0].shape[::-1]]
    unit = [(mm - float(origin)) * (2 / on.step_mm / n) - 1 for mm, origin, n in zip(bone_mm, on.origin_mm, cells)]
    at = torch.stack(unit, dim=-1)[None]
    return F.grid_sample(torch.stack(carried)[None], at, padding_mode="border", align_corners=True)[0]


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
