"""The shape of a femur as an implicit solid: negative inside, in mm.

Bone frame of a right femur: x to the patient's left (medial), y to the back, z to the head; the origin is half-way up
the bone. Lengths are fractions of the bone length unless a name ends in ``_mm`` or ``_deg``.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

# Mean and standard deviation between individuals. Chosen by hand to be typical, not fitted to data: for people near
# Toogood et al., Clin. Orthop. 467, 876-885, 2009 (375 adults: neck-shaft angle 129, version 9.7 degrees); for cats
# only the length of about 110 mm is S1's. The rest was chosen by eye, so that the solid looks like a femur.
_SPECIES: dict[str, dict[str, tuple[float, float]]] = {
    "human": {
        "length_mm": (440.0, 26.0),
        "neck_shaft_deg": (126.0, 5.5),
        "anteversion_deg": (12.0, 8.0),
        "head_radius": (0.0525, 0.0032),
        "offset": (0.098, 0.010),
        "neck_radius": (0.036, 0.0030),
        "shaft_radius": (0.0310, 0.0024),
        "bow": (0.024, 0.008),
        "condyle_width": (0.182, 0.010),
    },
    "cat": {
        "length_mm": (110.0, 7.0),
        "neck_shaft_deg": (132.0, 5.0),
        "anteversion_deg": (18.0, 8.0),
        "head_radius": (0.0440, 0.0028),
        "offset": (0.084, 0.008),
        "neck_radius": (0.030, 0.0026),
        "shaft_radius": (0.0370, 0.0026),
        "bow": (0.014, 0.006),
        "condyle_width": (0.168, 0.010),
    },
}
_ANY: dict[str, tuple[float, float]] = {
    "shaft_flatness": (1.0, 0.07),
    "isthmus_z": (0.08, 0.05),
    "distal_flare": (0.92, 0.08),
    "distal_depth": (0.050, 0.004),
    "proximal_flare": (1.45, 0.12),
    "lateral_bow": (0.0, 0.006),
    "valgus": (0.030, 0.010),
    "greater_height": (0.052, 0.012),
    "greater_lateral": (0.058, 0.006),
    "greater_back": (0.012, 0.007),
    "greater_size": (0.040, 0.004),
    "lesser_z": (0.335, 0.014),
    "lesser_angle_deg": (45.0, 14.0),
    "lesser_size": (0.020, 0.0035),
    "medial_condyle": (0.037, 0.0028),
    "lateral_condyle": (0.035, 0.0028),
    "condyle_depth": (0.064, 0.004),
    "condyle_height": (0.048, 0.004),
    "condyle_tilt": (0.0, 0.006),
    "notch": (0.021, 0.004),
    "groove": (0.016, 0.005),
    "trochlea": (0.036, 0.003),
    "medial_epicondyle": (0.016, 0.003),
    "lateral_epicondyle": (0.014, 0.003),
    "linea_aspera": (0.0055, 0.0022),
    "cortex_mid": (0.45, 0.06),
    "cortex_end": (0.0034, 0.0007),
    "cortex_z": (0.03, 0.05),
}

# Control points along the bone and displacement (fraction of the length) of the smooth random warp: three scales, as
# the carry-over to real shapes wants them (shared/FIELD.md, section 5).
WARP_SCALES: tuple[tuple[int, float], ...] = ((4, 0.012), (8, 0.006), (18, 0.0028))


@dataclass(frozen=True)
class FemurShape:
    """The numbers that make one femur; ``values`` follow ``names`` (lengths as fractions of the bone length)."""

    values: tuple[float, ...]
    names: ClassVar[tuple[str, ...]] = (*_SPECIES["human"], *_ANY)

    def __getitem__(self, name: str) -> float:
        return self.values[self.names.index(name)]

    @classmethod
    def mean_and_spread(cls, species: str) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation between individuals of a species, in the order of ``names``."""
        table = {**_SPECIES[species], **_ANY}
        pairs = np.array([table[name] for name in cls.names])
        return pairs[:, 0], pairs[:, 1]

    @classmethod
    def sample(
        cls, rng: np.random.Generator, species: str, *, around: "FemurShape | None" = None, spread: float = 1.0
    ) -> "FemurShape":
        """Draw one individual: normal in every number, cut at 2.5 standard deviations.

        ``around`` draws a sibling near another shape instead of near the mean of the species.
        """
        mean, deviation = cls.mean_and_spread(species)
        centre = mean if around is None else np.array(around.values)
        drawn = centre + spread * deviation * np.clip(rng.standard_normal(len(mean)), -2.5, 2.5)
        # A solid needs positive sizes however far a family strays.
        drawn = np.where(mean > 0, np.maximum(drawn, 0.15 * mean), drawn)
        return cls(tuple(float(v) for v in drawn))


def _ellipsoid(
    p: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    centre: tuple[float, float, float],
    radii: tuple[float, float, float],
) -> torch.Tensor:
    """Approximate signed distance (exact on the surface, right gradient length there)."""
    x, y, z = ((q - c) for q, c in zip(p, centre))
    k0 = torch.sqrt((x / radii[0]) ** 2 + (y / radii[1]) ** 2 + (z / radii[2]) ** 2) + 1e-6
    k1 = torch.sqrt((x / radii[0] ** 2) ** 2 + (y / radii[1] ** 2) ** 2 + (z / radii[2] ** 2) ** 2) + 1e-6
    return k0 * (k0 - 1) / k1


def _capsule(
    p: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    start: tuple[float, float, float],
    end: tuple[float, float, float],
    start_radius: float,
    end_radius: float,
) -> torch.Tensor:
    direction = np.subtract(end, start)
    along = sum((q - s) * float(d) for q, s, d in zip(p, start, direction)) / float(direction @ direction)
    along = torch.as_tensor(along).clamp(0, 1)
    squared = sum((q - (s + along * float(d))) ** 2 for q, s, d in zip(p, start, direction))
    return torch.sqrt(torch.as_tensor(squared)) - (start_radius + (end_radius - start_radius) * along)


def _bell(z: torch.Tensor, centre: float, width: float) -> torch.Tensor:
    return torch.exp(-(((z - centre) / width) ** 2))


def signed_distance(shape: FemurShape, x: torch.Tensor, y: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """Signed distance to the outer surface at points of the bone frame.

    Parameters
    ----------
    x, y, z : tensors of one shape, mm

    Returns
    -------
    Tensor of that shape, mm
        Negative inside; near the surface a distance to a few percent.
    """
    s, length = shape, shape["length_mm"]
    p = (x / length, y / length, z / length)
    px, py, pz = p

    head_r = s["head_radius"]
    version = math.radians(s["anteversion_deg"])
    offset = s["offset"]
    head = (offset * math.cos(version), -offset * math.sin(version), 0.5 - head_r)
    rise = offset / math.tan(math.radians(180.0 - s["neck_shaft_deg"]))
    neck_root = (-0.004, 0.0, head[2] - rise - 0.006)

    # Shaft: an elliptic tube on a bowed centre line, wide at both metaphyses, narrowest at the isthmus.
    arch = 1 - (pz / 0.46) ** 2
    centre_y = -s["bow"] * arch + 0.010
    centre_x = s["lateral_bow"] * arch + s["valgus"] * (0.25 - pz) * 0.35 - 0.004
    half_width = 0.5 * s["condyle_width"] * s["distal_flare"]
    distal = _bell(pz, -0.47, 0.135)
    proximal = _bell(pz, 0.36, 0.10)
    waist = 1 + 0.35 * (pz - s["isthmus_z"]) ** 2
    base = s["shaft_radius"] * waist
    rx = base * s["shaft_flatness"] + (half_width - s["shaft_radius"]) * distal
    rx = rx + s["shaft_radius"] * (s["proximal_flare"] - 1) * proximal
    ry = base / s["shaft_flatness"] + (s["distal_depth"] - s["shaft_radius"]) * distal
    ry = ry + s["shaft_radius"] * (s["proximal_flare"] - 1) * 0.7 * proximal
    dx, dy = px - centre_x, py - centre_y
    rim = torch.sqrt((dx / rx) ** 2 + (dy / ry) ** 2)
    tube = (rim - 1) * torch.minimum(rx, ry)
    ends = torch.maximum(pz - 0.40, -0.455 - pz)
    shaft = torch.maximum(tube, ends)

    cond = s["condyle_width"] / 2
    distal_x = s["valgus"] * 0.26
    tilt = s["condyle_tilt"]
    medial = (distal_x + cond - s["medial_condyle"], 0.018, -0.5 + s["condyle_height"] + max(-tilt, 0.0))
    lateral = (distal_x - cond + s["lateral_condyle"], 0.016, -0.5 + s["condyle_height"] + max(tilt, 0.0))
    greater = (
        -s["greater_lateral"] + 0.006,
        s["greater_back"],
        0.5 - 2 * head_r + s["greater_height"] - s["greater_size"] * 0.9,
    )
    turn = math.radians(s["lesser_angle_deg"])
    lesser_reach = s["shaft_radius"] * 1.25
    lesser = (lesser_reach * math.cos(turn), lesser_reach * math.sin(turn), s["lesser_z"])
    aspera = s["linea_aspera"]
    ridge_y = centre_y + ry * 0.96
    ridge = torch.sqrt(dx**2 + (py - ridge_y) ** 2) - aspera * (0.3 + _bell(pz, 0.0, 0.22))
    ridge = torch.maximum(ridge, torch.maximum(pz - 0.30, -0.30 - pz))

    parts = torch.stack(
        [
            shaft,
            _ellipsoid(p, head, (head_r, head_r, head_r)),
            _capsule(p, neck_root, head, s["neck_radius"] * 1.18, s["neck_radius"] * 0.95),
            _ellipsoid(p, greater, (s["greater_size"] * 0.72, s["greater_size"], s["greater_size"] * 1.25)),
            _capsule(p, neck_root, greater, s["neck_radius"], s["greater_size"] * 0.62),
            _ellipsoid(p, lesser, (s["lesser_size"], s["lesser_size"], s["lesser_size"] * 1.3)),
            _ellipsoid(p, medial, (s["medial_condyle"], s["condyle_depth"], s["condyle_height"])),
            _ellipsoid(p, lateral, (s["lateral_condyle"], s["condyle_depth"] * 0.97, s["condyle_height"])),
            _ellipsoid(
                p,
                (distal_x, -0.022, -0.5 + s["condyle_height"] + 0.012),
                (cond * 0.78, s["trochlea"], s["condyle_height"]),
            ),
            _ellipsoid(p, (distal_x + cond - 0.002, 0.008, -0.432), (s["medial_epicondyle"],) * 3),
            _ellipsoid(p, (distal_x - cond + 0.002, 0.008, -0.436), (s["lateral_epicondyle"],) * 3),
            ridge,
        ]
    )
    blend = 0.011
    solid = -blend * torch.logsumexp(-parts / blend, dim=0)
    notch = _ellipsoid(p, (distal_x, 0.064, -0.492), (s["notch"], 0.052, 0.050))
    groove = _ellipsoid(p, (distal_x, -0.022 - s["trochlea"] - 0.012, -0.47), (s["groove"], 0.022, 0.06))
    hollow = 0.006
    for cut in (notch, groove):
        solid = hollow * torch.logaddexp(solid / hollow, -cut / hollow)
    return solid * length


def cortex_thickness(shape: FemurShape, z: torch.Tensor) -> torch.Tensor:
    """Thickness of the cortical shell in mm at heights ``z`` (mm): thick in mid-shaft, a thin plate at the ends."""
    length = shape["length_mm"]
    end = shape["cortex_end"] * length
    mid = shape["cortex_mid"] * shape["shaft_radius"] * length
    return end + (mid - end) * torch.exp(-(((z / length - shape["cortex_z"]) / 0.27) ** 4))


def trabecular_share(shape: FemurShape, z: torch.Tensor) -> torch.Tensor:
    """How much of the inside is spongy bone at heights ``z`` (mm): 1 at the ends, 0 in the marrow cavity."""
    along = (z / shape["length_mm"]).abs()
    return torch.sigmoid((along - 0.33) / 0.03)
