"""What cannot be normalised away is randomised: soft tissue, tube, scatter, blur, noise, display, and what is beside.

A cheap stand-in for `boneprint.drr.expose` and for the flesh of a scan: every number is drawn from ranges wider than
natural ones, chosen by hand, for a whole batch at once and on its device.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

# At 40, 60 and 80 keV: what bone absorbs beyond soft tissue relative to 60 keV, and soft tissue in 1/mm (ICRU-44
# cortical bone and soft tissue; boneprint/drr/tables/attenuation.csv).
_BONE_FACTORS = (2.56, 1.0, 0.61)
_SOFT_PER_MM = (0.0285, 0.0217, 0.0193)
# Counted behind the bone: down to a third of the least that `drr.exposure` has behind the part, as a wider range.
_QUANTA_PER_MM2 = (1_500.0, 150_000.0)


@dataclass(frozen=True)
class Chance:
    """Where all chance of N pictures comes from; each draw is (N, 1, 1)."""

    generator: torch.Generator
    count: int

    def uniform(self, low: float, high: float) -> torch.Tensor:
        """Evenly between two ends."""
        drawn = torch.rand(self.count, 1, 1, generator=self.generator, device=self.generator.device)
        return low + (high - low) * drawn

    def happens(self, share: float) -> torch.Tensor:
        """1 for about so many, else 0."""
        return (self.uniform(0, 1) < share).float()

    def normal(self, *shape: int) -> torch.Tensor:
        """(N, *shape)."""
        return torch.randn(self.count, *shape, generator=self.generator, device=self.generator.device)


def augment(
    bone: torch.Tensor,
    thickness_mm: torch.Tensor,
    lean: torch.Tensor,
    pixel_mm: torch.Tensor,
    size: Sequence[int],
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make each clean projection a radiograph that might have been taken.

    Parameters
    ----------
    bone : (N, H, W) float32, line integrals of bone beyond soft tissue at 60 keV
    thickness_mm : (N, H, W) float32, path length within the bone's outer surface
    lean : (N,) radians, how far the bone leans in the picture (a limb leans with it)
    pixel_mm : (N,) pitch
    size : (H, W) of the canvas in pixels
    generator : where all chance comes from, on the pictures' device

    Returns
    -------
    (N, H, W) float32 pictures, any grey scale; ready for ``normalise``
    (N, H, W) float32, 1 where the bone is seen
    """
    chance = Chance(generator, len(bone))
    shown = torch.ones_like(bone)
    # A picture, or the bone itself, may end where bone is.
    rows = torch.linspace(-1, 1, bone.shape[1], device=bone.device)[None, :, None]
    shown = shown * (1 - chance.happens(0.06) * (rows < chance.uniform(-0.85, -0.55)).float())
    shown = shown * (1 - chance.happens(0.06) * (rows > chance.uniform(0.55, 0.85)).float())
    bone, thickness_mm = bone * shown, thickness_mm * shown
    mask = (thickness_mm > 0.5 * pixel_mm[:, None, None]).float()

    contrast = chance.uniform(0.6, 1.4)
    wet = chance.happens(0.6)
    # A dry bone's marrow stands out against air; in a limb it does not stand out against muscle.
    soft_mm = (1 - wet) * chance.uniform(0, 1.2) * thickness_mm
    soft_mm = soft_mm + wet * _limb(bone.shape, lean, pixel_mm, size, chance)
    total = bone * contrast + _beside(bone, chance)
    signal = _transmitted(total, soft_mm, chance)
    signal = signal + chance.uniform(0, 0.5) * chance.happens(0.7) * _scattered(signal, chance)
    signal = _soften(signal, chance.uniform(0.0, 0.9))
    behind = (signal * mask).sum(dim=(1, 2), keepdim=True) / mask.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    dose = torch.exp(chance.uniform(*(math.log(each) for each in _QUANTA_PER_MM2)))
    quanta = dose * pixel_mm[:, None, None] ** 2 / behind.clamp(min=1e-6)
    noise = chance.normal(*bone.shape[1:])
    coarse = F.avg_pool2d(F.pad(noise[:, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[:, 0] * 2
    noise = torch.where(chance.happens(0.5) > 0, noise, coarse)
    signal = (signal + (signal / quanta).clamp(min=0).sqrt() * noise + chance.uniform(0, 2) / quanta * noise).clamp(
        min=1 / quanta
    )
    image = -torch.log(signal)
    image = image + _marker(bone.shape, pixel_mm, chance) * image.amax(dim=(1, 2), keepdim=True)
    image = _displayed(image, mask, chance)
    return _shuttered(image, chance), mask


def _limb(
    shape: torch.Size, lean: torch.Tensor, pixel_mm: torch.Tensor, size: Sequence[int], chance: Chance
) -> torch.Tensor:
    """A limb of muscle under fat that leans about as the bone does: mm of soft tissue, as water would absorb."""
    _, height, width = shape
    u = (torch.arange(width, device=lean.device) - (width - 1) / 2)[None, None, :]
    v = (torch.arange(height, device=lean.device) - (height - 1) / 2)[None, :, None]
    leaning = lean[:, None, None] + chance.uniform(-0.07, 0.07)
    x = (torch.cos(leaning) * u - torch.sin(leaning) * v) / (size[1] / 2)
    y = (torch.sin(leaning) * u + torch.cos(leaning) * v) / (size[0] / 2)
    # From a lateral thigh (80 mm) to more than the picture shows.
    half = chance.uniform(0.28, 1.3) * (1 + chance.uniform(-0.25, 0.25) * y)
    half = half * (1 + 0.06 * chance.uniform(-1, 1) * torch.sin(4 * y + chance.uniform(0, 6)))
    centre = chance.uniform(-0.15, 0.15)
    deep_mm = 2 * half * (size[1] / 2) * pixel_mm[:, None, None] * chance.uniform(0.5, 1.5)
    outer = _chord(x - centre, half)
    inner = _chord(x - centre * chance.uniform(0.7, 1.1), half * chance.uniform(0.55, 0.97))
    fat = chance.uniform(0.80, 0.95)
    # A specimen's picture may end where the bone ends.
    top, bottom = chance.uniform(-1.5, -0.8), chance.uniform(0.8, 1.5)
    there = ((y > top) & (y < bottom)).float()
    uneven = 1 + chance.uniform(0, 0.12) * _cloud(shape, chance)
    return deep_mm * (fat * outer + (1 - fat) * inner).clamp(min=0) * there * uneven


def _chord(x: torch.Tensor, half: torch.Tensor) -> torch.Tensor:
    return torch.sqrt((1 - (x / half) ** 2).clamp(min=0))


def _beside(bone: torch.Tensor, chance: Chance) -> torch.Tensor:
    """Now and then another bone, beyond one end or beside: the batch's next, moved by most of a picture."""
    other = bone.roll(1, dims=0)
    n, height, width = bone.shape
    there = chance.happens(0.15)
    down = (chance.uniform(0.75, 1.05) * torch.where(chance.uniform(0, 1) < 0.5, -1.0, 1.0)).flatten()
    aside = chance.uniform(-0.35, 0.35).flatten()
    turn = chance.uniform(-0.4, 0.4).flatten()
    c, s, ratio = torch.cos(turn), torch.sin(turn), height / width
    theta = torch.stack(
        [torch.stack([c, -s * ratio, 2 * aside], dim=1), torch.stack([s / ratio, c, 2 * down], dim=1)], dim=1
    )
    moved = F.grid_sample(
        other[:, None], F.affine_grid(theta, [n, 1, height, width], align_corners=False), align_corners=False
    )[:, 0]
    return moved * there * chance.uniform(0.4, 1.2)


def _transmitted(bone: torch.Tensor, soft_mm: torch.Tensor, chance: Chance) -> torch.Tensor:
    """What a beam of three energies lets through; harder and softer ones are drawn."""
    weights = [chance.uniform(0, 1), chance.uniform(0.2, 1), chance.uniform(0.2, 1)]
    total = weights[0] + weights[1] + weights[2]
    # Thick limbs are taken with a harder and stronger beam: none reads less than a few thousandths.
    soft_mm = soft_mm.clamp(max=220)
    parts = [
        weight / total * torch.exp(-factor * bone - per_mm * soft_mm)
        for weight, factor, per_mm in zip(weights, _BONE_FACTORS, _SOFT_PER_MM)
    ]
    return torch.stack(parts).sum(dim=0)


def _scattered(signal: torch.Tensor, chance: Chance) -> torch.Tensor:
    """Smooth, and strongest where much is absorbed and much still comes through."""
    primary = signal / signal.amax(dim=(1, 2), keepdim=True)
    source = -primary * torch.log(primary.clamp(min=1e-6))
    small = F.interpolate(source[:, None], scale_factor=0.125, mode="area")
    for _ in range(2):
        small = F.avg_pool2d(F.pad(small, (1, 1, 1, 1), mode="replicate"), 3, 1)
    wide = F.interpolate(small, size=signal.shape[1:], mode="bicubic", align_corners=False)[:, 0].clamp(min=0)
    return wide * signal.amax(dim=(1, 2), keepdim=True) * (1 + 0.2 * chance.uniform(-1, 1))


def _cloud(shape: torch.Size, chance: Chance) -> torch.Tensor:
    """Smooth unevenness: muscles, clothing, heel effect."""
    _, height, width = shape
    coarse = chance.normal(1, 7, 5)
    return F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)[:, 0]


def _marker(shape: torch.Size, pixel_mm: torch.Tensor, chance: Chance) -> torch.Tensor:
    """Now and then a ball of 5 to 30 mm for scale, away from the middle: 0..1."""
    _, height, width = shape
    v = torch.linspace(-0.5, 0.5, height, device=pixel_mm.device)[None, :, None] * height
    u = torch.linspace(-0.5, 0.5, width, device=pixel_mm.device)[None, None, :] * width
    side = torch.where(chance.uniform(0, 1) < 0.5, -1.0, 1.0)
    down, across = chance.uniform(-0.42, 0.42) * height, side * chance.uniform(0.22, 0.46) * width
    radius = chance.uniform(2.5, 15) / pixel_mm[:, None, None]
    ball = (1 - ((v - down) ** 2 + (u - across) ** 2) / radius**2).clamp(min=0).sqrt()
    return ball * chance.happens(0.12) * chance.uniform(0.5, 1.5)


def _displayed(image: torch.Tensor, mask: torch.Tensor, chance: Chance) -> torch.Tensor:
    """Look-up curves: the detector's signal, power law, and the S-shape of film and viewer presets."""
    low = image.amin(dim=(1, 2), keepdim=True)
    image = image - low
    image = image / image.amax(dim=(1, 2), keepdim=True).clamp(min=1e-6)
    film = chance.happens(0.4)
    strength = chance.uniform(0.3, 1.5)
    image = torch.where(film > 0, 1 - torch.exp(-strength * image), image)
    image = (image / image.amax(dim=(1, 2), keepdim=True).clamp(min=1e-6)) ** chance.uniform(0.6, 1.6)
    curve = torch.sigmoid(chance.uniform(4, 9) * (image - chance.uniform(0.35, 0.6)))
    image = torch.where(chance.happens(0.25) > 0, curve - curve.amin(dim=(1, 2), keepdim=True), image)
    # A window that is too narrow burns out the brightest parts of the bone.
    lowest = torch.where(mask > 0, image, torch.inf).amin(dim=(1, 2), keepdim=True)
    ceiling = torch.lerp(lowest, image.amax(dim=(1, 2), keepdim=True), chance.uniform(0.6, 1.0))
    return torch.where(chance.happens(0.2) > 0, torch.minimum(image, ceiling), image)


def _shuttered(image: torch.Tensor, chance: Chance) -> torch.Tensor:
    """Now and then a rectangle that the shutters leave open; beyond it all is dark, or all is bright."""
    _, height, width = image.shape
    v = torch.linspace(-1, 1, height, device=image.device)[None, :, None]
    u = torch.linspace(-1, 1, width, device=image.device)[None, None, :]
    turn = chance.uniform(-0.09, 0.09)
    open_rows = (torch.cos(turn) * v + torch.sin(turn) * u).abs() < chance.uniform(0.8, 1.0)
    open_columns = (torch.cos(turn) * u - torch.sin(turn) * v).abs() < chance.uniform(0.5, 1.0)
    closed = (~(open_rows & open_columns)).float() * chance.happens(0.12)
    beyond = chance.happens(0.3) * image.amax(dim=(1, 2), keepdim=True)
    return image * (1 - closed) + closed * beyond


def _soften(image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Gaussian blur of another width for each picture, in pixels."""
    offsets = torch.arange(-3, 4, dtype=torch.float32, device=image.device)
    kernels = torch.exp(-0.5 * (offsets[None] / sigma.flatten()[:, None].clamp(min=0.2)) ** 2)
    kernels = kernels / kernels.sum(dim=1, keepdim=True)
    padded = F.pad(image[:, None], (3, 3, 0, 0), mode="replicate")[:, 0]
    image = sum(kernels[:, [k], None] * padded[:, :, k : k + image.shape[2]] for k in range(7))  # type: ignore[assignment]
    padded = F.pad(image[:, None], (0, 0, 3, 3), mode="replicate")[:, 0]
    return sum(kernels[:, [k], None] * padded[:, k : k + image.shape[1]] for k in range(7))  # type: ignore[return-value]
