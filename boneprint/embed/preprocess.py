"""One road into the network for simulated and natural radiographs alike.

Whatever differs between them and says nothing about the bone is taken away here: pixel size, place in the picture,
the pedestal of soft tissue, exposure. What cannot be taken away is randomised in training (``augment``).
"""

import torch
import torch.nn.functional as F

from boneprint.errors import ReadError
from boneprint.nouns import Radiograph
from boneprint.nouns.canvas import Canvas

# Pixels of a canvas: about 18,000 whatever its form, so that every view costs the same.
_LONG_PIXELS = (192, 96)
_SQUARE_PIXELS = (144, 144)

# The pedestal is what is wider than this share of a long canvas's height: 85 mm on the canvas of a human femur, where
# the shaft is 30 mm, the condyles 80 mm and a thigh 150 mm wide.
_PEDESTAL_PIXELS = 29
_EXPOSURE_QUANTILE = 0.995
_CONTENT_SHARE = 0.25


def canvas_pixels(canvas: Canvas) -> tuple[int, int]:
    """(H, W) of a canvas in pixels."""
    return _SQUARE_PIXELS if canvas.height_mm == canvas.width_mm else _LONG_PIXELS


def preprocess(radiograph: Radiograph, canvas: Canvas) -> torch.Tensor:
    """Put a radiograph on a canvas and normalise it.

    Returns
    -------
    (1, H, W) float32, about 0..1

    Raises
    ------
    ReadError
        If the pixel spacing is unknown.
    """
    return normalise(place(radiograph, canvas)[None], canvas_pixels(canvas))


def place(radiograph: Radiograph, canvas: Canvas) -> torch.Tensor:
    """Resample to the pixel size of a canvas, without aliasing; the picture keeps its own borders.

    Returns
    -------
    (h, w) float32
    """
    if radiograph.spacing_mm is None:
        raise ReadError(
            f"{radiograph.source}: no pixel spacing in the file, needed for real-world proportions. "
            "Pass --pixel-spacing MM (pixel_spacing_mm=) as measured in the plane of the bone."
        )
    pitch_mm = canvas.height_mm / canvas_pixels(canvas)[0]
    factor = radiograph.spacing_mm / pitch_mm
    height, width = (n * factor for n in radiograph.pixels.shape)
    if min(height, width) < 4 or max(height, width) > 20 * _LONG_PIXELS[0]:
        raise ReadError(
            f"{radiograph.source}: {radiograph.pixels.shape[0]} x {radiograph.pixels.shape[1]} pixels of "
            f"{radiograph.spacing_mm:g} mm are {height * pitch_mm:.0f} x {width * pitch_mm:.0f} mm, expected the size "
            "of a bone. Check the pixel spacing (mm, not m or dpi)."
        )
    pixels = torch.from_numpy(radiograph.pixels)[None, None]
    placed = F.interpolate(pixels, scale_factor=factor, mode="bilinear", antialias=True, align_corners=False)
    return placed[0, 0]


def normalise(images: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Take away pedestal, place and exposure.

    Parameters
    ----------
    images : (N, h, w) float32 at the canvas's pixel size, any positive grey scale
    size : (H, W) of the canvas

    Returns
    -------
    (N, H, W) float32
        Centred on the bone; 1 is the 99.5th percentile of the canvas; clipped at 1.5.
    """
    bone = F.relu(images - _pedestal(images))
    bone = _cut_out(bone, _centre(bone), size)
    flat = bone.flatten(1)
    white = flat.kthvalue(round(_EXPOSURE_QUANTILE * flat.shape[1]), dim=1).values
    return (bone / white.clamp(min=1e-6)[:, None, None]).clamp(max=1.5)


def _pedestal(images: torch.Tensor) -> torch.Tensor:
    """Grey opening of the smoothed picture at half size: background and soft tissue, but no bone."""
    height, width = images.shape[1:]
    half = F.interpolate(images[:, None], scale_factor=0.5, mode="area")
    half = F.avg_pool2d(F.pad(half, (1, 1, 1, 1), mode="replicate"), 3, 1)
    reach = _PEDESTAL_PIXELS // 4
    floor = -_maximum(-half, reach)
    # Two pixels more than the erosion took: the rim of a limb or of the collimator is no bone.
    opened = _maximum(floor, reach + 2)
    opened = F.avg_pool2d(F.pad(opened, (2, 2, 2, 2), mode="replicate"), 5, 1)
    return F.interpolate(opened, size=(height, width), mode="bilinear", align_corners=False)[:, 0]


def _maximum(images: torch.Tensor, reach: int) -> torch.Tensor:
    padded = F.pad(images, (reach, reach, reach, reach), mode="replicate")
    return F.max_pool2d(F.max_pool2d(padded, (1, 2 * reach + 1), 1), (2 * reach + 1, 1), 1)


def _centre(bone: torch.Tensor) -> torch.Tensor:
    """Middle of the bone's extent, rows and columns: (N, 2) in pixels.

    The extent leaves out the outer 2 % of the bone's own brightness, so that noise and markers hardly move it.
    """
    flat = bone.flatten(1)
    white = flat.kthvalue(round(_EXPOSURE_QUANTILE * flat.shape[1]), dim=1).values.clamp(min=1e-6)
    weight = (bone / white[:, None, None] - _CONTENT_SHARE).clamp(0, 1)
    centres = []
    for dim in (2, 1):
        marginal = weight.sum(dim=dim) + 1e-9
        share = marginal.cumsum(dim=1) / marginal.sum(dim=1, keepdim=True)
        low = (share < 0.02).sum(dim=1)
        high = (share < 0.98).sum(dim=1)
        centres.append((low + high) / 2)
    return torch.stack(centres, dim=1)


def _cut_out(images: torch.Tensor, centres: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Cut the canvas out around whole-pixel centres, black beyond the picture's borders."""
    height, width = size
    padded = F.pad(images, (width, width, height, height))
    top = (centres[:, 0].round().long() + height - height // 2)[:, None] + torch.arange(height, device=images.device)
    left = (centres[:, 1].round().long() + width - width // 2)[:, None] + torch.arange(width, device=images.device)
    rows = torch.arange(len(images), device=images.device)
    return padded[rows[:, None, None], top[:, :, None], left[:, None, :]]
