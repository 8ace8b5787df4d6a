"""What a voxel is made of, and how much of an X-ray each material takes away."""

from enum import StrEnum
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import ArrayLike, NDArray

from boneprint.drr.energy import KeV, kev_of
from boneprint.errors import BoneprintError

# HU of muscle; and of ICRU-44 cortical bone (1.92 g/cm3) under the density law below.
SOFT_TISSUE_HU = 55.0
_CORTICAL_HU = (1.92 - 1.03) / 0.0005886
# From here on a voxel holds bone: above muscle and blood, below trabecular bone with its marrow.
_BONE_FROM_HU = 100.0
# g/cm3 of ICRU-44 soft tissue that attenuates like water, 0 HU, at 70 keV: about where a 120 kVp scanner's photons lie.
_SOFT_TISSUE_AT_0_HU = 1.0065


class Material(StrEnum):
    """What attenuation is tabulated for; tissues as in ICRU Report 44, steel is 316L."""

    SOFT_TISSUE = "soft_tissue"
    BONE = "bone"
    ADIPOSE = "adipose"
    WATER = "water"
    AIR = "air"
    TITANIUM = "titanium"
    STEEL = "steel"
    ALUMINIUM = "aluminium"


# What a CT is taken apart into, in the order of `absorbers`.
ABSORBERS = (Material.SOFT_TISSUE, Material.BONE, Material.TITANIUM)


@cache
def _table() -> tuple[NDArray[np.float64], dict[Material, tuple[float, NDArray[np.float64]]]]:
    """ln keV, and for every material its density in g/cm3 and ln cm2/g; sources in the file's head."""
    with (files("boneprint.drr") / "tables" / "attenuation.csv").open() as lines:
        rows = [line.rstrip("\n").split(",") for line in lines if not line.startswith("#")]
    names, densities, *values = rows
    numbers = np.log(np.array(values, dtype=np.float64))
    columns = zip(names[1:], densities[1:], numbers.T[1:], strict=True)
    return numbers[:, 0], {Material(name): (float(density), column) for name, density, column in columns}


def reference_density(material: Material) -> float:
    """Density in g/cm3 that ``absorbers`` and ``linear_attenuation`` refer to."""
    return _table()[1][material][0]


def mass_attenuation_at(material: Material, energies_kev: ArrayLike) -> NDArray[np.float64]:
    """Mass attenuation at many energies.

    Parameters
    ----------
    material : what
    energies_kev : any shape, 10 to 200 keV

    Returns
    -------
    array of that shape, cm2/g
        Total with coherent scattering, interpolated log-log; within 0.1 % of NIST's tables.

    Raises
    ------
    BoneprintError
        Outside 10-200 keV.

    References
    ----------
    J. H. Hubbell and S. M. Seltzer, NISTIR 5632, 1995; W. T. Elam et al., Radiat. Phys. Chem. 63, 121-128, 2002.
    """
    grid, columns = _table()
    energies = np.asarray(energies_kev, dtype=np.float64)
    low, high = np.exp(grid[0]), np.exp(grid[-1])
    if energies.size and not (energies.min() >= low * (1 - 1e-9) and energies.max() <= high * (1 + 1e-9)):
        raise BoneprintError(
            f"photon energy {energies.min():g} to {energies.max():g} keV, expected {low:g} to {high:g} keV "
            "(keV, not tube kVp)."
        )
    return np.asarray(np.exp(np.interp(np.log(energies), grid, columns[material][1])))


def mass_attenuation(material: Material, energy: KeV) -> float:
    """Mass attenuation in cm2/g at one energy; see ``mass_attenuation_at``."""
    return float(mass_attenuation_at(material, kev_of(energy)))


def linear_attenuation(material: Material, energy: KeV) -> float:
    """Attenuation in 1/mm of a material at its reference density."""
    return mass_attenuation(material, energy) * reference_density(material) / 10.0


def density(hu: NDArray[np.generic]) -> NDArray[np.float32]:
    """Mass density in g/cm3; 0 from -1000 HU down.

    Two straight lines that meet at 56 HU. Below, the definition of HU: soft tissue in proportion to ``1 + HU / 1000``,
    so that water reads 0 HU *and* attenuates like water. Above, Schneider's line for tissue with bone.

    References
    ----------
    U. Schneider et al., Phys. Med. Biol. 41, 111-124, 1996.
    """
    values = np.asarray(hu, dtype=np.float32)
    soft = _SOFT_TISSUE_AT_0_HU * (1 + values / 1000)
    return np.asarray(np.maximum(np.minimum(soft, 0.0005886 * values + 1.03), 0), dtype=np.float32)


def absorbers(hu: NDArray[np.generic], metal_hu: float | None = None) -> NDArray[np.float32]:
    """Take voxels apart into soft tissue, bone and metal, which keep their proportions at every energy.

    The share of cortical bone in a voxel's mass grows linearly with HU, from 0 at 100 HU to 1 at 1.92 g/cm3.

    Parameters
    ----------
    hu : any shape, Hounsfield units; -1000 and below (air and padding) hold nothing
    metal_hu : from this value on a voxel is titanium, wholly and at its reference density; None: there is no metal

    Returns
    -------
    (2, ...) or, with metal, (3, ...) float32
        For each of ``ABSORBERS`` its density in the voxel over its reference density: an integral over mm is in mm of
        the reference material.
    """
    values = np.asarray(hu, dtype=np.float32)
    bone = np.clip((values - _BONE_FROM_HU) / (_CORTICAL_HU - _BONE_FROM_HU), 0, 1)
    mass = density(values)
    shares = [
        mass * (1 - bone) / reference_density(Material.SOFT_TISSUE),
        mass * bone / reference_density(Material.BONE),
    ]
    if metal_hu is not None:
        metal = values >= metal_hu
        shares = [*(np.where(metal, 0, share) for share in shares), metal]
    return np.stack(shares).astype(np.float32)


def mu_per_mm(hu: NDArray[np.generic], energy: KeV) -> NDArray[np.float32]:
    """Linear attenuation of tissue.

    Parameters
    ----------
    hu : any shape, Hounsfield units; -1000 and below (air and padding) give 0
    energy : of the photons

    Returns
    -------
    array of that shape, 1/mm
    """
    soft, bone = absorbers(hu)
    return np.asarray(
        np.float32(linear_attenuation(Material.SOFT_TISSUE, energy)) * soft
        + np.float32(linear_attenuation(Material.BONE, energy)) * bone
    )


def bone_mu_per_mm(hu: NDArray[np.generic], energy: KeV) -> NDArray[np.float32]:
    """What bone absorbs beyond the soft tissue it displaces, in 1/mm; 0 for soft tissue and air.

    A radiograph shows bone against the tissue around it, and a CT of a dry bone has none: this difference is what both
    have in common.
    """
    soft = mu_per_mm(np.array([SOFT_TISSUE_HU]), energy)
    return np.asarray(np.maximum(mu_per_mm(hu, energy) - soft, np.float32(0)))
