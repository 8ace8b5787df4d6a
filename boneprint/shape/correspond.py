"""Dense correspondence: a template is bent onto a surface until every vertex of it lies on its own place there.

From the surfaces alone: rigid, then affine, then ever finer smooth displacements (nearest points both ways, normals
that agree, averaged by a Gaussian over the template), at last onto the surface itself.

References
----------
B. Amberg, S. Romdhani, T. Vetter, CVPR 2007 (non-rigid ICP, stiff to supple); A. Myronenko, X. Song, IEEE Trans.
Pattern Anal. 32(12), 2262-2275, 2010 (motion coherence by a Gaussian kernel).
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from boneprint.shape.align import rigid_motion
from boneprint.shape.mesh import mended, remeshed
from boneprint.shape.surface import FloatArray, Surface

# Vertices of a template: on a human femur 5 mm apart.
VERTICES = 3000
_AFFINE_STEPS = 10
# Width of the Gaussian as a share of the diagonal, and steps with it: from the shaft's bow to the trochanters.
_WIDTHS = ((0.25, 6), (0.12, 6), (0.06, 8), (0.03, 8), (0.015, 6))
_CLOUD = 20_000
_BACK = 4000  # points of the surface that look for the template
_LOOSE_SHARE = 0.02  # of the diagonal: pairs further apart than this and thrice the median pull no longer


@dataclass(frozen=True, eq=False)
class Template:
    """A surface that is bent, with the kernels of its own vertices."""

    surface: Surface

    @classmethod
    def of(cls, surface: Surface, vertices: int = VERTICES) -> "Template":
        """A surface with even triangles and about so many vertices."""
        # An even triangulation of area A has A / (0.866 edge^2) vertices.
        edge_mm = float(np.sqrt(surface.areas.sum() / (0.866 * vertices)))
        return cls(mended(remeshed(mended(surface), edge_mm)))

    @cached_property
    def kernels(self) -> list[NDArray[np.float32]]:
        """(N, N) of each width."""
        points = self.surface.vertices.astype(np.float32)
        squares = (points**2).sum(axis=1)
        apart = np.maximum(squares[:, None] + squares - 2 * points @ points.T, 0)
        return [np.exp(apart * np.float32(-0.5 / (share * self.surface.diagonal_mm) ** 2)) for share, _ in _WIDTHS]


def registered(template: Template, target: Surface, *, seed: int = 0) -> Surface:
    """The template in the shape and place of another surface.

    Parameters
    ----------
    target : of the same kind of bone and the same side; in any position
    seed : of the points drawn on the surface

    Returns
    -------
    Surface
        Faces as the template's, vertex i where the template's vertex i belongs.
    """
    there = rigid_motion(target, template.surface, rough=True, seed=seed)
    points, faces = target.sampled(_CLOUD, seed)
    order = np.random.default_rng(seed).permutation(_CLOUD)
    cloud = points[order] @ there[:3, :3].T + there[:3, 3]
    normals = target.face_normals[faces[order]] @ there[:3, :3].T
    tree = cKDTree(cloud)

    bent = template.surface
    for _ in range(_AFFINE_STEPS):
        pull, weight = _pull(bent, cloud, normals, tree)
        known = np.hstack([bent.vertices - bent.centre_mm, np.ones((len(weight), 1))])
        weighted = known * weight[:, None]
        bent = _shifted(bent, known @ np.linalg.solve(known.T @ weighted + 1e-9 * np.eye(4), weighted.T @ pull))
    for kernel, (_, steps) in zip(template.kernels, _WIDTHS, strict=True):
        for _ in range(steps):
            pull, weight = _pull(bent, cloud, normals, tree)
            weighted = np.hstack([pull * weight[:, None], weight[:, None]]).astype(np.float32)
            total = kernel @ weighted
            bent = _shifted(bent, total[:, :3] / np.maximum(total[:, 3:], 1e-3))
    away, at = tree.query(bent.vertices)
    gap = np.einsum("nd,nd->n", normals[at], cloud[at] - bent.vertices)
    near = away <= _LOOSE_SHARE * template.surface.diagonal_mm
    bent = _shifted(bent, np.where(near, gap, 0.0)[:, None] * normals[at])
    return replace(bent.moved(np.asarray(np.linalg.inv(there))), source=target.source)


def _pull(bent: Surface, cloud: FloatArray, normals: FloatArray, tree: cKDTree) -> tuple[FloatArray, FloatArray]:
    """Where each vertex is drawn to, mm, and how strongly; by its nearest point, and by those whose nearest it is."""
    own = bent.vertex_normals
    away, at = tree.query(bent.vertices)
    pull = cloud[at] - bent.vertices
    weight = np.maximum(np.einsum("nd,nd->n", own, normals[at]), 0.0) ** 2
    weight *= away <= 3 * np.median(away) + _LOOSE_SHARE * bent.diagonal_mm
    total = pull * weight[:, None]
    back, drawn = cKDTree(bent.vertices).query(cloud[:_BACK])
    strength = np.maximum(np.einsum("nd,nd->n", own[drawn], normals[:_BACK]), 0.0) ** 2
    strength *= back <= 3 * np.median(back) + _LOOSE_SHARE * bent.diagonal_mm
    np.add.at(total, drawn, (cloud[:_BACK] - bent.vertices[drawn]) * strength[:, None])
    np.add.at(weight, drawn, strength)
    return total / np.maximum(weight, 1e-9)[:, None], weight


def _shifted(surface: Surface, shift: FloatArray) -> Surface:
    return replace(surface, vertices=surface.vertices + shift)
