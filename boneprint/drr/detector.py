"""From line integrals or paths to a picture as detector and software might leave it, on the device they are on.

What an `Exposure` asks for happens in the order of the apparatus; what it does not ask for does not happen.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, exp, isfinite, radians, sqrt
from typing import overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from boneprint.drr.attenuation import ABSORBERS, linear_attenuation
from boneprint.drr.exposure import Collimation, Display, Exposure, LookUp, Marker, Photometric
from boneprint.errors import BoneprintError

# The least signal that is told from none: one step of a 16-bit converter; with noise, one quantum.
_LEAST_SIGNAL = 2.0**-16
# From this sigma on a sum of cosines is faster than a sum of shifted pictures.
_WIDE_PX = 8.0
# exp(-x^2 / 2) is one part in a million at this x.
_NEGLIGIBLE = 5.3
# Where an exposure control measures (see `_open_beam_quanta`): chosen by hand, air beside the part does not count.
_THICKER, _CHAMBERS = 0.9, 0.5
# A sample of so many pixels tells a quantile of 0.2 % to within some 0.02 %.
_QUANTILE_PIXELS = 65_536


@overload
def expose(
    picture: NDArray[np.float32],
    pixel_mm: float,
    exposure: Exposure | Sequence[Exposure],
    *,
    seed: int | Sequence[int],
) -> NDArray[np.float32]: ...


@overload
def expose(
    picture: Tensor, pixel_mm: float, exposure: Exposure | Sequence[Exposure], *, seed: int | Sequence[int]
) -> Tensor: ...


def expose(
    picture: NDArray[np.float32] | Tensor,
    pixel_mm: float,
    exposure: Exposure | Sequence[Exposure],
    *,
    seed: int | Sequence[int],
) -> NDArray[np.float32] | Tensor:
    """Take a radiograph, or one of every view in a batch.

    Parameters
    ----------
    picture : (H, W) or (V, H, W) line integrals, no unit; where the exposure has a beam, (M, H, W) or (V, M, H, W)
        paths in mm of `ABSORBERS`. A numpy array, or a tensor on any device
    pixel_mm : pixel pitch at the object
    exposure : one for all views, or one for each
    seed : of the noise; for a batch one for each view. A seed gives one picture on one kind of device

    Returns
    -------
    (H, W) or (V, H, W) float32, a numpy array or a tensor on the same device
        Grey values 0..1; without a display line integrals as the detector reads them
    """
    if isinstance(picture, np.ndarray):
        held = torch.from_numpy(np.require(picture, np.float32, ["C", "W"]))
        return np.asarray(expose(held, pixel_mm, exposure, seed=seed))
    if not (isfinite(pixel_mm) and pixel_mm > 0):
        raise BoneprintError(f"expose: pixels of {pixel_mm} mm, expected a positive pitch.")
    if isinstance(exposure, Exposure) and isinstance(seed, int | np.integer):
        return _radiograph(picture, pixel_mm, exposure, int(seed))
    exposures = [exposure] * len(picture) if isinstance(exposure, Exposure) else exposure
    seeds = [seed] if isinstance(seed, int | np.integer) else seed
    if not len(picture) == len(exposures) == len(seeds):
        raise BoneprintError(
            f"expose: {len(picture)} views, {len(exposures)} exposures, {len(seeds)} seeds; expected as many of each."
        )
    views = zip(picture, exposures, seeds, strict=True)
    return torch.stack([_radiograph(view, pixel_mm, how, int(number)) for view, how, number in views])


def _radiograph(picture: Tensor, pixel_mm: float, exposure: Exposure, seed: int) -> Tensor:
    dimensions, expected = (
        (2, "(H, W) line integrals") if exposure.beam is None else (3, "(M, H, W) paths for its beam")
    )
    if picture.ndim != dimensions or picture.numel() == 0:
        raise BoneprintError(
            f"expose: a view of shape {tuple(picture.shape)}, expected {expected}; a batch needs a seed for each view."
        )
    read = _attenuated(picture.float(), pixel_mm, exposure)
    if exposure.alters_signal:
        read = _measured(read, pixel_mm, exposure, seed)
    return read.clone() if exposure.display is None else _displayed(read, exposure.display)


def _attenuated(picture: Tensor, pixel_mm: float, exposure: Exposure) -> Tensor:
    """Line integrals of the object and of the marker; a beam hardens in both together."""
    marker, beam = exposure.marker, exposure.beam
    if marker is None:
        return picture if beam is None else beam.line_integral(picture)
    chord = _chord(marker, pixel_mm, picture)
    if beam is None:
        return picture + linear_attenuation(marker.material, marker.energy) * chord
    return beam.line_integral(torch.cat([picture, chord[None]]), (*ABSORBERS[: len(picture)], marker.material))


def _chord(marker: Marker, pixel_mm: float, picture: Tensor) -> Tensor:
    """(H, W) mm of the marker on each ray."""
    down, across = _grid_mm(picture, pixel_mm, marker.row_share, marker.column_share)
    return 2 * (marker.diameter_mm**2 / 4 - down**2 - across**2).clamp(min=0).sqrt()


def _grid_mm(picture: Tensor, pixel_mm: float, row_share: float, column_share: float) -> tuple[Tensor, Tensor]:
    """(H, 1) and (1, W): mm downwards and to the right from a place in the picture."""
    height, width = picture.shape[-2:]
    down = torch.arange(height, device=picture.device, dtype=torch.float32) - row_share * (height - 1)
    across = torch.arange(width, device=picture.device, dtype=torch.float32) - column_share * (width - 1)
    return pixel_mm * down[:, None], pixel_mm * across[None, :]


def _measured(integrals: Tensor, pixel_mm: float, exposure: Exposure, seed: int) -> Tensor:
    """Minus ln of what the detector counts, relative to the open beam at gain 1."""
    generator = torch.Generator(integrals.device)
    generator.manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> np.uint64(1)))

    def noise() -> Tensor:
        return torch.randn(integrals.shape, generator=generator, device=integrals.device)

    primary = torch.exp(-integrals)
    scattered = primary * integrals if exposure.scatter else None
    signal = blurred(primary, exposure.focal_blur_mm / pixel_mm)
    if exposure.collimation is not None:
        opening = _opening(exposure.collimation, pixel_mm, integrals)
        signal = signal * opening
        scattered = None if scattered is None else scattered * opening
    if scattered is not None:
        signal = signal + exposure.scatter * blurred(scattered, exposure.scatter_mm / pixel_mm)
    least = torch.full_like(signal[0, 0], _LEAST_SIGNAL)
    quanta = _open_beam_quanta(signal, integrals, pixel_mm, exposure)
    if quanta is not None:
        signal = torch.poisson(quanta * signal.clamp(min=0), generator=generator) / quanta
        least = 1 / quanta
    signal = blurred(signal, exposure.detector_blur_mm / pixel_mm)
    if exposure.electronic_quanta:
        signal = signal + exposure.electronic_quanta * least * noise()
    if exposure.gain_variation:
        signal = signal * (1 + exposure.gain_variation * noise())
    signal = torch.maximum(exposure.gain * signal, least)
    return -torch.log(signal if exposure.saturation is None else signal.clamp(max=exposure.saturation))


def _open_beam_quanta(signal: Tensor, integrals: Tensor, pixel_mm: float, exposure: Exposure) -> Tensor | None:
    """Per pixel, (); None where none are counted.

    The chambers of an exposure control lie behind the part that is X-rayed: here, where at least half as much is
    absorbed as in its thicker tenth. They measure all that comes, scatter too, and what the shutters leave of it.
    """
    if exposure.quanta is not None:
        return torch.full_like(signal[0, 0], exposure.quanta)
    if exposure.quanta_behind is None:
        return None
    (thick,) = _quantiles(integrals, [_THICKER])
    behind = (integrals >= _CHAMBERS * thick).float()
    through = (signal * behind).sum() / behind.sum()
    return exposure.quanta_behind * pixel_mm**2 / through.clamp(min=_LEAST_SIGNAL**2)


def _opening(collimation: Collimation, pixel_mm: float, picture: Tensor) -> Tensor:
    """(H, W) share of the beam that passes the shutters."""
    down, across = _grid_mm(picture, pixel_mm, 0.5, 0.5)
    height, width = picture.shape[-2:]
    cosine, sine = np.cos(radians(collimation.turn_deg)), np.sin(radians(collimation.turn_deg))

    def between_edges(place: Tensor, opening_mm: float) -> Tensor:
        return 0.5 * torch.erfc((place.abs() - opening_mm / 2) / (sqrt(2) * collimation.penumbra_mm))

    return between_edges(cosine * down + sine * across, collimation.height_share * height * pixel_mm) * between_edges(
        cosine * across - sine * down, collimation.width_share * width * pixel_mm
    )


def _displayed(integrals: Tensor, display: Display) -> Tensor:
    """Grey values 0..1."""
    low, high = _quantiles(integrals, display.window)
    shown = ((integrals - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
    if display.look_up is LookUp.GAMMA:
        shown = shown**display.gamma
    elif display.look_up is LookUp.SIGMOID:
        foot = 1 / (1 + exp(display.contrast / 2))
        shown = ((torch.sigmoid(display.contrast * (shown - 0.5)) - foot) / (1 - 2 * foot)).clamp(0, 1)
    if display.photometric is Photometric.MONOCHROME1:
        shown = 1 - shown
    if display.bits is not None:
        levels = 2**display.bits - 1
        shown = torch.round(shown * levels) / levels
    return shown


def _quantiles(picture: Tensor, shares: Sequence[float]) -> list[Tensor]:
    """Of a sample of the pixels. The device keeps them; reading them here would make it wait."""
    step = ceil(sqrt(picture.numel() / _QUANTILE_PIXELS))
    sample = picture[::step, ::step].flatten()
    return [sample.kthvalue(1 + round(share * (sample.numel() - 1))).values for share in shares]


def blurred(image: Tensor, sigma_px: float) -> Tensor:
    """Blur with a Gaussian; the picture is mirrored at its borders, so that its mean stays.

    Parameters
    ----------
    image : (H, W) float32
    sigma_px : in pixels; 0 leaves the image as it is
    """
    if sigma_px == 0:
        return image
    if sigma_px < _WIDE_PX:
        return _smoothed(_smoothed(image, sigma_px, 0), sigma_px, 1)
    rows, columns = (_cosines(length, sigma_px).to(image.device) for length in image.shape)
    return rows.T @ (rows @ image @ columns.T) @ columns


def _cosines(length: int, sigma_px: float) -> Tensor:
    """(K, length): a wide Gaussian with mirrored borders is ``cosines.T @ cosines``, and few of them matter.

    Cosines that are even about both borders (DCT-II) are its eigenvectors; each keeps exp(-(sigma * frequency)^2 / 2).
    """
    count = min(length, ceil(_NEGLIGIBLE * length / (np.pi * sigma_px)) + 1)
    frequency = np.pi * np.arange(count)[:, None] / length
    waves = np.cos(frequency * (np.arange(length) + 0.5)) * np.sqrt(np.where(frequency == 0, 1, 2) / length)
    return torch.from_numpy((waves * np.exp(-((sigma_px * frequency) ** 2) / 4)).astype(np.float32))


def _smoothed(image: Tensor, sigma_px: float, axis: int) -> Tensor:
    """One axis; a sum of shifted images is several times faster on a CPU than torch's convolution."""
    length = image.shape[axis]
    radius = ceil(4 * sigma_px)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_px) ** 2)
    weights /= weights.sum()
    places = np.arange(-radius, length + radius) % (2 * length)
    mirrored = np.minimum(places, 2 * length - 1 - places)
    padded = image.index_select(axis, torch.from_numpy(mirrored).to(image.device))
    total = torch.zeros_like(image)
    for shift, weight in enumerate(weights.tolist()):
        total = total.add_(padded.narrow(axis, shift, length), alpha=weight)
    return total
