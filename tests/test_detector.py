"""Each step of an exposure as physics, on every device at hand."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from boneprint.drr.attenuation import Material, linear_attenuation
from boneprint.drr.beam import Beam
from boneprint.drr.detector import blurred, expose
from boneprint.drr.energy import KeV, KVp
from boneprint.drr.exposure import (
    Collimation,
    Display,
    Exposure,
    LookUp,
    Marker,
    Photometric,
    focal_blur_mm,
)
from boneprint.errors import BoneprintError

PIXEL = 0.5
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]


def limb(height=120, width=90):
    """Line integrals of a bone in soft tissue, with air at both sides."""
    _, x = np.mgrid[:height, :width] - np.array([height, width])[:, None, None] / 2
    soft = np.sqrt(np.clip(1 - (x / 35) ** 2, 0, None)) * 1.5
    return (soft + np.sqrt(np.clip(1 - (x / 12) ** 2, 0, None))).astype(np.float32)


def field(line_integral, size=(200, 200)):
    return np.full(size, line_integral, np.float32)


def test_an_exposure_that_asks_for_nothing_changes_nothing():
    view = limb()
    assert np.array_equal(expose(view, PIXEL, Exposure(), seed=1), view)


@pytest.mark.parametrize("line_integral", [0.0, 1.0, 2.0])
def test_quantum_noise_of_a_line_integral_has_variance_one_over_the_quanta_counted(line_integral):
    noisy = expose(field(line_integral), PIXEL, Exposure(quanta=5000), seed=1)
    assert noisy.var() == pytest.approx(np.exp(line_integral) / 5000, rel=0.03)
    assert noisy.mean() == pytest.approx(line_integral, abs=2e-3)


def test_electronic_noise_adds_its_variance_to_that_of_the_quanta():
    noisy = expose(field(1.0), PIXEL, Exposure(quanta=5000, electronic_quanta=40), seed=2)
    counted = 5000 / np.e
    assert noisy.var() == pytest.approx(1 / counted + (40 / counted) ** 2, rel=0.04)


@pytest.mark.parametrize("line_integral", [0.5, 2.0, 8.0])
def test_an_exposure_control_counts_as_many_quanta_behind_a_thin_part_as_behind_a_thick_one(line_integral):
    part = field(line_integral)
    part[:, :60] = 0  # air beside it
    behind = expose(part, PIXEL, Exposure(quanta_behind=20_000), seed=1)[:, 60:]
    assert behind.var() == pytest.approx(1 / (20_000 * PIXEL**2), rel=0.03)
    assert behind.mean() == pytest.approx(line_integral, abs=2e-3)


def test_an_exposure_control_measures_scatter_and_only_what_the_shutters_leave():
    part = field(2.0)
    scattered = expose(part, PIXEL, Exposure(quanta_behind=20_000, scatter=0.5), seed=1)
    assert scattered.var() == pytest.approx(1 / (20_000 * PIXEL**2), rel=0.03)
    shut = expose(part, PIXEL, Exposure(quanta_behind=20_000, collimation=Collimation(2, 0.5)), seed=1)
    assert shut[:, 80:120].var() == pytest.approx(1 / (40_000 * PIXEL**2), rel=0.05)


def test_the_scintillator_smooths_quantum_noise_and_the_focal_spot_does_not():
    sharp, focal, scintillator = (
        expose(field(1.0), PIXEL, Exposure(quanta=5000, **blur), seed=3).var()
        for blur in ({}, {"focal_blur_mm": 1.0}, {"detector_blur_mm": 1.0})
    )
    assert focal == pytest.approx(sharp, rel=0.03)
    assert scintillator == pytest.approx(sharp / (4 * np.pi * (1.0 / PIXEL) ** 2), rel=0.1)


@pytest.mark.parametrize("blur", ["focal_blur_mm", "detector_blur_mm"])
def test_blur_keeps_the_signal_and_spreads_an_edge_by_its_sigma(blur):
    edge = np.where(np.arange(200) < 100, 0.0, 1.0).astype(np.float32)[None, :].repeat(20, axis=0)
    transmitted = np.exp(-expose(edge, PIXEL, Exposure(**{blur: 2.0}), seed=0))
    assert transmitted.mean() == pytest.approx(np.exp(-edge).mean(), rel=1e-5)
    spread = -np.diff(transmitted[10])
    place = np.arange(199) + 0.5
    centre = (spread * place).sum() / spread.sum()
    assert PIXEL * np.sqrt((spread * (place - centre) ** 2).sum() / spread.sum()) == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("sigma_px", [0.4, 2.5, 7.9, 8.1, 60, 400])
def test_a_blur_is_scipys_and_keeps_the_mean(sigma_px):
    view = limb(211, 97)
    made = blurred(torch.from_numpy(view), sigma_px).numpy()
    assert made == pytest.approx(ndimage.gaussian_filter(view, sigma_px, truncate=6), abs=2e-4)
    assert made.mean() == pytest.approx(view.mean(), rel=1e-5)


def test_a_focal_spot_blurs_by_its_magnified_share():
    assert focal_blur_mm(1.0, 1.0) == 0
    assert 2.3548 * focal_blur_mm(1.0, 2.0) == pytest.approx(0.5, rel=1e-4)
    with pytest.raises(BoneprintError, match="at least 1"):
        focal_blur_mm(1.0, 0.5)


def test_scatter_lowers_contrast_and_spares_the_open_beam():
    plain, veiled = (expose(limb(), PIXEL, Exposure(scatter=s, scatter_mm=5.0), seed=0) for s in (0.0, 0.3))
    assert np.ptp(veiled) < 0.95 * np.ptp(plain)
    assert (veiled <= plain + 1e-6).all()
    assert np.abs(expose(field(0.0), PIXEL, Exposure(scatter=0.3), seed=0)).max() < 1e-6


def test_scatter_in_an_even_field_is_its_fraction_of_p_ln_p():
    veiled = expose(field(1.5), PIXEL, Exposure(scatter=0.3, scatter_mm=25.0), seed=0)
    p = np.exp(-1.5)
    assert veiled == pytest.approx(-np.log(p + 0.3 * p * 1.5), rel=1e-4)


def test_gain_adds_a_constant_and_its_variation_noise_that_is_the_same_at_any_signal():
    view = limb()
    assert expose(view, PIXEL, Exposure(gain=2.0), seed=0) == pytest.approx(view - np.log(2), abs=1e-5)
    for line_integral in (0.0, 3.0):
        uneven = expose(field(line_integral), PIXEL, Exposure(gain_variation=0.02), seed=4)
        assert uneven.std() == pytest.approx(0.02, rel=0.03)


def test_saturation_makes_everything_brighter_alike():
    view = limb()
    burnt = expose(view, PIXEL, Exposure(saturation=0.5), seed=0)
    assert burnt == pytest.approx(np.maximum(view, np.log(2)), abs=1e-5)


def test_shutters_leave_their_rectangle_open_at_any_turn():
    for turn in (0.0, 4.0):
        shutters = Collimation(0.5, 0.6, turn, penumbra_mm=0.2)
        read = expose(field(0.0, (200, 160)), PIXEL, Exposure(collimation=shutters), seed=0)
        assert (read < 0.5).mean() == pytest.approx(0.5 * 0.6, rel=0.02)
        assert read[100, 80] == pytest.approx(0, abs=1e-5)
        assert read[:20].min() > 5
    turned = read < 0.5
    first = [np.flatnonzero(turned[row])[0] for row in (70, 130)]
    assert first[1] - first[0] == pytest.approx(-60 * np.tan(np.deg2rad(-4.0)), abs=1.5)


def test_a_marker_has_its_size_and_place_and_absorbs_along_its_chord():
    ball = Marker(20.0, 0.25, 0.75, Material.ALUMINIUM, KeV(60))
    read = expose(field(0.5, (201, 161)), PIXEL, Exposure(marker=ball), seed=0) - 0.5
    rows, columns = np.nonzero(read > 1e-3)
    assert np.ptp(rows) * PIXEL == pytest.approx(20, abs=2 * PIXEL)
    assert np.ptp(columns) * PIXEL == pytest.approx(20, abs=2 * PIXEL)
    assert (rows.mean(), columns.mean()) == pytest.approx((50, 120), abs=0.5)
    assert read[50, 120] == pytest.approx(20 * linear_attenuation(Material.ALUMINIUM, KeV(60)), rel=1e-4)
    assert read[50, 132] == pytest.approx(16 * linear_attenuation(Material.ALUMINIUM, KeV(60)), rel=1e-4)


def test_a_beam_hardens_in_body_and_marker_together():
    beam = Beam.spectrum(KVp(70))
    paths = np.stack([field(100.0, (41, 41)), field(10.0, (41, 41))])
    ball = Marker(8.0, 0.5, 0.5, Material.STEEL)
    read = expose(paths, PIXEL, Exposure(beam=beam, marker=ball), seed=0)
    materials = (Material.SOFT_TISSUE, Material.BONE, Material.STEEL)
    centre = np.array([100, 10, 8], np.float32)[:, None, None]
    assert read[20, 20] == pytest.approx(beam.line_integral(centre, materials).item(), rel=1e-5)
    assert read[0, 0] == pytest.approx(beam.line_integral(paths)[0, 0], rel=1e-5)


def test_look_ups_rise_from_0_to_1_within_the_window():
    ramp = np.linspace(1, 3, 100 * 100, dtype=np.float32).reshape(100, 100)

    def shown(**display):
        return expose(ramp, PIXEL, Exposure(display=Display(window=(0.0, 1.0), **display)), seed=0)

    log = shown()
    assert log == pytest.approx((ramp - 1) / 2, abs=1e-5)
    assert shown(look_up=LookUp.GAMMA, gamma=0.5) == pytest.approx(np.sqrt(log), abs=1e-4)
    film = shown(look_up=LookUp.SIGMOID, contrast=8.0)
    assert (film.min(), film.max()) == pytest.approx((0, 1), abs=1e-6)
    assert film + film[::-1, ::-1] == pytest.approx(1, abs=1e-4)
    assert (np.diff(film.ravel()) > -1e-7).all()
    middle = slice(4990, 5010)
    assert np.ptp(film.ravel()[middle]) > 1.5 * np.ptp(log.ravel()[middle])


def test_the_window_clips_its_quantiles():
    values = np.random.default_rng(5).random((300, 300)).astype(np.float32)
    shown = expose(values, PIXEL, Exposure(display=Display(window=(0.1, 0.8))), seed=0)
    assert (shown == 0).mean() == pytest.approx(0.1, abs=0.01)
    assert (shown == 1).mean() == pytest.approx(0.2, abs=0.01)


def test_monochrome1_is_the_inverse_of_monochrome2():
    two, one = (
        expose(limb(), PIXEL, Exposure(quanta=3000, display=Display(photometric=which)), seed=6)
        for which in (Photometric.MONOCHROME2, Photometric.MONOCHROME1)
    )
    assert one == pytest.approx(1 - two, abs=1e-6)
    assert two[60, 45] > two[60, 2] + 0.5, "bone is bright in MONOCHROME2"


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_values_have_as_many_levels_as_the_bits_hold(bits):
    ramp = np.linspace(0, 1, 400 * 400, dtype=np.float32).reshape(400, 400)
    shown = expose(ramp, PIXEL, Exposure(display=Display(bits=bits, window=(0.0, 1.0))), seed=0)
    levels = shown.astype(np.float64) * (2**bits - 1)
    assert np.abs(levels - np.rint(levels)).max() < 0.01
    assert len(np.unique(np.rint(levels))) == 2**bits


@pytest.mark.parametrize("device", DEVICES)
def test_a_tensor_stays_on_its_device_and_a_seed_gives_one_picture(device):
    view = torch.from_numpy(limb()).to(device)
    exposure = replace(Exposure.varied(1), beam=None)
    first, again, other = (expose(view, PIXEL, exposure, seed=seed) for seed in (1, 1, 2))
    assert first.device == view.device
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_is_its_views_each_with_its_seed_and_exposure(device):
    views = torch.from_numpy(np.stack([limb(), limb()[:, ::-1], limb() / 2])).to(device)
    exposures = [Exposure.random(seed) for seed in range(3)]
    batch = expose(views, PIXEL, exposures, seed=[7, 8, 9])
    for view, exposure, seed, made in zip(views, exposures, (7, 8, 9), batch):
        assert torch.equal(made, expose(view, PIXEL, exposure, seed=seed))
    shared = expose(views, PIXEL, exposures[0], seed=range(3))
    assert torch.equal(shared[1], expose(views[1], PIXEL, exposures[0], seed=1))


def test_arrays_give_what_tensors_give_and_are_left_alone():
    view = limb()
    before = view.copy()
    view.flags.writeable = False
    made = expose(view, PIXEL, Exposure.random(3), seed=4)
    assert isinstance(made, np.ndarray)
    assert made.dtype == np.float32
    assert np.array_equal(view, before)
    assert np.array_equal(made, expose(torch.from_numpy(before), PIXEL, Exposure.random(3), seed=4).numpy())


def test_a_natural_exposure_shows_bone_bright_whatever_the_seed():
    for seed in range(10):
        exposure = Exposure.random(seed)
        assert 0.2 <= exposure.focal_blur_mm <= 0.7
        assert 5_000 <= exposure.quanta_behind <= 150_000
        shown = expose(limb(), PIXEL, exposure, seed=seed)
        assert 0 <= shown.min() < shown.max() <= 1
        assert shown[40:80, 40:50].mean() > shown[40:80, :8].mean() + 0.5
    assert Exposure.random(1) == Exposure.random(1) != Exposure.random(2)


@pytest.mark.parametrize("device", DEVICES)
def test_varied_exposures_of_paths_are_pictures_of_every_kind(device):
    paths = torch.from_numpy(np.stack([limb() * 60, limb() * 8])).to(device)
    exposures = [Exposure.varied(seed) for seed in range(40)]
    pictures = expose(paths.expand(40, -1, -1, -1), PIXEL, exposures, seed=range(40))
    assert pictures.shape == (40, 120, 90)
    assert ((pictures >= 0) & (pictures <= 1)).all()
    assert (pictures.flatten(1).std(dim=1) > 0.01).all()
    assert {e.display.look_up for e in exposures} == set(LookUp)
    assert {e.display.photometric for e in exposures} == set(Photometric)
    assert {e.display.bits for e in exposures} == {8, 16}
    for part in ("marker", "collimation", "saturation"):
        assert {getattr(e, part) is None for e in exposures} == {True, False}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Exposure(quanta=0), "quanta is 0, expected above 0"),
        (lambda: Exposure(scatter=-0.1), "scatter is -0.1, expected 0 or more"),
        (lambda: Exposure(focal_blur_mm=float("nan")), "focal_blur_mm is nan"),
        (lambda: Exposure(electronic_quanta=3), "quanta=..."),
        (lambda: Exposure(quanta_behind=-1), "quanta_behind is -1, expected above 0"),
        (lambda: Exposure(quanta=9, quanta_behind=9), "expected one of the two"),
        (lambda: Display(bits=12), "expected 8, 16 or None"),
        (lambda: Display(window=(0.9, 0.1)), "two rising quantiles"),
        (lambda: Marker(0), "diameter_mm is 0"),
        (lambda: Collimation(0, 1), "height_share is 0"),
        (lambda: expose(limb(), 0.0, Exposure(), seed=1), "positive pitch"),
        (lambda: expose(limb()[0], PIXEL, Exposure(), seed=1), "line integrals"),
        (lambda: expose(np.stack([limb()] * 3), PIXEL, Exposure(), seed=1), "a batch needs a seed for each view"),
        (lambda: expose(np.stack([limb()] * 3), PIXEL, Exposure(), seed=[1, 2]), "3 views, 3 exposures, 2 seeds"),
        (lambda: expose(limb(), PIXEL, Exposure(beam=Beam.monochromatic(KeV(60))), seed=1), "paths for its beam"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(BoneprintError, match=message):
        wrong()
