"""From Hounsfield units to linear attenuation in 1/mm at one photon energy."""

import numpy as np
from numpy.typing import NDArray

from boneprint.errors import BoneprintError

# Mass attenuation in cm2/g: NIST, Hubbell and Seltzer, "Tables of X-Ray Mass Attenuation Coefficients" (NISTIR 5632),
# liquid water and ICRU-44 cortical bone.
_KEV = np.array([40.0, 50.0, 60.0, 80.0, 100.0, 150.0, 200.0])
_WATER_CM2_PER_G = np.array([0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505, 0.1370])
_BONE_CM2_PER_G = np.array([0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480, 0.1309])

# HU of muscle, and of ICRU-44 cortical bone (1.92 g/cm3) under the density law below.
SOFT_TISSUE_HU = 55.0
_CORTICAL_HU = (1.92 - 1.03) / 0.0005886


def mass_attenuation(kev: float) -> tuple[float, float]:
    """Water's and cortical bone's mass attenuation in cm2/g, interpolated log-log between the table's energies.

    Raises
    ------
    BoneprintError
        Outside 40-200 keV.
    """
    if not _KEV[0] <= kev <= _KEV[-1]:
        raise BoneprintError(f"photon energy {kev:g} keV, expected {_KEV[0]:g}-{_KEV[-1]:g} keV (keV, not tube kVp).")
    at = np.log(kev)
    water = np.exp(np.interp(at, np.log(_KEV), np.log(_WATER_CM2_PER_G)))
    bone = np.exp(np.interp(at, np.log(_KEV), np.log(_BONE_CM2_PER_G)))
    return float(water), float(bone)


def density(hu: NDArray[np.floating]) -> NDArray[np.float32]:
    """Mass density in g/cm3.

    References
    ----------
    U. Schneider et al., Phys. Med. Biol. 41, 111-124, 1996.
    """
    law = np.minimum(0.001029 * hu + 1.03, 0.0005886 * hu + 1.03)
    return np.asarray(np.where(hu <= -1000.0, 0.0, np.maximum(law, 0.0)), dtype=np.float32)


def materials(hu: NDArray[np.floating]) -> NDArray[np.float32]:
    """Share a voxel's density between two materials that keep their proportions at every energy.

    Soft tissue attenuates like water; from 100 HU on the share of cortical bone grows linearly with HU.

    Returns
    -------
    (2, ...) float32
        Water-like and bone-like tissue in g/cm3 times 0.1 cm/mm, so that an integral over mm is in g/cm2.
    """
    share = np.clip((hu - 100.0) / (_CORTICAL_HU - 100.0), 0.0, 1.0)
    mass = density(hu) * 0.1
    return np.stack([mass * (1 - share), mass * share]).astype(np.float32)


def mu_per_mm(hu: NDArray[np.floating], kev: float) -> NDArray[np.float32]:
    """Linear attenuation of tissue.

    Parameters
    ----------
    hu : any shape, Hounsfield units; -1000 and below (air and padding) give 0
    kev : photon energy

    Returns
    -------
    array of that shape, 1/mm
    """
    water, bone = mass_attenuation(kev)
    parts = materials(hu)
    return np.asarray(np.float32(water) * parts[0] + np.float32(bone) * parts[1])


def bone_mu_per_mm(hu: NDArray[np.floating], kev: float) -> NDArray[np.float32]:
    """What bone absorbs beyond the soft tissue it displaces, in 1/mm; 0 for soft tissue and air.

    A radiograph shows bone against the tissue around it, and a CT of a dry bone has none: this difference is what both
    have in common.
    """
    soft = float(mu_per_mm(np.array([SOFT_TISSUE_HU]), kev)[0])
    return np.asarray(np.maximum(mu_per_mm(hu, kev) - np.float32(soft), np.float32(0.0)))
