"""A statistical shape model: the mean of many surfaces and the modes in which they differ.

References
----------
T. F. Cootes et al., Comput. Vis. Image Underst. 61(1), 38-59, 1995; R. H. Davies et al., IEEE Trans. Med. Imaging
21(5), 525-537, 2002 (compactness, generalisation, specificity); M. Lüthi et al., IEEE Trans. Pattern Anal. 40(8),
1860-1873, 2018 (models augmented by a Gaussian process).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from boneprint.errors import BoneprintError
from boneprint.shape.correspond import VERTICES, Template, registered
from boneprint.shape.surface import FloatArray, IntArray, Surface

FEWEST = 3  # two surfaces have one mode, whatever they are
_FIRST = 8  # surfaces whose mean becomes the template of all
_PROCRUSTES_STEPS = 10
# What no shape had bends smoothly: width of the kernel as a share of the diagonal, its waves along each axis, and how
# many vertices they are found on.
_BEND_WIDTH, _WAVES, _NODES = 0.12, 25, 400


@dataclass(frozen=True, eq=False)
class ShapeModel:
    """Mean, modes and how strongly each varies.

    Parameters
    ----------
    mean : (N, 3) mm
    faces : (M, 3)
    modes : (K, N, 3), orthonormal
    deviations_mm : (K,) standard deviation of each mode's coefficient, largest first
    shapes : (S, N, 3) what it was learnt from, laid onto the mean; or none, where it was read from a file without
    bone : what it is a model of
    """

    mean: FloatArray
    faces: IntArray
    modes: FloatArray
    deviations_mm: FloatArray
    shapes: FloatArray
    bone: str = "bone"

    @classmethod
    def learnt(cls, shapes: FloatArray, faces: IntArray, bone: str = "bone") -> "ShapeModel":
        """From (S, N, 3) corresponding vertices that have been laid onto each other.

        Raises
        ------
        BoneprintError
            If there are fewer than three.
        """
        if len(shapes) < FEWEST:
            raise BoneprintError(f"shape model of {len(shapes)} surfaces, expected at least {FEWEST}.")
        mean = shapes.mean(axis=0)
        _, values, modes = np.linalg.svd((shapes - mean).reshape(len(shapes), -1), full_matrices=False)
        kept = values[: len(shapes) - 1]
        deviations = kept / np.sqrt(len(shapes) - 1)
        return cls(mean, faces, modes[: len(kept)].reshape(len(kept), *mean.shape), deviations, shapes, bone)

    def surface(self, coefficients: FloatArray) -> Surface:
        """The surface of some coefficients, in standard deviations; missing ones are 0."""
        used = len(coefficients)
        strength = np.asarray(coefficients) * self.deviations_mm[:used]
        return Surface(
            self.mean + np.tensordot(strength, self.modes[:used], axes=1), self.faces, f"model of {self.bone}"
        )

    def coefficients(self, vertices: FloatArray) -> FloatArray:
        """(K,) of corresponding vertices that lie on the mean, in standard deviations."""
        along = np.tensordot(self.modes, vertices - self.mean, axes=([1, 2], [0, 1]))
        return np.asarray(along / np.maximum(self.deviations_mm, 1e-12))

    def laid(self, vertices: FloatArray) -> FloatArray:
        """Corresponding vertices (N, 3) moved rigidly onto the mean."""
        return _laid(vertices, self.mean)

    def missed_mm(self) -> float:
        """RMS between vertices by which all modes of all other shapes miss a shape.

        The last of `generalisation`, from distances to affine hulls, so that hundreds of shapes take no longer.

        Raises
        ------
        BoneprintError
            If the model was read from a file that does not hold what it was learnt from.
        """
        count = len(self.shapes)
        if count < FEWEST:
            raise BoneprintError("what the model misses is not known: the shapes it was learnt from are not in it.")
        flat = (self.shapes - self.mean).reshape(count, -1)
        # Bordered by ones, since the shares of the others add up to 1; the ridge is far below any difference.
        bordered = np.ones((count + 1, count + 1))
        bordered[:-1, :-1] = flat @ flat.T
        bordered[:-1, :-1] += 1e-9 * np.trace(bordered[:-1, :-1]) / count * np.eye(count)
        bordered[-1, -1] = 0.0
        squares = 1 / np.diag(np.linalg.inv(bordered))[:-1]
        return float(np.sqrt(squares.mean() / len(self.mean)))

    def loosened(self, missed_mm: float | None = None) -> "ShapeModel":
        """The same model with freedom for what it does not know: smooth bending, about as strong as what it misses.

        Its modes span those of this one and the waves of a Gaussian process on the mean, which move no body as a whole.

        Parameters
        ----------
        missed_mm : RMS between vertices; None: that by which the modes of all other shapes miss a shape
        """
        missed_mm = self.missed_mm() if missed_mm is None else missed_mm
        width = _BEND_WIDTH * self.surface(np.zeros(0)).diagonal_mm
        nodes = self.mean[np.linspace(0, len(self.mean) - 1, min(_NODES, len(self.mean))).astype(int)]
        values, waves = np.linalg.eigh(_kernel(nodes, nodes, width))
        values, waves = values[::-1][:_WAVES], waves[:, ::-1][:, :_WAVES]
        # Nyström's extension from the nodes; the share of each coordinate in what is missed is a third.
        spread = _kernel(self.mean, nodes, width) @ waves / np.sqrt(np.maximum(values, 1e-12))
        bends = np.einsum("nw,xy->wxny", spread * missed_mm / np.sqrt(3), np.eye(3)).reshape(-1, self.mean.size)
        motions = np.linalg.qr(_rigid(self.mean))[0]
        bends -= (bends @ motions) @ motions.T
        known = (self.modes * self.deviations_mm[:, None, None]).reshape(len(self.modes), -1)
        _, deviations, modes = np.linalg.svd(np.concatenate([known, bends]), full_matrices=False)
        return replace(self, modes=modes.reshape(-1, *self.mean.shape), deviations_mm=deviations)

    @cached_property
    def compactness(self) -> FloatArray:
        """(K,) share of all variance that the first k modes hold."""
        variance = self.deviations_mm**2
        return np.asarray(np.cumsum(variance) / variance.sum())

    def generalisation(self) -> FloatArray:
        """(S - 1,) mm RMS between vertices by which the first k modes of all other shapes miss a shape; k from 0."""
        errors = np.zeros(len(self.shapes) - 1)
        for left_out in range(len(self.shapes)):
            others = ShapeModel.learnt(np.delete(self.shapes, left_out, axis=0), self.faces)
            missing = (self.shapes[left_out] - others.mean).ravel()
            basis = others.modes.reshape(len(others.modes), -1)
            square = float(missing @ missing) - np.concatenate([[0.0], np.cumsum((basis @ missing) ** 2)])
            errors += np.maximum(square, 0) / len(self.mean) / len(self.shapes)
        return np.sqrt(errors)

    def specificity(self, *, draws: int = 200, seed: int = 0) -> FloatArray:
        """(K,) mm RMS from random shapes of the first k modes to the nearest shape that it was learnt from."""
        rng = np.random.default_rng(seed)
        # Between shapes within the modes' span distances are those between coefficients.
        known = np.array([self.coefficients(shape) for shape in self.shapes]) * self.deviations_mm
        drawn = rng.standard_normal((draws, len(self.deviations_mm))) * self.deviations_mm
        found = []
        for k in range(1, len(self.deviations_mm) + 1):
            cut = np.where(np.arange(drawn.shape[1]) < k, drawn, 0.0)
            squares = (cut**2).sum(axis=1)[:, None] + (known**2).sum(axis=1) - 2 * cut @ known.T
            found.append(np.sqrt(np.maximum(squares.min(axis=1), 0) / len(self.mean)).mean())
        return np.array(found)


def build_model(
    surfaces: Sequence[Surface],
    *,
    bone: str = "bone",
    vertices: int = VERTICES,
    seed: int = 0,
    report: Callable[[int, int], None] | None = None,
) -> ShapeModel:
    """Bring surfaces into correspondence and learn how they vary.

    Parameters
    ----------
    surfaces : of one kind of bone and one side (mirror the others first), upright in frames that agree
    vertices : of the template
    report : told how many of how many are done

    Raises
    ------
    BoneprintError
        If there are fewer than three.
    """
    if len(surfaces) < FEWEST:
        raise BoneprintError(f"shape model of {len(surfaces)} surfaces, expected at least {FEWEST}.")
    template = common_template(surfaces, vertices=vertices, seed=seed)
    shapes = []
    for number, surface in enumerate(surfaces):
        shapes.append(registered(template, surface, seed=seed).vertices)
        if report:
            report(number + 1, len(surfaces))
    laid = laid_together(np.stack(shapes))
    return ShapeModel.learnt(laid, template.surface.faces, bone)


def common_template(surfaces: Sequence[Surface], *, vertices: int = VERTICES, seed: int = 0) -> Template:
    """What all are registered to: the mean of a few of all sizes.

    These are registered to the one of middle size; with their mean no one of them leaves its features to the others.
    """
    by_size = sorted(range(len(surfaces)), key=lambda number: surfaces[number].diagonal_mm)
    spread = [by_size[int(at)] for at in np.linspace(0, len(surfaces) - 1, min(_FIRST, len(surfaces)))]
    middle = by_size[len(surfaces) // 2]
    first = Template.of(surfaces[middle], vertices)
    some = laid_together(np.stack([registered(first, surfaces[number], seed=seed).vertices for number in spread]))
    return Template(replace(first.surface, vertices=_laid(some.mean(axis=0), first.surface.vertices)))


def laid_together(shapes: FloatArray) -> FloatArray:
    """Generalised Procrustes analysis without scale, in the mean frame of what is given: (S, N, 3)."""
    shapes = shapes - shapes.mean(axis=1, keepdims=True)
    mean = shapes[0]
    for _ in range(_PROCRUSTES_STEPS):
        shapes = np.stack([_laid(shape, mean) for shape in shapes])
        mean = shapes.mean(axis=0)
    return shapes


def _kernel(points: FloatArray, nodes: FloatArray, width: float) -> FloatArray:
    apart = ((points[:, None] - nodes) ** 2).sum(axis=2)
    return np.asarray(np.exp(-0.5 * apart / width**2))


def _rigid(points: FloatArray) -> FloatArray:
    """(3N, 6) what small motions of the whole do to its vertices."""
    about = points - points.mean(axis=0)
    shifts = [np.broadcast_to(axis, points.shape).ravel() for axis in np.eye(3)]
    return np.stack(shifts + [np.cross(axis, about).ravel() for axis in np.eye(3)], axis=1)


def _laid(shape: FloatArray, onto: FloatArray) -> FloatArray:
    """Rigidly, vertex on vertex (Kabsch 1976)."""
    centre, there = shape.mean(axis=0), onto.mean(axis=0)
    u, _, vt = np.linalg.svd((shape - centre).T @ (onto - there))
    turn = vt.T @ np.diag([1.0, 1.0, np.sign(np.linalg.det(vt.T @ u.T))]) @ u.T
    return np.asarray((shape - centre) @ turn.T + there)
