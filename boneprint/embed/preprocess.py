"""One road into the network for simulated and natural radiographs alike.

Whatever differs between them and says nothing about the bone is taken away here as far as rules can: pixel size,
exposure, the pedestal of soft tissue, and roughly place and rotation; the network's own finder then places the bone
exactly (``finder``). What cannot be taken away is randomised in training (``augment``).
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from boneprint.errors import ReadError
from boneprint.nouns import Radiograph
from boneprint.nouns.canvas import Canvas

# Pixels of a canvas.
_LONG_PIXELS = (192, 96)
_SQUARE_PIXELS = (176, 176)

# Edges are what differs from its surroundings so many pixels around, by the strength of such differences in so many
# pixels around, and a share of that of the whole picture. On a square canvas three sizes of them are all that is left
# of a picture: what is wide or bright in a trunk is not the bone.
_FINE, _SIZES = (5, 9, 0.3), ((5, 9, 0.2), (12, 20, 0.2), (24, 36, 0.2))

# A pedestal is what is wider than so many pixels. On the canvas of a human femur the first is 85 mm, where the shaft is
# 30 mm, the condyles 80 mm and a thigh 120 to 150 mm wide; the second is 41 mm: no limb is as narrow, but of wide bone
# it leaves the rims only. The network sees both.
_PEDESTAL_PIXELS = (29, 14)
_EXPOSURE_QUANTILE = 0.995
_CONTENT_SHARE = 0.25

# Measured on simulated femora: 6.7 to 13 times as long as wide by second moments. Below 2 no direction can be trusted.
_ELONGATED = 2.0
_LEAN_MOST = 0.8  # radians
MARGIN = 16  # pixels around the canvas while the bone is still off its middle

CHANNELS = 3


def canvas_pixels(canvas: Canvas) -> tuple[int, int]:
    """(H, W) of a canvas in pixels."""
    return _SQUARE_PIXELS if canvas.height_mm == canvas.width_mm else _LONG_PIXELS


def frame_pixels(canvas: Canvas) -> tuple[int, int]:
    """(H, W) of what a network is given: a canvas with a margin all round."""
    height, width = canvas_pixels(canvas)
    return height + 2 * MARGIN, width + 2 * MARGIN


def is_tall(pictures: torch.Tensor) -> bool:
    """Whether pictures (..., H, W) are of the tall form: more than 5 : 4."""
    return 4 * pictures.shape[-2] > 5 * pictures.shape[-1]


def preprocess(radiographs: Sequence[Radiograph], canvas: Canvas) -> torch.Tensor:
    """Put radiographs on a canvas and normalise them.

    Returns
    -------
    (N, CHANNELS, H, W) float32 of ``frame_pixels``

    Raises
    ------
    ReadError
        If a pixel spacing is unknown or absurd.
    """
    placed = [place(radiograph, canvas) for radiograph in radiographs]
    ready = torch.empty(len(placed), CHANNELS, *frame_pixels(canvas))
    # Pictures of one size are normalised together: the views of a bone all are.
    sizes = [tuple(image.shape) for image in placed]
    for size in set(sizes):
        rows = [row for row, own in enumerate(sizes) if own == size]
        ready[rows] = normalise(torch.stack([placed[row] for row in rows]), canvas_pixels(canvas))
    return ready


def place(radiograph: Radiograph, canvas: Canvas) -> torch.Tensor:
    """Resample to the pixel size of a canvas, without aliasing; the picture keeps its own borders.

    Returns
    -------
    (h, w) float32
    """
    pixels = torch.from_numpy(radiograph.pixels)[None]
    return place_all(pixels, radiograph.known_spacing_mm(), canvas, radiograph.source)[0]


def place_all(images: torch.Tensor, spacing_mm: float, canvas: Canvas, source: str = "pictures") -> torch.Tensor:
    """The same for (N, h, w) pictures of one spacing, on the device they are on."""
    pitch_mm = canvas.height_mm / canvas_pixels(canvas)[0]
    factor = spacing_mm / pitch_mm
    height, width = (n * factor for n in images.shape[1:])
    if min(height, width) < 4 or max(height, width) > 20 * _LONG_PIXELS[0]:
        raise ReadError(
            f"{source}: {images.shape[1]} x {images.shape[2]} pixels of "
            f"{spacing_mm:g} mm are {height * pitch_mm:.0f} x {width * pitch_mm:.0f} mm, expected the size "
            "of a bone. Check the pixel spacing (mm, not m or dpi)."
        )
    placed = F.interpolate(images[:, None], scale_factor=factor, mode="bilinear", antialias=True, align_corners=False)
    return placed[:, 0]


def normalise(images: torch.Tensor, size: tuple[int, int], also: torch.Tensor | None = None) -> torch.Tensor:
    """Take away pedestal, exposure, and roughly place and rotation in the plane.

    Parameters
    ----------
    images : (N, h, w) float32 at the canvas's pixel size, any positive grey scale
    size : (H, W) of the canvas
    also : (N, K, h, w) pictures that are moved in the same way, and put behind the others

    Returns
    -------
    (N, CHANNELS + K, H + margins, W + margins) float32, about the middle of its edges; a long bone stands upright
        On a tall canvas channels 0 and 1 are bone without the wide and without the narrow pedestal; 1 is the 99.5th
        percentile, clipped at 1.5. Channel 2: edges, measured against the strength of the edges around them, within
        -1..1: no exposure, and hardly any soft tissue, is left in them. On a square canvas all channels are such edges,
        from fine to coarse.
    """
    return framed(images, size, also)[0]


def framed(
    images: torch.Tensor, size: tuple[int, int], also: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """As `normalise`, with the lean (N,) in radians that was taken away, and the row and column (N,) that came there.

    What was at that row and column of a picture is in the middle of its frame.
    """
    if size[0] > size[1]:
        bones = [F.relu(images - _pedestal(images, pixels)) for pixels in _PEDESTAL_PIXELS]
        # What is bright tells how the bone leans; a limb that goes on beyond it is bright as well, but has no edges
        # there.
        lean, _ = direction(_weight(bones[0]))
        edges = _edges(images, *_FINE)
        channels = torch.stack([*bones, edges], dim=1)
    else:
        bones = []
        channels = torch.stack([_edges(images, *each) for each in _SIZES], dim=1)
        lean, edges = images.new_zeros(len(images)), channels[:, 0]
    if also is not None:
        channels = torch.cat([channels, also], dim=1)
    _, centre = direction(edges.clamp(min=0) ** 2 + 1e-6)
    frames = turned(channels, lean, centre, (size[0] + 2 * MARGIN, size[1] + 2 * MARGIN))
    bright = [(frames[:, [i]] / _white(frames[:, i])[:, None]).clamp(max=1.5) for i in range(len(bones))]
    return torch.cat([*bright, frames[:, len(bones) :]], dim=1), lean, centre


def _pedestal(images: torch.Tensor, pixels: int) -> torch.Tensor:
    """Grey opening of the smoothed picture at half size: background and soft tissue, but no bone."""
    height, width = images.shape[1:]
    half = F.interpolate(images[:, None], scale_factor=0.5, mode="area")
    half = F.avg_pool2d(F.pad(half, (1, 1, 1, 1), mode="replicate"), 3, 1)
    reach = pixels // 4
    floor = -_maximum(-half, reach)
    # Two pixels more than the erosion took: the rim of a limb or of the collimator is no bone.
    opened = _maximum(floor, reach + 2)
    opened = F.avg_pool2d(F.pad(opened, (2, 2, 2, 2), mode="replicate"), 5, 1)
    return F.interpolate(opened, size=(height, width), mode="bilinear", align_corners=False)[:, 0]


def _maximum(images: torch.Tensor, reach: int) -> torch.Tensor:
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    return F.max_pool2d(F.max_pool2d(padded, (1, 2 * reach + 1), 1), (2 * reach + 1, 1), 1)


def _edges(images: torch.Tensor, near: int, around: int, share: float) -> torch.Tensor:
    """Band-passed picture over its own local strength: (N, h, w) in -1..1."""
    fine = F.avg_pool2d(F.pad(images[:, None], (1, 1, 1, 1), mode="replicate"), 3, 1)
    band = fine - _broad(fine, near)
    strength = _broad(band**2, around).sqrt()
    floor = share * band.square().mean(dim=(2, 3), keepdim=True).sqrt() + 1e-6
    return (band / (strength + floor) / 3).clamp(-1, 1)[:, 0]


def _broad(images: torch.Tensor, reach: int) -> torch.Tensor:
    """Mean over about ``reach`` pixels either way, made at a quarter of the size: (N, 1, h, w)."""
    quarter = F.interpolate(images, scale_factor=0.25, mode="area")
    around = max(1, round(reach / 4))
    for _ in range(2):
        padded = F.pad(quarter, (around, around, around, around), mode="replicate")
        quarter = F.avg_pool2d(F.avg_pool2d(padded, (1, 2 * around + 1), 1), (2 * around + 1, 1), 1)
    return F.interpolate(quarter, size=images.shape[2:], mode="bilinear", align_corners=False)


def _white(bone: torch.Tensor) -> torch.Tensor:
    """The brightness that counts as full exposure: (N, 1, 1)."""
    flat = bone.flatten(1)
    return flat.kthvalue(round(_EXPOSURE_QUANTILE * flat.shape[1]), dim=1).values.clamp(min=1e-6)[:, None, None]


def _weight(bone: torch.Tensor) -> torch.Tensor:
    """How much a pixel counts as bone when its direction is measured, 0..1."""
    return (bone / _white(bone[:, ::2, ::2]) - _CONTENT_SHARE).clamp(0, 1) + 1e-9


def direction(weight: torch.Tensor) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """How far what is elongated leans, in radians, and its centre (row, column) in pixels.

    Parameters
    ----------
    weight : (N, h, w), how much each pixel counts; at least a little everywhere
    """
    height, width = weight.shape[1:]
    total = weight.sum(dim=(1, 2))
    y = torch.arange(height, dtype=weight.dtype, device=weight.device)
    x = torch.arange(width, dtype=weight.dtype, device=weight.device)
    by_row, by_column = weight.sum(dim=2), weight.sum(dim=1)
    cy, cx = (by_row @ y) / total, (by_column @ x) / total
    yy = (by_row @ y**2) / total - cy**2
    xx = (by_column @ x**2) / total - cx**2
    xy = torch.einsum("nyx,y,x->n", weight, y, x) / total - cx * cy
    lean = 0.5 * torch.atan2(2 * xy, yy - xx)
    spread = torch.sqrt((0.5 * (yy - xx)) ** 2 + xy**2)
    long, short = 0.5 * (yy + xx) + spread, (0.5 * (yy + xx) - spread).clamp(min=1e-6)
    # What is not clearly longer than wide, or lies on its side, keeps the picture's own upright.
    sure = (long > _ELONGATED**2 * short) & (lean.abs() < _LEAN_MOST)
    return torch.where(sure, lean, torch.zeros_like(lean)), (cy, cx)


def turned(
    pictures: torch.Tensor, lean: torch.Tensor, centre: tuple[torch.Tensor, torch.Tensor], size: tuple[int, int]
) -> torch.Tensor:
    """Pictures turned back by their lean, with a centre (row, column) in the middle, black beyond their borders.

    Returns
    -------
    (N, C, *size)
    """
    height, width = pictures.shape[2:]
    cy, cx = centre
    v = (torch.arange(size[0], device=pictures.device) - (size[0] - 1) / 2)[None, :, None]
    u = (torch.arange(size[1], device=pictures.device) - (size[1] - 1) / 2)[None, None, :]
    c, s = torch.cos(lean)[:, None, None], torch.sin(lean)[:, None, None]
    at_x = (cx[:, None, None] + c * u + s * v) * (2 / max(width - 1, 1)) - 1
    at_y = (cy[:, None, None] - s * u + c * v) * (2 / max(height - 1, 1)) - 1
    return F.grid_sample(pictures, torch.stack([at_x, at_y], dim=-1), align_corners=True)
