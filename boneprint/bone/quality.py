"""How good the record of a bone is: whole or cut off, metal, resolution; and whether it is fit to be enrolled."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from boneprint.bone.isolate import BONY_HU
from boneprint.bone.label_names import is_dental
from boneprint.nouns import AIR_HU, Volume

METAL_HU = 2500.0  # cortical bone ends near 2000 HU; steel and titanium saturate the scale at 3071
METAL_ML = 0.1  # less is partial volume at a clip
FEWEST_SAMPLES = 8  # along the largest extent: fewer show no shape
MOSTLY_METAL = 0.5  # of what is bony
ROUND_FIELD = "round field of view"
_RIM = 2  # voxels: so near to the edge of a round field bone is cut off by it
_RECORDED = 0.1  # of a round field's rim: flesh, or air with its noise, where a grid's own border shows padding
_FACES = (("right", "left"), ("front", "back"), ("feet", "head"))  # towards lower and higher L, P, S


@dataclass(frozen=True)
class Quality:
    """Of one bone in one scan.

    Parameters
    ----------
    cut_off : where the bone goes on beyond the scan, e.g. ("feet",); or at the circle that was reconstructed
    metal_ml : volume of what is too dense for bone
    resolution_mm : the largest distance between neighbouring samples as recorded
    extent_mm : the largest extent of the bone
    metal_share : of everything bony
    """

    cut_off: tuple[str, ...]
    metal_ml: float
    resolution_mm: float
    extent_mm: float
    metal_share: float

    @property
    def complete(self) -> bool:
        """Whether the scan holds the whole bone."""
        return not self.cut_off

    def record(self) -> dict[str, Any]:
        """The record that is stored: what was found, by name."""
        return {"complete": self.complete, **asdict(self)}

    @property
    def unfit(self) -> str | None:
        """Why it cannot be enrolled, and the way out; None where it can."""
        if self.extent_mm < FEWEST_SAMPLES * self.resolution_mm:
            return (
                f"{self.extent_mm:.0f} mm long in samples {self.resolution_mm:.1f} mm apart, expected at least "
                f"{FEWEST_SAMPLES} of them; export a reconstruction with thinner slices"
            )
        if self.metal_share > MOSTLY_METAL:
            return f"{self.metal_share:.0%} of it is metal, expected bone; mark the bone alone in a label map"
        return None

    @property
    def notes(self) -> tuple[str, ...]:
        """What an examiner has to know, as sentences."""
        said = []
        if self.cut_off:
            said.append(f"cut off by the border of the scan ({', '.join(self.cut_off)})")
        if self.metal_ml >= METAL_ML:
            said.append(f"metal in it ({self.metal_ml:.1f} ml)")
        return tuple(said)


def quality_of(bone: Volume, scan: Volume, *, coarsest_mm: float | None = None, kind: str = "unknown") -> Quality:
    """Judge an isolated bone.

    Parameters
    ----------
    bone : as isolated, on the grid of ``scan``, cropped
    scan : what it was isolated from
    coarsest_mm : distance between neighbouring samples as recorded, where the scan was resampled
    kind : of bone; enamel is as dense as metal
    """
    bony = bone.hu >= BONY_HU
    first = np.rint(np.linalg.inv(scan.affine) @ bone.affine[:, 3])[:3].astype(int)[::-1]
    cut_off = []
    for axis in range(3):
        at_ends = (first[axis] == 0, first[axis] + bony.shape[axis] == scan.hu.shape[axis])
        for end, touches in zip((0, -1), at_ends, strict=True):
            if touches and bony.take(end, axis=axis).any():
                outward = scan.affine[:3, 2 - axis] * (1 if end else -1)
                patient = int(np.argmax(np.abs(outward)))
                cut_off.append(_FACES[patient][int(outward[patient] > 0)])
    if _leaves_round_field(bony, first, scan):
        cut_off.append(ROUND_FIELD)
    voxel_ml = abs(float(np.linalg.det(scan.affine[:3, :3]))) / 1000
    metal = 0 if is_dental(kind) else int(np.count_nonzero(bone.hu >= METAL_HU))
    filled = np.argwhere(bony)
    extent_mm = float((np.ptp(filled, axis=0) * bone.spacing_mm[::-1]).max()) if len(filled) else 0.0
    return Quality(
        cut_off=tuple(dict.fromkeys(cut_off)),
        metal_ml=metal * voxel_ml,
        resolution_mm=coarsest_mm or float(scan.spacing_mm.max()),
        extent_mm=extent_mm,
        metal_share=metal / max(len(filled), 1),
    )


def _leaves_round_field(bony: NDArray[np.bool_], first: NDArray[np.int64], scan: Volume) -> bool:
    """Whether bone reaches the edge of the circle that was reconstructed, beyond which there is nothing but padding.

    Parameters
    ----------
    bony : (Z, Y, X) on a part of the grid of ``scan``, which begins at ``first`` (z, y, x)
    """
    _, height, width = scan.hu.shape
    if height != width:
        return False
    z, y, x = (slice(start, start + size) for start, size in zip(first, bony.shape, strict=True))
    row, column = np.ogrid[:height, :width]
    beyond = np.hypot(row - (height - 1) / 2, column - (width - 1) / 2) - width / 2  # of the circle's edge, voxels
    rim = (beyond > -_RIM) & (beyond <= 0)
    at_rim = scan.hu[z][:, rim]
    if not bony[:, rim[y, x]].any() or not (at_rim[at_rim < BONY_HU] > AIR_HU).sum() > _RECORDED * at_rim.size:
        return False
    return all((plane[beyond > 1] <= AIR_HU).all() for plane in scan.hu[z])
