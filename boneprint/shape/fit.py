"""A shape model fitted to radiographs: pose and modes that make the rendered bone look like the picture.

The bone is rendered as a solid less its softer inside (`thickness`); picture and rendering are freed of what varies
slowly (flesh, exposure). First poses and size are searched for by correlation. Then, at every contour of the model, the
grey profile across it is looked for along the same line in the radiograph: where it is found tells how far the contour
must move, whatever blur and overlap do to its looks, for they do the same to the rendering. All contours of all
pictures together move poses and modes (Gauss-Newton, pictures against the modes' own distribution), again and again,
finer each time. Every picture has a pose of its own; rays are parallel.

References
----------
T. F. Cootes et al., Comput. Vis. Image Underst. 61(1), 38-59, 1995 (search along profiles); M. Fleute, S. Lavallée,
MICCAI 1999 (contours of a shape model in few radiographs); G. P. Penney et al., IEEE Trans. Med. Imaging 17(4),
586-595, 1998 (likeness of rendered and real pictures).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from boneprint.errors import BoneprintError
from boneprint.nouns import Radiograph
from boneprint.shape.model import ShapeModel
from boneprint.shape.sight import Picture, View, detail, rendered
from boneprint.shape.starts import starts
from boneprint.shape.surface import FloatArray, IntArray, Surface

# Pixels along the model's diagonal in each stage, with steps, and how far along a profile its like is looked for, in
# pixels. Contours in coarser pictures led away even from the true pose.
_STAGES = ((110, 12, 4.0), (200, 12, 3.0))
_BEGUN, _KEPT = 8, 3  # starts, and how many of them go on after the first stage
# How far a direction may be off, how many standard deviations that is, and of tilt, for nobody tilts a bone on purpose.
_WITHIN_DEG, _WITHIN_SDS, _TILT_SD_DEG = 24.0, 2.4, 4.0
# Usual error of a contour's place as a share of the diagonal, 2.6 mm in a man's femur, and how many places along the
# contours of a picture err by themselves: neighbours err together. Chosen on one simulated femur (seed 9): 0.003,
# 0.006 and 0.012 left 1.26, 1.11 and 1.29 mm.
_ERROR_SHARE = 0.006
_POINTS = 60.0
_PROFILE, _PROFILE_STEP = 4.0, 0.5  # half the length of a profile, pixels
_ALIKE = 0.5  # profiles that agree less than this are of something else


_State = tuple[FloatArray, list[View]]  # modes in standard deviations, and a view for each picture


@dataclass(frozen=True, eq=False)
class Fit:
    """What a fit found.

    Attributes
    ----------
    surface : in the model's frame
    coefficients : (K,) of the modes, in standard deviations
    views : of each picture
    likeness : of each picture, mean local correlation on and around the bone, at most 1
    """

    surface: Surface
    coefficients: FloatArray
    views: tuple[View, ...]
    likeness: tuple[float, ...]


def fit_model(
    model: ShapeModel,
    radiographs: Sequence[Radiograph],
    angles_deg: Sequence[float],
    *,
    within_deg: float = _WITHIN_DEG,
    start: FloatArray | None = None,
    error_share: float = _ERROR_SHARE,
) -> Fit:
    """Find the shape that one or more radiographs of one bone show.

    Parameters
    ----------
    model : of this kind of bone and side, upright: z along the bone, x to the left, y to the back
    radiographs : with known spacing
    angles_deg : of each about the long axis (0 = AP, 90 = ML)
    within_deg : how far these may be off
    start : coefficients to begin with, beside the mean; what ends more like the pictures is kept
    error_share : usual error of a contour as a share of the diagonal: more, and the modes stay nearer to the mean

    Raises
    ------
    BoneprintError
        If there is no radiograph, or not one angle for each.
    """
    if not radiographs or len(radiographs) != len(angles_deg):
        raise BoneprintError(
            f"fit: {len(radiographs)} radiographs and {len(angles_deg)} angles; expected one for each."
        )
    mean = np.zeros(len(model.modes))
    diagonal = model.surface(mean).diagonal_mm
    pyramid = [[Picture.of(radiograph, diagonal / pixels) for radiograph in radiographs] for pixels, _, _ in _STAGES]
    error_mm = error_share * diagonal

    def followed(begin: _State, first: int, last: int) -> _State:
        for pictures, (_, steps, reach) in zip(pyramid[first:last], _STAGES[first:last]):
            for _ in range(steps):
                begin = _stepped(model, *begin, pictures, angles_deg, within_deg / _WITHIN_SDS, reach, error_mm)
        return begin

    def likeness(state: _State, stage: int) -> tuple[float, ...]:
        surface = model.surface(state[0])
        return tuple(
            p.likeness(rendered(surface, view, p.pixel_mm, p.shape)) for p, view in zip(pyramid[stage], state[1])
        )

    begun = [mean] if start is None else [np.clip(start, -3, 3), mean]
    found = starts(model, radiographs, angles_deg, begun, _BEGUN, within_deg=within_deg)
    # Which of many poses is right shows once contours have pulled a little.
    states = [followed((start.modes, list(start.views)), 0, 1) for start in found]
    states = sorted(states, key=lambda state: -sum(likeness(state, 1)))[:_KEPT]
    best = max((followed(state, 1, len(_STAGES)) for state in states), key=lambda state: sum(likeness(state, -1)))
    return Fit(model.surface(best[0]), best[0], tuple(best[1]), likeness(best, -1))


def _stepped(
    model: ShapeModel,
    modes: FloatArray,
    views: Sequence[View],
    pictures: Sequence[Picture],
    angles_deg: Sequence[float],
    axis_sd_deg: float,
    reach: float,
    error_mm: float,
) -> _State:
    """Move modes and poses to where the contours are seen: one step of Gauss-Newton."""
    surface = model.surface(modes)
    count = len(modes)
    size = count + 5 * len(views)
    normal, right = np.zeros((size, size)), np.zeros(size)
    # The modes' own distribution, and how poses usually stray; places and turns in the picture are free.
    normal[np.arange(count), np.arange(count)] = 1.0
    right[:count] = -modes
    for number, (picture, view, angle) in enumerate(zip(pictures, views, angles_deg)):
        at = count + 5 * number
        for offset, sd, away in ((0, axis_sd_deg, view.axis_deg - angle), (1, _TILT_SD_DEG, view.tilt_deg)):
            normal[at + offset, at + offset] += sd**-2
            right[at + offset] -= away / sd**2
        ends, share, outward = _contour(surface, view)
        moves, weight = _seen_moves(surface, view, picture, ends, share, outward, reach)
        rows = np.zeros((len(moves), size))
        along = outward @ view.axes()[:2]  # (n, 3): how a point's move in space shows across the contour
        strengths = model.modes * model.deviations_mm[:, None, None]
        blended = strengths[:, ends[:, 0]] * (1 - share)[:, None] + strengths[:, ends[:, 1]] * share[:, None]
        rows[:, :count] = np.einsum("nd,knd->nk", along, blended)
        rows[:, at : at + 5] = _by_view(surface, view, ends, share, outward)
        # Far from where most others say, a point saw something else (Huber).
        usual = 1.5 * max(float(np.median(np.abs(moves))), 0.25 * picture.pixel_mm)
        weight = weight * np.minimum(1.0, usual / np.maximum(np.abs(moves), 1e-9))
        weight *= _POINTS / (error_mm**2 * max(float(weight.sum()), 1.0))
        normal += rows.T @ (rows * weight[:, None])
        right += rows.T @ (weight * moves)
    step = np.linalg.solve(normal + 1e-9 * np.eye(size), right)
    moved = [View(*(view.values() + step[count + 5 * n : count + 5 * n + 5])) for n, view in enumerate(views)]
    return np.clip(modes + step[:count], -4, 4), moved


def _contour(surface: Surface, view: View) -> tuple[IntArray, FloatArray, FloatArray]:
    """Where rays graze the surface: ends of edges (n, 2), share of the way along, outward in the picture (n, 2)."""
    normals = surface.vertex_normals @ view.axes().T
    towards = normals[:, 2]
    edges = np.unique(np.sort(surface.faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1), axis=0)
    ends = edges[towards[edges[:, 0]] * towards[edges[:, 1]] < 0]
    share = towards[ends[:, 0]] / (towards[ends[:, 0]] - towards[ends[:, 1]])
    outward = normals[ends[:, 0], :2] * (1 - share)[:, None] + normals[ends[:, 1], :2] * share[:, None]
    return ends, share, outward / np.maximum(np.linalg.norm(outward, axis=1), 1e-9)[:, None]


def _seen_moves(
    surface: Surface,
    view: View,
    picture: Picture,
    ends: IntArray,
    share: FloatArray,
    outward: FloatArray,
    reach: float,
) -> tuple[FloatArray, FloatArray]:
    """How far, mm outwards, each contour lies from where its rendered profile is found; and how well it is found."""
    points = _on_edges(view.placed(surface.vertices)[:, :2], ends, share) / picture.pixel_mm
    ours = detail(rendered(surface, view, picture.pixel_mm, picture.shape))
    half, far = round(_PROFILE / _PROFILE_STEP), round(reach / _PROFILE_STEP)
    profile = _along(ours, points, outward, half)
    seen = np.lib.stride_tricks.sliding_window_view(
        _along(picture.detail, points, outward, half + far), profile.shape[1], axis=1
    )
    seen = seen - seen.mean(axis=2, keepdims=True)
    profile = profile - profile.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(seen, axis=2) * np.linalg.norm(profile, axis=1)[:, None]
    alike = np.einsum("nsp,np->ns", seen, profile) / np.maximum(lengths, 1e-12)
    away = np.arange(-far, far + 1) * _PROFILE_STEP
    # Of two that look alike the nearer is meant.
    best = np.argmax(alike - 0.2 * (away / reach) ** 2, axis=1)
    rows = np.arange(len(points))
    place = np.round(points + away[best][:, None] * outward + (np.array(picture.shape)[::-1] - 1) / 2).astype(int)
    inside = ((place >= 0) & (place < np.array(picture.shape)[::-1])).all(axis=1)
    place = np.where(inside[:, None], place, 0)
    trust = np.maximum(alike[rows, best] - _ALIKE, 0.0) * inside * picture.valid[place[:, 1], place[:, 0]]
    return away[best] * picture.pixel_mm, trust


def _by_view(surface: Surface, view: View, ends: IntArray, share: FloatArray, outward: FloatArray) -> FloatArray:
    """(n, 5) how contours move outwards, mm, with each number of a view."""
    found = []
    for unit in np.eye(5):
        ahead, behind = (
            _on_edges(View(*(view.values() + 0.5 * sign * unit)).placed(surface.vertices)[:, :2], ends, share)
            for sign in (1, -1)
        )
        found.append(np.einsum("nd,nd->n", ahead - behind, outward))
    return np.stack(found, axis=1)


def _on_edges(values: FloatArray, ends: IntArray, share: FloatArray) -> FloatArray:
    return values[ends[:, 0]] * (1 - share)[:, None] + values[ends[:, 1]] * share[:, None]


def _along(picture: FloatArray, points: FloatArray, outward: FloatArray, half: int) -> FloatArray:
    """(n, 2 half + 1) grey values across contours, from inside to outside; points are in pixels from the middle."""
    steps = np.arange(-half, half + 1) * _PROFILE_STEP
    middle = (np.array(picture.shape)[::-1] - 1) / 2
    places = points[:, None] + steps[None, :, None] * outward[:, None] + middle
    found = ndimage.map_coordinates(picture, [places[..., 1], places[..., 0]], order=1, mode="nearest")
    return np.asarray(found)
