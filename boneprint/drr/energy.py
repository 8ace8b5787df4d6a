"""Photon energy and tube voltage: two types, so that one cannot be passed for the other."""

from dataclasses import dataclass
from math import isfinite

from boneprint.errors import BoneprintError


@dataclass(frozen=True, order=True)
class KeV:
    """Energy of a photon in keV."""

    value: float

    def __post_init__(self) -> None:
        if not (isfinite(self.value) and self.value > 0):
            raise BoneprintError(f"KeV({self.value}): expected a positive photon energy, such as KeV(60).")


@dataclass(frozen=True, order=True)
class KVp:
    """Peak voltage of an X-ray tube in kV; its photons have every energy up to that, about half of it on average."""

    value: float

    def __post_init__(self) -> None:
        if not (isfinite(self.value) and self.value > 0):
            raise BoneprintError(f"KVp({self.value}): expected a positive tube voltage, such as KVp(70).")


def kev_of(energy: KeV) -> float:
    """Read a photon energy; anything but ``KeV`` is refused, a bare number too."""
    if not isinstance(energy, KeV):
        raise BoneprintError(f"{energy!r} is no photon energy: write KeV(60), or Beam.spectrum(KVp(70)) for a tube.")
    return energy.value


def kvp_of(voltage: KVp) -> float:
    """Read a tube voltage; anything but ``KVp`` is refused, a bare number too."""
    if not isinstance(voltage, KVp):
        raise BoneprintError(
            f"{voltage!r} is no tube voltage: write KVp(70), or Beam.monochromatic(KeV(60)) for one energy."
        )
    return voltage.value
