"""S1's 900 images of one bone: 15 turns about its axis, 15 in the plane, 4 photon energies, AP beside ML.

Turning a detector about its central ray turns the picture, and energies differ by weights alone. So two materials are
projected from 30 directions, developed into pictures there, and only those are turned. Gaussian blur knows no direction
and is done before the turn, once. The four energies lie within 6 % of attenuation, so that the two pictures in the
middle are blends of the outer two: 0.0002 of full scale at most beside their own exponential, a twentieth of a grey
level of 8 bits.

References
----------
Cavojska et al., Commun. Biol. 3:337, 2020 (S1), "Data".
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from boneprint.drr import shear_warp
from boneprint.drr.absorber import Absorber, spread
from boneprint.drr.attenuation import Material, linear_attenuation
from boneprint.drr.energy import KeV
from boneprint.drr.geometry import Detector, Pose, Rays
from boneprint.nouns import Canvas

ANGLES_DEG = tuple(float(a) for a in range(-21, 22, 3))
ENERGIES = (KeV(140.0), KeV(146.0), KeV(152.0), KeV(158.0))
ROWS, COLUMNS = 800, 400
BLUR_PIXELS = 1.0
S1_IMAGES = len(ANGLES_DEG) ** 2 * len(ENERGIES)

# AP on the left, ML on the right: what each turns the bone by.
SIDES_DEG = (0.0, 90.0)


@dataclass(frozen=True, eq=False)
class JoinedImages:
    """One pose at all energies.

    ``pictures`` is (4, 800, 800) float32, the absorbed share 0..1, bone bright, in the order of ``ENERGIES``.
    """

    axis_deg: float
    in_plane_deg: float
    pictures: NDArray[np.float32]


def pitch_mm(canvas: Canvas) -> float:
    """Pixel pitch that brings a canvas into 400 x 800."""
    return max(canvas.height_mm / ROWS, canvas.width_mm / COLUMNS)


def frame(canvas: Canvas) -> Detector:
    """A parallel-beam detector that holds whatever any turn in the plane brings into the picture."""
    turn = np.deg2rad(max(ANGLES_DEG))
    rows = ROWS * np.cos(turn) + COLUMNS * np.sin(turn)
    columns = COLUMNS * np.cos(turn) + ROWS * np.sin(turn)
    # As even as the picture, so that both centres fall between the same pixels; and two more for the interpolation.
    return Detector(2 * int(np.ceil(rows / 2)) + 4, 2 * int(np.ceil(columns / 2)) + 4, pitch_mm(canvas))


def weights_per_mm() -> NDArray[np.float32]:
    """(4, 2): attenuation of soft tissue and of bone at each energy."""
    return np.array(
        [[linear_attenuation(material, kev) for material in (Material.SOFT_TISSUE, Material.BONE)] for kev in ENERGIES],
        dtype=np.float32,
    )


def joined_images(body: Absorber, canvas: Canvas) -> Iterator[JoinedImages]:
    """The 225 poses, one after the other; never more than two directions and one pose are held.

    Parameters
    ----------
    body : soft tissue and bone of an upright specimen in its own axes (`upright.own_axes`)
    canvas : the field of view
    """
    detector = frame(canvas)
    weights = weights_per_mm()[[0, -1]]
    for axis in ANGLES_DEG:
        sides = [
            _develop(shear_warp.project(body, Rays.of(Pose(axis + side), detector))[:2], weights) for side in SIDES_DEG
        ]
        for in_plane in ANGLES_DEG:
            pictures = np.empty((len(ENERGIES), ROWS, len(sides) * COLUMNS), dtype=np.float32)
            for number, (developed, box) in enumerate(sides):
                _turn(developed, box, in_plane, pictures, number * COLUMNS)
            yield JoinedImages(axis, in_plane, pictures)


def blends() -> NDArray[np.float32]:
    """(4, 2): what of the pictures at the lowest and at the highest energy makes that of each."""
    soft = weights_per_mm()[:, 0]
    highest = (soft - soft[0]) / (soft[-1] - soft[0])
    return np.stack([1 - highest, highest], axis=1)


def blur_weights() -> NDArray[np.float32]:
    """(9,) Gaussian of S1's sigma, cut at four of them."""
    offsets = np.arange(-4, 5)
    weights = np.exp(-0.5 * (offsets / BLUR_PIXELS) ** 2)
    return np.asarray(weights / weights.sum(), dtype=np.float32)


def _develop(
    paths: NDArray[np.float32], weights: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Absorbed share at the outer energies, blurred: (2, H, W), and the rows and columns outside which it is 0."""
    _, rows, columns = paths.shape
    blur = blur_weights()
    across = np.empty((len(weights), rows, columns), dtype=np.float32)
    blurred = np.empty_like(across)
    spread(_absorb, (paths, weights, blur, across), rows, 64)
    spread(_blur_down, (across, blur, blurred), rows, 64)
    seen: NDArray[np.bool_] = (paths != 0).any(axis=0)
    down, right = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if len(down) == 0:
        return blurred, np.zeros(4)
    reach = len(blur) // 2 + 1
    box = np.array([down[0] - reach, down[-1] + reach, right[0] - reach, right[-1] + reach], dtype=np.float64)
    return blurred, np.clip(box, 0, [rows - 1, rows - 1, columns - 1, columns - 1])


def _turn(
    developed: NDArray[np.float32],
    box: NDArray[np.float64],
    in_plane_deg: float,
    pictures: NDArray[np.float32],
    at_column: int,
) -> None:
    angle = np.deg2rad(in_plane_deg)
    spread(_turn_rows, (developed, box, blends(), np.cos(angle), np.sin(angle), pictures, at_column), ROWS, 200)


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _absorb(
    paths: NDArray[np.float32],
    weights: NDArray[np.float32],
    blur: NDArray[np.float32],
    across: NDArray[np.float32],
    begin: int,
    stop: int,
) -> None:
    """Rows ``begin:stop`` of the absorbed share, blurred along the row."""
    energies, _, columns = across.shape
    half = len(blur) // 2
    absorbed = np.zeros(columns + 2 * half, dtype=np.float32)
    for row in range(begin, stop):
        for energy in range(energies):
            soft, bone = weights[energy]
            for column in range(columns):
                way = soft * paths[0, row, column] + bone * paths[1, row, column]
                absorbed[column + half] = np.float32(1) - np.exp(-way) if way > 0 else np.float32(0)
            line = across[energy, row]
            line[:] = 0
            for tap in range(len(blur)):
                for column in range(columns):
                    line[column] += blur[tap] * absorbed[column + tap]


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _blur_down(
    across: NDArray[np.float32], blur: NDArray[np.float32], blurred: NDArray[np.float32], begin: int, stop: int
) -> None:
    energies, rows, columns = across.shape
    half = len(blur) // 2
    for energy in range(energies):
        for row in range(begin, stop):
            line = blurred[energy, row]
            line[:] = 0
            for tap in range(max(0, row - half), min(rows, row + half + 1)):
                weight = blur[tap - row + half]
                for column in range(columns):
                    line[column] += weight * across[energy, tap, column]


@numba.njit(nogil=True, fastmath=True, error_model="numpy", cache=True)
def _turn_rows(
    developed: NDArray[np.float32],
    box: NDArray[np.float64],
    blends: NDArray[np.float32],
    cos: float,
    sin: float,
    pictures: NDArray[np.float32],
    at_column: int,
    begin: int,
    stop: int,
) -> None:
    """Turn ``developed`` (2, H', W') counter-clockwise, blend it, and write rows ``begin:stop`` from a column on.

    Places and weights are found once for a row and serve both; unsigned places keep numba from looking for negative
    ones, and so let it gather sixteen pixels at a time.
    """
    _, rows, columns = developed.shape
    energies, high, _ = pictures.shape
    wide = COLUMNS
    place = np.empty(wide, dtype=np.int32)
    weights = np.empty((4, wide), dtype=np.float32)
    turned = np.empty((2, wide), dtype=np.float32)
    next_row = np.uint32(columns)
    for y in range(begin, stop):
        down = y - (high - 1) / 2
        left = -(wide - 1) / 2
        row0 = cos * down + sin * left + (rows - 1) / 2
        column0 = cos * left - sin * down + (columns - 1) / 2
        # The pixels of this row that fall into the box: everything else is background.
        first, last = -1.0, float(wide)
        for start, step, low, high_end in ((row0, sin, box[0], box[1]), (column0, cos, box[2], box[3])):
            if abs(step) < 1e-9:
                if start <= low or start >= high_end:
                    last = -1.0
            else:
                one, two = (low - start) / step, (high_end - start) / step
                first, last = max(first, min(one, two)), min(last, max(one, two))
        x0, x1 = max(0, int(np.ceil(first + 1e-3))), min(wide, int(np.floor(last - 1e-3)) + 1)
        if x1 <= x0:
            pictures[:, y, at_column : at_column + wide] = 0
            continue
        # From 0 on, for the same reason as the unsigned places.
        for number in range(x1 - x0):
            row = np.float32(row0) + np.float32(sin) * np.float32(x0 + number)
            column = np.float32(column0) + np.float32(cos) * np.float32(x0 + number)
            i, j = np.int32(row), np.int32(column)
            lower, right = row - np.float32(i), column - np.float32(j)
            both = lower * right
            weights[0, number] = np.float32(1) - lower - right + both
            weights[1, number] = right - both
            weights[2, number] = lower - both
            weights[3, number] = both
            place[number] = i * np.int32(columns) + j
        for outer in range(2):
            pixels = developed[outer].reshape(-1)
            for number in range(x1 - x0):
                at = np.uint32(place[number])
                turned[outer, number] = (
                    weights[0, number] * pixels[at]
                    + weights[1, number] * pixels[at + np.uint32(1)]
                    + weights[2, number] * pixels[at + next_row]
                    + weights[3, number] * pixels[at + next_row + np.uint32(1)]
                )
        for energy in range(energies):
            line = pictures[energy, y, at_column : at_column + wide]
            for x in range(x0):
                line[x] = 0
            for number in range(x1 - x0):
                line[x0 + number] = blends[energy, 0] * turned[0, number] + blends[energy, 1] * turned[1, number]
            for number in range(wide - x1):
                line[x1 + number] = 0
