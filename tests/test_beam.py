"""Beams against Beer and Lambert, measured half-value layers and brute force."""

import numpy as np
import pytest
import torch

from boneprint.drr.attenuation import ABSORBERS, Material, linear_attenuation, mass_attenuation_at
from boneprint.drr.beam import Beam
from boneprint.drr.energy import KeV, KVp
from boneprint.errors import BoneprintError

# Mass energy absorption of dry air, cm2/g: NISTIR 5632, table 4.
AIR_KEV = (10, 15, 20, 30, 40, 50, 60, 80, 100, 150)
AIR_CM2_PER_G = (4.742, 1.334, 0.5389, 0.1537, 0.06833, 0.04098, 0.03041, 0.02407, 0.02325, 0.02496)
# First half-value layer in mm of aluminium behind 2.5 mm of it: SpekPy 2.5.4's own (12 degrees, its own coefficients),
# and measured by PTB at an anode of 20 degrees (U. Ankerhold, PTB-Dos-34, 2000, RQR).
SPEKPY_MM_AL = {50: 1.750, 60: 2.082, 70: 2.397, 81: 2.770, 90: 3.092, 100: 3.458, 120: 4.219}
PTB_MM_AL = {40: 1.36, 50: 1.72, 60: 2.02, 70: 2.29, 80: 2.59, 90: 2.91, 100: 3.23}


def flat(*millimetres):
    """(M, 1, 1) paths."""
    return np.array(millimetres, np.float32)[:, None, None]


def half_value_layer_mm(beam):
    """Of air kerma, by bisection."""
    energies = np.array(beam.energies_kev)
    kerma = np.array(beam.weights) * np.exp(np.interp(np.log(energies), np.log(AIR_KEV), np.log(AIR_CM2_PER_G)))
    per_mm = mass_attenuation_at(Material.ALUMINIUM, energies) * 0.2699
    low, high = 0.0, 20.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if (kerma * np.exp(-per_mm * middle)).sum() > kerma.sum() / 2 else (low, middle)
    return low


@pytest.mark.parametrize("kvp", SPEKPY_MM_AL)
def test_half_value_layers_are_spekpys(kvp):
    assert half_value_layer_mm(Beam.spectrum(KVp(kvp))) == pytest.approx(SPEKPY_MM_AL[kvp], rel=0.015)


@pytest.mark.parametrize("kvp", PTB_MM_AL)
def test_half_value_layers_are_a_little_above_those_measured_at_a_flatter_anode(kvp):
    assert 1.0 < half_value_layer_mm(Beam.spectrum(KVp(kvp))) / PTB_MM_AL[kvp] < 1.08


def test_filtration_hardens_as_iec_61267_has_it():
    # RQR 5: 70 kV is filtered until the half-value layer is 2.58 mm; RQR 9: 120 kV, 5.00 mm.
    assert half_value_layer_mm(Beam.spectrum(KVp(70), 2.85)) == pytest.approx(2.58, rel=0.015)
    assert half_value_layer_mm(Beam.spectrum(KVp(120), 3.55)) == pytest.approx(5.00, rel=0.015)


def test_no_photon_has_more_energy_than_the_tubes_voltage_gives():
    for kvp in (40, 50.5, 72.3, 81, 119.9, 150):
        energies = Beam.spectrum(KVp(kvp)).energies_kev
        assert kvp - 2 < max(energies) < kvp


@pytest.mark.parametrize(("kev", "water", "bone"), [(60, 0.2059, 0.3148), (150, 0.1505, 0.1480)])
def test_forty_mm_of_water_and_ten_of_cortical_bone_transmit_what_nist_says(kev, water, bone):
    reading = Beam.monochromatic(KeV(kev)).line_integral(flat(40, 10), (Material.WATER, Material.BONE))
    assert reading == pytest.approx(4 * water * 1.0 + 1 * bone * 1.92, rel=1e-3)


def test_a_spectrum_is_the_sum_of_its_energies():
    beam, paths = Beam.spectrum(KVp(81)), np.random.default_rng(1).uniform(0, 40, (3, 4, 5)).astype(np.float32)
    expected = np.zeros((4, 5))
    for kev, weight in zip(beam.energies_kev, beam.weights):
        mu = [linear_attenuation(material, KeV(kev)) for material in ABSORBERS]
        expected += weight * np.exp(-np.tensordot(mu, paths.astype(np.float64), 1))
    assert beam.line_integral(paths) == pytest.approx(-np.log(expected), rel=1e-5)
    assert beam.transmission(paths) == pytest.approx(expected, rel=1e-4)


def test_a_beam_hardens_on_its_way_and_photons_of_one_energy_do_not():
    thickness = np.array([1, 5, 20, 60], np.float32)
    paths = np.stack([np.zeros_like(thickness), thickness])[:, None, :]
    per_mm = Beam.spectrum(KVp(70)).line_integral(paths)[0] / thickness
    assert (np.diff(per_mm) < -0.002).all()
    assert np.ptp(Beam.monochromatic(KeV(60)).line_integral(paths)[0] / thickness) < 1e-6
    filtered = Beam.spectrum(KVp(70), 6.0).line_integral(paths)[0] / thickness
    assert (filtered < per_mm).all()


@pytest.mark.parametrize("kvp", [50, 70, 81, 120])
def test_eight_energies_do_for_a_whole_spectrum(kvp):
    soft, bone = np.meshgrid(np.linspace(0, 200, 9), np.linspace(0, 20, 5))
    paths = np.stack([soft, bone])
    whole = Beam.spectrum(KVp(kvp))
    thin = whole.thinned()
    assert len(thin.energies_kev) == 8
    assert np.abs(thin.line_integral(paths) - whole.line_integral(paths)).max() < 3e-4
    assert thin.thinned(8) == thin


def test_nothing_attenuates_nothing_and_thick_metal_stays_finite():
    beam = Beam.spectrum(KVp(60))
    assert beam.line_integral(flat(0, 0, 0)) == pytest.approx(0, abs=1e-6)
    assert 50 < beam.line_integral(flat(0, 0, 300)).item() < np.inf


def test_tensors_read_what_arrays_read_in_batches_too():
    paths = np.random.default_rng(2).uniform(0, 60, (2, 5, 2, 6, 7)).astype(np.float32)
    for beam in (Beam.monochromatic(KeV(60)), Beam.spectrum(KVp(100)).thinned()):
        read = beam.line_integral(torch.from_numpy(paths))
        assert read.shape == (2, 5, 6, 7)
        assert read.numpy() == pytest.approx(beam.line_integral(paths), rel=1e-5, abs=1e-6)
        assert beam.line_integral(paths).dtype == np.float32


def test_gradients_agree_with_finite_differences():
    paths = torch.rand(3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 20
    assert torch.autograd.gradcheck(Beam.spectrum(KVp(70)).thinned(4).line_integral, paths.requires_grad_())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Beam.spectrum(KeV(70)), r"write KVp\(70\)"),
        (lambda: Beam.spectrum(70), r"write KVp\(70\)"),
        (lambda: Beam.monochromatic(KVp(70)), r"write KeV\(60\)"),
        (lambda: Beam.spectrum(KVp(39)), "expected 40 to 150 kVp"),
        (lambda: Beam.spectrum(KVp(70), 1.0), "expected 2.5 or more"),
        (lambda: Beam.spectrum(KVp(70)).thinned(0), "at least one"),
        (lambda: Beam((60.0, 70.0), (0.5, 0.4)), "with sum 1"),
        (lambda: Beam((60.0,), (0.5, 0.5)), "1 energies and 2 weights"),
        (lambda: Beam.monochromatic(KeV(60)).line_integral(np.zeros((4, 2, 2), np.float32)), "M of 1 to 3"),
        (lambda: Beam.monochromatic(KeV(60)).line_integral(np.zeros((2, 2), np.float32)), "M, H, W"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(BoneprintError, match=message):
        make()
