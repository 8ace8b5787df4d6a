"""How much of a closed surface each ray runs through: a radiograph of a body of one material, from its triangles alone.

Every triangle adds a signed column: its projected area times its depth, positive on the far side, negative on the near
one. What they add up to is the body's thickness, without a grid of voxels and without asking which ray meets what.
"""

import numpy as np

from boneprint.shape.surface import FloatArray, IntArray

# A triangle is spread over its pixels as four smaller ones, each at its centre; one that covers less than this, in
# square pixels, stays whole.
_WHOLE = 0.2
_CENTRES = np.array([[4, 1, 1], [1, 4, 1], [1, 1, 4], [2, 2, 2]]) / 6


def thickness(points: FloatArray, faces: IntArray, shape: tuple[int, int]) -> FloatArray:
    """Project along the third axis.

    Parameters
    ----------
    points : (N, 3) column and row in pixels from the picture's middle, and depth in mm, growing away from the source
    faces : (M, 3), counter-clockwise as seen from outside; about as large as a pixel, or smaller
    shape : (H, W) of the picture

    Returns
    -------
    (H, W) mm; parts of the body beyond the picture's borders are left out
    """
    height, width = shape
    # Only differences of depth count; about a line along the bone they are smallest, and so is what pixels round off.
    depth = points[:, 2] - np.polyval(np.polyfit(points[:, 1], points[:, 2], 1), points[:, 1])
    corners = np.column_stack([points[:, :2], depth])[faces]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = 0.5 * (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0])
    weights = _CENTRES if np.abs(area).mean() > _WHOLE else np.full((1, 3), 1 / 3)
    centres = np.einsum("sc,mcd->msd", weights, corners)
    mass = (area[:, None] / len(weights) * centres[..., 2]).ravel()
    column = centres[..., 0].ravel() + (width - 1) / 2
    row = centres[..., 1].ravel() + (height - 1) / 2
    # Bilinearly onto the four nearest pixels, in a picture with a border of one that takes what falls outside.
    left, top = np.floor(column), np.floor(row)
    across, down = column - left, row - top
    picture = np.zeros((height + 2) * (width + 2))
    for dy, vertical in ((0, 1 - down), (1, down)):
        for dx, horizontal in ((0, 1 - across), (1, across)):
            y = np.clip(top + dy, -1, height).astype(np.int64) + 1
            x = np.clip(left + dx, -1, width).astype(np.int64) + 1
            picture += np.bincount(y * (width + 2) + x, mass * vertical * horizontal, len(picture))
    return picture.reshape(height + 2, width + 2)[1:-1, 1:-1]
