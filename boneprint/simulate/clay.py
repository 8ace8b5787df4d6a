"""A block of clay: a bone is put together on a grid, part by part, each only where it can matter."""

import torch

from boneprint.simulate.solids import Bounds, Points, Solid

# Outside of every part's neighbourhood the distance is only known to be more than this (fractions of the length).
FAR = 0.08


class Clay:
    """The bone so far, as a signed distance at the points of a grid.

    Parameters
    ----------
    axes : x, y, z of the undeformed grid, 1-D tensors, fractions of the bone's length
    points : where each point of the (Z, Y, X) grid lies in the bone before it was deformed
    slack : how far the two can differ
    """

    def __init__(self, axes: Points, points: Points, slack: float) -> None:
        self.axes, self.points, self.slack = axes, points, slack
        self.distance = torch.full_like(points[0], FAR)

    def add(self, solid: Solid, blend: float = 0.011) -> None:
        """Put a part on; where two surfaces meet within ``blend`` the corner is filled smoothly.

        The smooth minimum is the quadratic one of I. Quilez, "Smooth minimum", iquilezles.org (2013).
        """
        at = self._where(solid.bounds, blend)
        so_far, part = self.distance[at], solid.distance(self._points(at))
        both = (blend - (so_far - part).abs()).clamp_(min=0)
        self.distance[at] = torch.minimum(so_far, part).sub_(both.square_().mul_(0.25 / blend))

    def cut(self, solid: Solid, blend: float = 0.006) -> None:
        """Take a part away, with an edge rounded over ``blend``."""
        at = self._where(solid.bounds, blend)
        so_far, hole = self.distance[at], -solid.distance(self._points(at))
        both = (blend - (so_far - hole).abs()).clamp_(min=0)
        self.distance[at] = torch.maximum(so_far, hole).add_(both.square_().mul_(0.25 / blend))

    def _where(self, bounds: Bounds, blend: float) -> tuple[slice, slice, slice]:
        reach = self.slack + blend + 0.02
        found = []
        for axis, (low, high) in zip(self.axes, bounds):
            first = int(torch.searchsorted(axis, low - reach))
            last = int(torch.searchsorted(axis, high + reach))
            found.append(slice(first, last))
        x, y, z = found
        return z, y, x

    def _points(self, at: tuple[slice, slice, slice]) -> Points:
        x, y, z = (q[at] for q in self.points)
        return x, y, z
