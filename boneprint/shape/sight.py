"""What a radiograph and a rendered model have in common: contours, freed of flesh, exposure and slow change.

The model is rendered as a solid less its softer inside (`thickness`); both go through the same filters. Rays are
parallel.

References
----------
G. P. Penney et al., IEEE Trans. Med. Imaging 17(4), 586-595, 1998 (likeness of rendered and real pictures).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize

from boneprint.drr import Pose
from boneprint.nouns import Radiograph
from boneprint.shape.surface import FloatArray, Surface
from boneprint.shape.thickness import thickness

# Thickness of the cortex as a share of the diagonal, from end to end of a femur, and how much less its inside absorbs.
_CORTEX = (0.003, 0.004, 0.009, 0.012, 0.013, 0.011, 0.007, 0.004, 0.003)
_INSIDE = 0.85
# Pixels: what is smoothed away, what varies slowly, and the window of a correlation.
_FINE, _BROAD, _WINDOW = 1.0, 5.0, 4.0
# What is darker than this share of the median is air beside a limb; of the part of the picture that is not all air, and
# this share of its sides around.
_AIR, _BESIDE = 0.35, 0.05
_RIM = 3  # pixels into the limb that skin takes


@dataclass(frozen=True)
class View:
    """Where a picture was taken from: degrees about the axis, of tilt and in the plane; mm to the right and down."""

    axis_deg: float
    tilt_deg: float = 0.0
    in_plane_deg: float = 0.0
    right_mm: float = 0.0
    down_mm: float = 0.0

    def axes(self) -> FloatArray:
        """(3, 3): rows are image right, image down and beam."""
        return Pose(self.axis_deg, self.tilt_deg, self.in_plane_deg).axes()

    def values(self) -> FloatArray:
        """(5,), in the order of the attributes."""
        return np.array([self.axis_deg, self.tilt_deg, self.in_plane_deg, self.right_mm, self.down_mm])

    def placed(self, points: FloatArray) -> FloatArray:
        """(N, 3) points in the picture: right, down and depth, mm."""
        return points @ self.axes().T + [self.right_mm, self.down_mm, 0.0]


@dataclass(frozen=True, eq=False)
class Picture:
    """A radiograph without what varies slowly; ``valid`` is 0 at the limb's own rim and beyond."""

    detail: FloatArray
    valid: FloatArray
    pixel_mm: float

    @classmethod
    def of(cls, radiograph: Radiograph, pixel_mm: float) -> "Picture":
        """Of a radiograph with known spacing."""
        factor = radiograph.known_spacing_mm() / pixel_mm
        size = [max(8, round(n * factor)) for n in radiograph.pixels.shape]
        pixels = radiograph.pixels.astype(np.float64)
        placed = resize(pixels, size, order=1, anti_aliasing=factor < 1)  # type: ignore[no-untyped-call]
        # Skin and the ends of the limb are the strongest contours of all, and no bone's: the picture goes on beyond
        # them as it was before. In a picture of bone alone most is as dark as air, and nothing is masked.
        air = placed < _AIR * np.median(placed[_around(placed > _AIR * np.quantile(placed, 0.95))])
        rim = ndimage.binary_dilation(np.pad(air, 2, constant_values=bool(air.any())), iterations=_RIM)[2:-2, 2:-2]
        if rim.any() and not rim.all():
            rows, columns = ndimage.distance_transform_edt(rim, return_distances=False, return_indices=True)
            placed = placed[rows, columns]
        return cls(detail(placed), 1.0 - rim, pixel_mm)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.detail.shape[0], self.detail.shape[1]

    def likeness(self, rendered: FloatArray) -> float:
        """Mean correlation in windows on and around the rendered bone; each counts the same, ends as much as shaft."""
        ours, theirs = detail(rendered), self.detail
        a, b, aa, bb, ab = (
            ndimage.gaussian_filter(each, _WINDOW, mode="nearest")
            for each in (ours, theirs, ours * ours, theirs * theirs, ours * theirs)
        )
        near = ndimage.gaussian_filter((rendered > 0).astype(float), _WINDOW / 2) > 0.05
        if not near.any():
            return 0.0
        # Where both are flat there is nothing to agree about but noise.
        one, other = np.maximum(aa - a * a, 0), np.maximum(bb - b * b, 0)
        floors = 0.05 * one[near].mean() + 1e-12, 0.05 * other[near].mean() + 1e-12
        correlation = (ab - a * b) / np.sqrt((one + floors[0]) * (other + floors[1]))
        return float((self.valid * correlation)[near].mean())


def rendered(surface: Surface, view: View, pixel_mm: float, shape: tuple[int, int]) -> FloatArray:
    """(H, W) what a picture would show of the bone, but for its scale: all of it less its softer inside."""
    height = surface.vertices[:, 2]
    share = (height - height.min()) / np.ptp(height)
    cortex = np.interp(share, np.linspace(0, 1, len(_CORTEX)), _CORTEX) * surface.diagonal_mm
    inner = surface.vertices - cortex[:, None] * surface.vertex_normals
    scale = [1 / pixel_mm, 1 / pixel_mm, 1.0]
    outside, inside = (
        thickness(view.placed(points) * scale, surface.faces, shape) for points in (surface.vertices, inner)
    )
    return outside - _INSIDE * inside


def _around(shown: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Rows and columns that something is shown in, and a little more."""
    found = []
    for axis in (1, 0):
        (at,) = np.nonzero(shown.any(axis=axis))
        room = round(_BESIDE * max(shown.shape))
        found.append(slice(max(at[0] - room, 0), at[-1] + room + 1) if len(at) else slice(None))
    return tuple(found)


def detail(picture: FloatArray) -> FloatArray:
    """Without what varies slowly, and without the grain of single pixels."""
    fine, broad = (ndimage.gaussian_filter(picture, sigma, mode="nearest") for sigma in (_FINE, _BROAD))
    return np.asarray(fine - broad)


def evened(detail: FloatArray) -> FloatArray:
    """As strong in a faint part of the picture as where it ends."""
    strength = np.sqrt(ndimage.gaussian_filter(detail**2, _WINDOW, mode="nearest"))
    return np.asarray(detail / (strength + 0.1 * strength.mean() + 1e-12))
