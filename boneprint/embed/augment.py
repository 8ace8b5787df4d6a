"""What cannot be normalised away is randomised: pose in the plane, soft tissue, exposure, blur and noise."""

import math

import torch
import torch.nn.functional as F

# Attenuation of soft tissue in 1/mm at 60 keV (boneprint.drr.attenuation at 55 HU, rounded): only its order matters,
# for its amount is drawn at random.
_SOFT_PER_MM = 0.022


def augment(bone: torch.Tensor, thickness_mm: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Make each clean projection a radiograph that might have been taken.

    Parameters
    ----------
    bone : (N, H, W) float32, line integrals of bone beyond soft tissue
    thickness_mm : (N, H, W) float32, path length within the bone's outer surface
    generator : where all chance comes from

    Returns
    -------
    (N, H, W) float32, any grey scale; ready for ``normalise``
    """

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(len(bone), 1, 1, generator=generator)

    def chance(share: float) -> torch.Tensor:
        return (torch.rand(len(bone), 1, 1, generator=generator) < share).float()

    lean = (torch.randn(len(bone), generator=generator) * 8).clamp(-22, 22) * math.pi / 180
    bone, thickness_mm = _move(torch.stack([bone, thickness_mm], dim=1), lean, generator).unbind(1)
    wet = chance(0.5)
    # A dry bone's marrow stands out against air; in a limb it does not stand out against muscle.
    image = bone * uniform(0.7, 1.3) + (1 - wet) * uniform(0, 1.2) * _SOFT_PER_MM * thickness_mm
    peak = bone.amax(dim=(1, 2), keepdim=True)
    image = image + wet * peak * uniform(0.2, 2.2) * _limb(bone.shape, lean, generator)
    image = image + peak * uniform(0, 0.08) * _cloud(bone.shape, generator)
    image = _expose(image, chance(0.5), uniform(0.3, 1.5), uniform(0.65, 1.5), chance(0.2))
    image = _soften(image, uniform(0.0, 0.9))
    noise = torch.randn(image.shape, generator=generator)
    coarse = F.avg_pool2d(F.pad(noise[:, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[:, 0] * 2
    noise = torch.where(chance(0.5) > 0, noise, coarse)
    return image + image.amax(dim=(1, 2), keepdim=True) * uniform(0, 1) ** 2 * 0.02 * noise


def _move(images: torch.Tensor, lean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Rotate in the plane by ``lean`` radians, scale by up to 1.5 %, shift by up to 5 %."""
    n, _, height, width = images.shape
    scale = 1 + 0.015 * (2 * torch.rand(n, generator=generator) - 1)
    shift = 0.05 * (2 * torch.rand(n, 2, generator=generator) - 1)
    c, s = torch.cos(lean) / scale, torch.sin(lean) / scale
    ratio = height / width
    theta = torch.stack(
        [torch.stack([c, -s * ratio, shift[:, 0]], 1), torch.stack([s / ratio, c, shift[:, 1]], 1)], dim=1
    )
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def _limb(shape: torch.Size, lean: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """An elliptic column of soft tissue that leans about as the bone does: chord length, at most 1."""
    n, height, width = shape

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, 1, 1, generator=generator)

    u = (torch.arange(width) - (width - 1) / 2)[None, None, :]
    v = (torch.arange(height) - (height - 1) / 2)[None, :, None]
    leaning = lean[:, None, None] + uniform(-0.07, 0.07)
    x = (torch.cos(leaning) * u - torch.sin(leaning) * v) / (width / 2)
    y = (torch.sin(leaning) * u + torch.cos(leaning) * v) / (height / 2)
    # From a lateral thigh (120 mm) to more than the picture shows.
    half = uniform(0.42, 1.3) * (1 + uniform(-0.12, 0.12) * y)
    centre = uniform(-0.12, 0.12)
    chord = torch.sqrt((1 - ((x - centre) / half) ** 2).clamp(min=0))
    # A specimen's picture may end where the bone ends.
    top, bottom = uniform(-1.5, -0.85), uniform(0.85, 1.5)
    return chord * ((y > top) & (y < bottom)).float()


def _cloud(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Smooth unevenness: scatter, clothing, heel effect."""
    n, height, width = shape
    coarse = torch.randn(n, 1, 7, 5, generator=generator)
    return F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)[:, 0].abs()


def _expose(
    image: torch.Tensor, film: torch.Tensor, strength: torch.Tensor, gamma: torch.Tensor, sigmoid: torch.Tensor
) -> torch.Tensor:
    """Look-up curves: transmission (1 - exp), power law, and the S-shape of film and viewer presets."""
    image = image.clamp(min=0)
    image = image / image.amax(dim=(1, 2), keepdim=True).clamp(min=1e-6)
    image = torch.where(film > 0, 1 - torch.exp(-strength * image), image)
    image = (image / image.amax(dim=(1, 2), keepdim=True)) ** gamma
    curve = torch.sigmoid(7 * (image - 0.45))
    return torch.where(sigmoid > 0, curve - curve.amin(dim=(1, 2), keepdim=True), image)


def _soften(image: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    """Gaussian blur of another width for each picture, as a grouped convolution."""
    offsets = torch.arange(-3, 4, dtype=torch.float32)
    kernels = torch.exp(-0.5 * (offsets[None] / sigma.flatten()[:, None].clamp(min=0.2)) ** 2)
    kernels = kernels / kernels.sum(dim=1, keepdim=True)
    n = len(image)
    padded = F.pad(image[None], (3, 3, 3, 3), mode="replicate")
    rows = F.conv2d(padded, kernels[:, None, :, None], groups=n)
    return F.conv2d(rows, kernels[:, None, None, :], groups=n)[0]
