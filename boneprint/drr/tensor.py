"""Line integrals on a torch device, differentiable in the pose: the same rays as `shear_warp`, sampled one by one.

For matching a pose to a radiograph and for rendering next to the network. Values stay on the device.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample
from torch.utils.checkpoint import checkpoint

from boneprint.drr.absorber import Absorber
from boneprint.drr.geometry import Detector, GeometryError, Pose, Rays, turned_axes

# Points sampled at once: about 100 MiB of coordinates and samples per channel.
_POINTS = 4_000_000


@dataclass(frozen=True, eq=False)
class TensorAbsorber:
    """A body on a torch device.

    Parameters
    ----------
    values : (M, A, B, C), channels of what is integrated per mm
    affine : (4, 4) float64, voxel coordinates a, b, c to patient LPS mm
    """

    values: Tensor
    affine: Tensor

    @classmethod
    def of(cls, absorber: Absorber, device: torch.device | str, dtype: torch.dtype = torch.float32) -> "TensorAbsorber":
        """Bring a body to a device; float16 halves the memory and rounds to 11 bits."""
        levels = torch.from_numpy(absorber.levels).to(device)
        scales = torch.from_numpy(absorber.scales).to(device)
        values = torch.empty(levels.shape, dtype=dtype, device=device)
        for channel, scale in enumerate(scales):
            values[channel] = (levels[channel] * scale).to(dtype)
        return cls(values, torch.from_numpy(absorber.affine).to(device))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along a, b, c."""
        _, a, b, c = self.values.shape
        return a, b, c


def parameters_of(poses: Sequence[Pose], device: torch.device | str = "cpu") -> Tensor:
    """(V, 6) float64 of `Pose.parameters`, to be optimised."""
    return torch.from_numpy(np.stack([pose.parameters() for pose in poses])).to(device)


def project(body: TensorAbsorber, poses: Tensor | Sequence[Pose], detector: Detector) -> Tensor:
    """Integrate every channel along the rays of each view.

    Parameters
    ----------
    poses : V poses, or a (V, 6) tensor of their parameters, which may ask for gradients

    Returns
    -------
    (V, M, H, W) float32 on the body's device
        Channel times mm; 0 where a ray misses the body.

    Raises
    ------
    GeometryError
        If the body does not lie between source and detector, or the beam opens too wide for the grid's slices.

    References
    ----------
    P. M. Joseph, IEEE Trans. Med. Imaging 1(3), 192-196, 1982.
    """
    parameters = poses if isinstance(poses, Tensor) else parameters_of(poses)
    if parameters.ndim != 2 or parameters.shape[1] != 6:
        raise GeometryError(f"projection: poses of shape {tuple(parameters.shape)}, expected (V, 6).")
    parameters = parameters.to(body.affine)
    return torch.stack([_view(body, one, detector) for one in parameters])


def _view(body: TensorAbsorber, parameters: Tensor, detector: Detector) -> Tensor:
    axis, tilt, turn = torch.deg2rad(parameters[:3])
    right, down, beam = turned_axes(axis, tilt, turn, torch)
    source, _, first, column_step, row_step = detector.stand(right, down, beam, parameters[3:])
    main = _main_axis(body, detector, parameters)
    place, to_mm = body.affine[:3, 3], body.affine[:3, :3]
    to_voxels = torch.linalg.inv(to_mm)
    columns = torch.arange(detector.columns, dtype=torch.float64, device=place.device)
    rows = torch.arange(detector.rows, dtype=torch.float64, device=place.device)
    pixels = (first - place) + rows[:, None, None] * row_step + columns[None, :, None] * column_step
    pixels = pixels @ to_voxels.T
    if source is None:
        ways = (to_voxels @ beam).expand_as(pixels)
        origin = pixels
    else:
        origin = to_voxels @ (source - place)
        ways = pixels - origin
    ways = ways / ways[..., main : main + 1]
    origin = origin - ways * (origin[..., main : main + 1] if source is None else origin[main])
    size = torch.tensor(body.shape, dtype=torch.float64, device=place.device)
    total = torch.zeros(len(body.values), detector.rows, detector.columns, device=place.device)
    together = max(1, _POINTS // (detector.rows * detector.columns))
    for start in range(0, body.shape[main], together):
        slices = torch.arange(start, min(start + together, body.shape[main]), device=place.device)
        if parameters.requires_grad:
            total = total + checkpoint(_sum_slices, body.values, origin, ways, slices, size, use_reentrant=False)
        else:
            total += _sum_slices(body.values, origin, ways, slices, size)
    lengths: Tensor = torch.linalg.vector_norm(ways @ to_mm.T, dim=-1).to(total)
    return total * lengths


def _sum_slices(values: Tensor, origin: Tensor, ways: Tensor, slices: Tensor, size: Tensor) -> Tensor:
    """Sum of (M, A, B, C) ``values`` where each ray, at ``origin + ways * slice``, meets the slices: (M, H, W)."""
    points = origin + ways * slices[:, None, None, None]
    # -1..1 from edge to edge of the grid, and the last axis first, as grid_sample wants it.
    points = ((2 * points + 1) / size - 1).flip(-1).to(values.dtype)
    sampled = grid_sample(values[None], points[None], mode="bilinear", padding_mode="zeros", align_corners=False)
    return sampled[0].sum(dim=1, dtype=torch.float32)


def _main_axis(body: TensorAbsorber, detector: Detector, parameters: Tensor) -> int:
    """The axis across whose slices rays are followed, once it is known that they can be."""
    axis, tilt, turn, *centre = parameters.detach().cpu().tolist()
    rays = Rays.of(Pose(axis, tilt, turn, (centre[0], centre[1], centre[2])), detector)
    affine = body.affine.cpu().numpy()
    rays.check_clear_of(affine, body.shape)
    return rays.main_axis(affine)


def turntable(body: TensorAbsorber, angles_deg: Sequence[float], detector: Detector) -> Tensor:
    """Parallel views of an upright body from all sides, as one sparse matrix per view that all its layers share.

    Parameters
    ----------
    body : in its own axes (`upright.own_axes`): a, b, c are y, x, z
    angles_deg : V angles about its long axis (0 = AP, 90 = ML)
    detector : parallel, its rows across the long axis

    Returns
    -------
    (V, M, H, W) float32 on the body's device

    Raises
    ------
    GeometryError
        If the body's columns are not its upright long axis, or the detector is not a parallel one.
    """
    upright = torch.diag(body.affine[[1, 0, 2], [0, 1, 2]])
    if detector.source_detector_mm is not None or not torch.allclose(body.affine[[1, 0, 2], :3], upright):
        raise GeometryError("turntable: expected parallel rays and an upright body in its own axes (own_axes).")
    channels, deep, wide, high = body.values.shape
    layers = body.values.permute(1, 2, 3, 0).reshape(deep * wide, high * channels).float()
    rows = _layers_to_rows(body, detector)
    views = []
    for angle in angles_deg:
        matrix = _layer_matrix(body, angle, detector)
        layer_integrals = (matrix @ layers).reshape(detector.columns, high, channels)
        views.append(torch.einsum("rz,uzm->mru", rows, layer_integrals))
    return torch.stack(views)


def _layers_to_rows(body: TensorAbsorber, detector: Detector) -> Tensor:
    """(H, C) linear interpolation from the body's layers to the detector's rows."""
    high = body.shape[2]
    device = body.values.device
    row = torch.arange(detector.rows, dtype=torch.float64, device=device)
    height_mm = ((detector.rows - 1) / 2 - row) * detector.pixel_mm - detector.offset_mm[1]
    layer = (height_mm - body.affine[2, 3]) / body.affine[2, 2]
    distance = (layer[:, None] - torch.arange(high, device=device)).abs()
    return (1 - distance).clamp(min=0).float()


def _layer_matrix(body: TensorAbsorber, angle_deg: float, detector: Detector) -> Tensor:
    """(W, A * B) sparse: length in mm for which a ray of one layer counts each of its voxels, after Joseph."""
    deep, wide, _ = body.shape
    device = body.values.device
    right, _, beam = Pose(angle_deg).axes()
    step_x, step_y = float(body.affine[0, 1]), float(body.affine[1, 0])
    column = torch.arange(detector.columns, dtype=torch.float64, device=device)
    offset = (column - (detector.columns - 1) / 2) * detector.pixel_mm + detector.offset_mm[0]
    along_x = abs(beam[0] / step_x) > abs(beam[1] / step_y)
    main, other = (0, 1) if along_x else (1, 0)
    size, step = (wide, deep), (step_x, step_y)
    origin = (float(body.affine[0, 3]), float(body.affine[1, 3]))
    slices = torch.arange(size[main], device=device)
    run = (origin[main] + slices * step[main] - offset[:, None] * right[main]) / beam[main]
    position = (offset[:, None] * right[other] + run * beam[other] - origin[other]) / step[other]
    below = position.floor()
    upper = position - below
    neighbours = torch.stack([below, below + 1], dim=-1).long()
    weights = torch.stack([1 - upper, upper], dim=-1) * abs(step[main] / beam[main])
    weights = torch.where((neighbours >= 0) & (neighbours < size[other]), weights, 0.0).float()
    neighbours = neighbours.clamp(0, size[other] - 1)
    voxel = neighbours * wide + slices[:, None] if main == 0 else slices[:, None] * wide + neighbours
    entries = 2 * size[main]
    ends = torch.arange(0, detector.columns * entries + 1, entries, device=device)
    with warnings.catch_warnings():
        # "Sparse CSR tensor support is in beta state": a product with a dense matrix is all that is asked of it.
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(
            ends, voxel.reshape(-1), weights.reshape(-1), (detector.columns, deep * wide), check_invariants=False
        )
