"""The surface of a bone: a triangle mesh in mm, which checks itself."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# No bone, and no fragment that anybody could tell, is smaller than a mouse's phalanx; none is longer than a giraffe's
# leg. What lies beyond is in another unit.
_SMALLEST_MM, _LARGEST_MM = 2.0, 2000.0
_FEWEST_FACES = 20  # an icosahedron; less is no shape


@dataclass(frozen=True, eq=False)
class Surface:
    """A triangle mesh.

    Parameters
    ----------
    vertices : (N, 3) float64, mm
    faces : (M, 3) int64, numbers of vertices, counter-clockwise as seen from outside
    source : where it came from, for messages
    notes : sentences for the user about what is odd in it or was repaired

    Raises
    ------
    BoneprintError
        If it is empty or hardly more, holds NaN, or has the size of no bone in mm.
    """

    vertices: FloatArray
    faces: IntArray
    source: str = "surface"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        vertices = np.ascontiguousarray(self.vertices, dtype=np.float64)
        faces = np.ascontiguousarray(self.faces, dtype=np.int64)
        if vertices.ndim != 2 or vertices.shape[1:] != (3,) or faces.ndim != 2 or faces.shape[1:] != (3,):
            raise BoneprintError(
                f"{self.source}: vertices {vertices.shape} and faces {faces.shape}, expected (N, 3) and (M, 3)."
            )
        if not np.isfinite(vertices).all():
            raise BoneprintError(
                f"{self.source}: NaN or infinite coordinates, expected finite mm; export the mesh again."
            )
        if len(faces) < _FEWEST_FACES:
            raise BoneprintError(
                f"{self.source}: {len(vertices)} vertices and {len(faces)} triangles, expected the surface of a bone "
                f"(at least {_FEWEST_FACES} triangles, not a cloud of points); export the mesh again."
            )
        if faces.min() < 0 or faces.max() >= len(vertices):
            raise BoneprintError(
                f"{self.source}: faces name vertices {faces.min()} to {faces.max()} of {len(vertices)}; "
                "the file is damaged, export the mesh again."
            )
        object.__setattr__(self, "vertices", vertices)
        object.__setattr__(self, "faces", faces)
        if not self.diagonal_mm >= _SMALLEST_MM:
            raise BoneprintError(
                f"{self.source}: {self.diagonal_mm:.3g} mm from corner to corner, expected a bone in mm. It is probably"
                " in metres or centimetres: multiply its coordinates by 1000 or 10."
            )
        if self.diagonal_mm > _LARGEST_MM:
            raise BoneprintError(
                f"{self.source}: {self.diagonal_mm:.3g} mm from corner to corner, expected a bone in mm. It is probably"
                " in micrometres: divide its coordinates by 1000."
            )

    @cached_property
    def axes(self) -> FloatArray:
        """(3, 3): rows are the principal axes of the surface, longest first, right-handed."""
        points = self.corners.mean(axis=1) - self.centre_mm
        _, vectors = np.linalg.eigh(points.T @ (points * self.areas[:, None]))
        axes = vectors[:, ::-1].T
        axes[2] *= np.sign(np.linalg.det(axes))
        return np.asarray(axes)

    @cached_property
    def centre_mm(self) -> FloatArray:
        """(3,) centroid of the surface."""
        return np.average(self.corners.mean(axis=1), axis=0, weights=np.maximum(self.areas, 1e-300))

    @cached_property
    def diagonal_mm(self) -> float:
        """Diagonal of the bounding box along the principal axes: however the bone lies, the same."""
        used = self.vertices[np.unique(self.faces)]
        return float(np.linalg.norm(np.ptp(used @ self.axes.T, axis=0)))

    @property
    def corners(self) -> FloatArray:
        """(M, 3, 3) the three corners of each face."""
        return self.vertices[self.faces]

    @cached_property
    def _crosses(self) -> FloatArray:
        a, b, c = self.corners.transpose(1, 0, 2)
        return np.cross(b - a, c - a)

    @cached_property
    def areas(self) -> FloatArray:
        """(M,) mm^2."""
        return np.asarray(0.5 * np.linalg.norm(self._crosses, axis=1))

    @cached_property
    def face_normals(self) -> FloatArray:
        """(M, 3) unit vectors; zero where a face has no area."""
        return np.asarray(self._crosses / np.maximum(2 * self.areas, 1e-300)[:, None])

    @cached_property
    def vertex_normals(self) -> FloatArray:
        """(N, 3) unit vectors, the faces' mean by area."""
        total = np.zeros_like(self.vertices)
        for corner in range(3):
            np.add.at(total, self.faces[:, corner], self._crosses)
        return np.asarray(total / np.maximum(np.linalg.norm(total, axis=1), 1e-300)[:, None])

    @cached_property
    def volume_mm3(self) -> float:
        """Enclosed volume; negative where the faces look inwards."""
        a, b, c = (self.corners - self.centre_mm).transpose(1, 0, 2)
        return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)

    def moved(self, motion: FloatArray) -> "Surface":
        """Under a (4, 4) affine map; its faces look outwards also where that mirrors."""
        turn = motion[:3, :3]
        faces = self.faces if np.linalg.det(turn) > 0 else self.faces[:, ::-1]
        return replace(self, vertices=self.vertices @ turn.T + motion[:3, 3], faces=faces)

    def mirrored(self) -> "Surface":
        """Left for right."""
        return self.moved(np.diag([-1.0, 1.0, 1.0, 1.0]))

    def sampled(self, count: int, seed: int = 0) -> tuple[FloatArray, IntArray]:
        """Points drawn evenly by area.

        Returns
        -------
        points (count, 3) mm and (count,) the faces that they lie on
        """
        rng = np.random.default_rng(seed)
        # One point in each of `count` equal slices of the area: evener than free draws, and as unbiased.
        ends = np.cumsum(self.areas)
        chosen = np.searchsorted(ends, (np.arange(count) + rng.random(count)) / count * ends[-1])
        chosen = np.minimum(chosen, len(self.faces) - 1)
        root, along = np.sqrt(rng.random(count)), rng.random(count)
        weights = np.stack([1 - root, root * (1 - along), root * along], axis=1)
        return np.einsum("nc,ncd->nd", weights, self.corners[chosen]), chosen
