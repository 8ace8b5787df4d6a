"""Attenuation and density against NIST's tables and the definition of the Hounsfield unit."""

import numpy as np
import pytest

from boneprint.drr.attenuation import (
    ABSORBERS,
    Material,
    absorbers,
    bone_mu_per_mm,
    density,
    linear_attenuation,
    mass_attenuation,
    mass_attenuation_at,
    mu_per_mm,
    reference_density,
)
from boneprint.drr.energy import KeV, KVp
from boneprint.errors import BoneprintError

# cm2/g from the web tables of NISTIR 5632 (Hubbell and Seltzer), tables 3 and 4.
NIST_KEV = (10, 20, 60, 100, 150)
NIST = {
    Material.SOFT_TISSUE: (5.379, 0.8230, 0.2048, 0.1693, 0.1492),
    Material.BONE: (28.51, 4.001, 0.3148, 0.1855, 0.1480),
    Material.ADIPOSE: (3.268, 0.5677, 0.1974, 0.1688, 0.1500),
    Material.WATER: (5.329, 0.8096, 0.2059, 0.1707, 0.1505),
    Material.AIR: (5.120, 0.7779, 0.1875, 0.1541, 0.1356),
    Material.TITANIUM: (110.7, 15.85, 0.7661, 0.2721, 0.1649),
    Material.ALUMINIUM: (26.23, 3.441, 0.2778, 0.1704, 0.1378),
}
NIST_IRON = {60: 1.205, 100: 0.3717, 150: 0.1964}
CORTICAL_HU = (1.92 - 1.03) / 0.0005886  # where Schneider's line reaches the density of ICRU-44 cortical bone


@pytest.mark.parametrize("material", NIST)
def test_mass_attenuation_is_that_of_nist(material):
    assert mass_attenuation_at(material, NIST_KEV) == pytest.approx(NIST[material], rel=1e-3)


@pytest.mark.parametrize(("kev", "per_cm"), [(140, 0.1538), (161, 0.1472)])
def test_water_between_nists_energies(kev, per_cm):
    assert 10 * linear_attenuation(Material.WATER, KeV(kev)) == pytest.approx(per_cm, rel=2e-3)


@pytest.mark.parametrize("kev", NIST_IRON)
def test_316l_steel_attenuates_a_little_more_than_iron_for_its_nickel_and_molybdenum(kev):
    assert 1.0 < mass_attenuation(Material.STEEL, KeV(kev)) / NIST_IRON[kev] < 1.06


def test_only_steel_has_an_absorption_edge_above_10_kev_that_of_molybdenum():
    beyond = {m: mass_attenuation(m, KeV(20.01)) / mass_attenuation(m, KeV(19.99)) for m in Material}
    assert beyond.pop(Material.STEEL) == pytest.approx(1 + 0.025 * (79.5 - 13.1) / 24.95, abs=0.01)
    assert all(0.99 < ratio < 1 for ratio in beyond.values())


@pytest.mark.parametrize("energy", [60, 60.0, KVp(70), None])
def test_only_kev_is_a_photon_energy(energy):
    for quantity in (mass_attenuation, linear_attenuation):
        with pytest.raises(BoneprintError, match=r"write KeV\(60\)"):
            quantity(Material.WATER, energy)
    with pytest.raises(BoneprintError, match=r"write KeV\(60\)"):
        mu_per_mm(np.zeros(1), energy)


@pytest.mark.parametrize("kev", [9.9, 200.1])
def test_an_energy_outside_the_table_is_refused(kev):
    with pytest.raises(BoneprintError, match="expected 10 to 200 keV"):
        mass_attenuation(Material.BONE, KeV(kev))


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_an_energy_and_a_voltage_are_positive(value):
    for kind in (KeV, KVp):
        with pytest.raises(BoneprintError, match="positive"):
            kind(value)


@pytest.mark.parametrize(("kev", "water", "bone"), [(60, 0.2059, 0.3148), (150, 0.1505, 0.1480)])
def test_forty_mm_of_water_at_0_hu_and_ten_of_cortical_bone_obey_beer_and_lambert(kev, water, bone):
    hu = np.array([0.0] * 40 + [CORTICAL_HU] * 10)
    assert mu_per_mm(hu, KeV(kev)).sum() == pytest.approx(4 * water * 1.0 + 1 * bone * 1.92, rel=5e-3)


def test_soft_tissue_follows_the_definition_of_hu_at_a_scanners_energy():
    hu = np.array([-500.0, -100.0, 0.0, 40.0])
    water = linear_attenuation(Material.WATER, KeV(70))
    assert mu_per_mm(hu, KeV(70)) == pytest.approx(water * (1 + hu / 1000), rel=2e-4)


def test_density_of_tissues_is_that_of_icru_44_and_rises_with_hu():
    assert density(np.array([55.0, CORTICAL_HU])) == pytest.approx([1.06, 1.92], rel=3e-3)
    assert (np.diff(density(np.arange(-1000, 4000))) > 0).all()


@pytest.mark.parametrize("padding", [-1000, -1024, -2000, -3024])
def test_air_and_padding_hold_nothing(padding):
    assert (absorbers(np.array([padding], np.int16)) == 0).all()
    assert mu_per_mm(np.array([padding], np.int16), KeV(60)) == 0


def test_absorbers_share_a_voxels_mass():
    hu = np.linspace(-1024, 3000, 500)
    soft, bone = absorbers(hu)
    mass = reference_density(Material.SOFT_TISSUE) * soft + reference_density(Material.BONE) * bone
    assert mass == pytest.approx(density(hu), rel=1e-5, abs=1e-6)
    assert (bone[hu <= 100] == 0).all()
    assert (soft[hu >= CORTICAL_HU] == 0).all()


def test_a_line_integral_of_absorbers_is_in_mm_of_the_reference_material():
    cortical = absorbers(np.full(10, CORTICAL_HU))
    assert cortical.sum(axis=1) == pytest.approx([0, 10], abs=1e-3)


def test_metal_takes_the_whole_voxel():
    hu = np.array([40, 1200, 2999, 3000, 9000], np.int16)
    apart = absorbers(hu, metal_hu=3000)
    assert len(apart) == len(ABSORBERS)
    assert apart.dtype == np.float32
    assert apart[2].tolist() == [0, 0, 0, 1, 1]
    assert (apart[:2, 3:] == 0).all()
    assert np.array_equal(apart[:2, :3], absorbers(hu)[:, :3])


def test_soft_tissue_vanishes_where_only_bone_is_asked_for():
    excess = bone_mu_per_mm(np.array([-100.0, 0.0, 55.0, 400.0, 1500.0]), KeV(60))
    assert (excess[:3] == 0).all()
    assert 0 < excess[3] < excess[4]
