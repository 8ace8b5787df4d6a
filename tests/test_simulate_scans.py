"""One bone scanned again, by other scanners, in another state: what changes, and what must not."""

import numpy as np
import pytest
import torch
import trimesh
from scipy.spatial import cKDTree
from skimage.measure import marching_cubes

from boneprint.errors import BoneprintError
from boneprint.simulate import HEALTHY, Condition, Scanner, individual

DRY = Scanner((3.0, 3.0, 3.0), soft_tissue_mm=0.0, blur_mm=0.5, noise_hu=5.0)
CLOSE = Scanner((2.0, 2.0, 2.0), soft_tissue_mm=0.0, blur_mm=0.0, noise_hu=5.0)
FINE = Scanner((1.5, 1.5, 1.5), soft_tissue_mm=0.0, blur_mm=0.0, noise_hu=0.0)


@pytest.fixture(scope="module")
def body():
    return individual(1, 2, laterality="L")


@pytest.fixture(scope="module")
def whole(body):
    """Vertices of the healthy surface in the bone frame, and its mesh."""
    return trimesh.Trimesh(*body.surface(), process=False)


def outline(body, **state):
    """Vertices and faces on a grid of 4 mm: as good for telling what changed, and ten times faster."""
    return body.surface(step_mm=4.0, **state)


def seen_surface(body, scanner, session=1, condition=HEALTHY):
    """The half-way surface of a dry CT, brought back to the bone frame."""
    volume, to_patient = body.scan(scanner, session, condition=condition)
    # Half-way between air and a voxel of half-filled cortex: where the edge of a dry bone lies.
    zyx, _, _, _ = marching_cubes(volume.hu.astype(np.float32), level=0.0)
    outside = np.c_[volume.to_patient(zyx[:, ::-1]), np.ones(len(zyx))]
    return (outside @ np.linalg.inv(to_patient).T)[:, :3]


def distance_to(vertices, points):
    return cKDTree(vertices).query(points)[0]


def test_surface_and_scan_are_of_one_and_the_same_bone(body, whole):
    # Before, their random warps depended on the grid, and they lay 0.2 mm apart. Signed distance along the normal.
    seen = seen_surface(body, FINE)
    _, nearest = cKDTree(whole.vertices).query(seen)
    along = ((seen - whole.vertices[nearest]) * whole.vertex_normals[nearest]).sum(axis=1)
    near = np.abs(along) < 2.0  # the surface of the marrow cavity is found as well
    shaft = near & (np.abs(seen[:, 2]) < 0.25 * body.shape["length_mm"])
    patches = [along[shaft & (seen[:, 2] > low) & (seen[:, 2] < low + 20)].mean() for low in range(-100, 100, 20)]
    assert np.abs(patches).mean() < 0.5
    assert np.std(patches) < 0.1


def test_a_coarser_scan_shows_the_same_bone(body, whole):
    for spacing in (2.0, 3.0):
        scanner = Scanner((spacing,) * 3, soft_tissue_mm=0.0, blur_mm=0.0, noise_hu=0.0)
        seen = seen_surface(body, scanner)
        outer = distance_to(seen, whole.vertices)
        assert np.median(outer) < 0.5 * spacing


def test_a_second_scan_is_another_picture_of_almost_the_same_bone(body, whole):
    first, _ = body.scan(DRY)
    second, to_patient = body.scan(DRY, 2)
    assert first.hu.shape != second.hu.shape or not np.array_equal(first.hu, second.hu)
    assert not np.allclose(to_patient, body.scan(DRY)[1])
    later, _ = outline(body, session=2)
    moved = distance_to(whole.vertices, later)
    assert moved.mean() > 0.01
    assert np.quantile(distance_to(seen_surface(body, DRY, 2), whole.vertices), 0.9) < max(DRY.spacing_mm)


def test_remodelling_of_one_visit_is_always_the_same(body):
    assert np.array_equal(body.scan(DRY, 3)[0].hu, body.scan(DRY, 3)[0].hu)
    assert not np.array_equal(outline(body, session=2)[0], outline(body, session=3)[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_gpu_computes_the_same_scan(body):
    here, there = (body.scan(DRY, device=device)[0].hu.astype(int) for device in ("cpu", "cuda"))
    assert np.quantile(np.abs(here - there), 0.999) <= 2


def test_scanners_differ_in_every_setting_and_come_back_by_their_seed():
    one, same, other = (Scanner.drawn(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == same
    assert one.spacing_mm != other.spacing_mm
    assert one.blur_mm != other.blur_mm
    assert 0.5 <= one.spacing_mm[0] <= 1.0
    assert max(Scanner.drawn(np.random.default_rng(1), "cat").spacing_mm) < 0.7


def test_a_calibration_that_is_out_moves_every_hu_but_that_of_air(body):
    out = Scanner((3.0,) * 3, soft_tissue_mm=0.0, blur_mm=0.0, noise_hu=0.0, hu_gain=1.05)
    exact = Scanner((3.0,) * 3, soft_tissue_mm=0.0, blur_mm=0.0, noise_hu=0.0)
    a, b = body.scan(exact)[0].hu.astype(float), body.scan(out)[0].hu.astype(float)
    assert np.allclose(b + 1000, 1.05 * (a + 1000), atol=1.5)


def test_a_sharp_kernel_overshoots_at_edges(body):
    smooth, sharp = (
        body.scan(Scanner((3.0,) * 3, soft_tissue_mm=0.0, blur_mm=1.5, noise_hu=0.0, sharpening=more))[0].hu
        for more in (0.0, 0.8)
    )
    assert sharp.max() > smooth.max()
    assert sharp.min() < -1005


def test_soft_tissue_is_as_thick_as_was_asked_for(body):
    def flesh_ml(thickness):
        scanner = Scanner((4.0,) * 3, soft_tissue_mm=thickness, blur_mm=0.0, noise_hu=0.0)
        hu = body.scan(scanner)[0].hu
        return ((hu > -200) & (hu < 150)).sum() * 4.0**3 / 1000

    assert flesh_ml(0.0) < flesh_ml(10.0) < flesh_ml(40.0)


def test_neighbours_are_bone_that_does_not_touch(body, whole):
    scanner = Scanner((3.0,) * 3, soft_tissue_mm=20.0, blur_mm=0.0, noise_hu=0.0)
    volume, to_patient = body.scan(scanner, condition=Condition(neighbours=True))
    alone, _ = body.scan(scanner)
    new = np.argwhere((volume.hu > 180) & (alone.hu < 180))[:, ::-1]
    points = np.c_[volume.to_patient(new.astype(float)), np.ones(len(new))] @ np.linalg.inv(to_patient).T
    gaps = distance_to(whole.vertices, points[:, :3])
    assert len(new) * 27.0 > 20_000  # mm^3: a kneecap alone has that
    assert gaps.min() > 0.3
    assert np.array_equal(outline(body)[0], outline(body, condition=Condition(neighbours=True))[0])


@pytest.mark.parametrize(("kind", "more"), [("vertebra", 3.0), ("hip", 0.8)])
def test_neighbours_of_what_is_not_long_are_whole_as_far_as_there_is_flesh(kind, more):
    body = individual(3, 0, bone=kind)
    scanner = Scanner((2.0,) * 3, soft_tissue_mm=80.0, blur_mm=0.0, noise_hu=0.0)
    alone, between = (body.scan(scanner, condition=Condition(neighbours=there))[0] for there in (False, True))
    assert np.array_equal(alone.affine, between.affine)
    assert ((between.hu > 150).sum() / (alone.hu > 150).sum() - 1) > more
    assert (between.hu[alone.hu < -900] < -900).all()
    dry, _ = body.scan(scanner, condition=Condition(neighbours=True), dry=True)
    assert dry.hu.shape == between.hu.shape
    assert not ((dry.hu > -200) & (dry.hu < 0)).mean() > 0.01
    assert (dry.hu > 150).sum() > 0.7 * (between.hu > 150).sum()


@pytest.mark.parametrize(("implant", "low_ml", "high_ml"), [("nail", 10, 60), ("plate", 3, 40), ("screws", 0.5, 10)])
def test_metal_is_there_in_the_amount_of_an_implant(body, implant, low_ml, high_ml):
    hu = body.scan(CLOSE, condition=Condition(implant=implant))[0].hu
    assert hu.max() > 2900
    assert low_ml < (hu > 2200).sum() * 8.0 / 1000 < high_ml


def test_a_stem_takes_the_place_of_the_head(body, whole):
    vertices, _ = outline(body, condition=Condition(implant="stem"))
    assert np.ptp(vertices[:, 0]) < 0.9 * np.ptp(whole.vertices[:, 0])
    assert (body.scan(DRY, condition=Condition(implant="stem"))[0].hu > 2200).sum() * 27.0 > 20_000


def test_an_implant_that_does_not_fit_is_refused_with_those_that_do():
    vertebra = individual(1, 0, bone="vertebra")
    with pytest.raises(BoneprintError, match=r"choose one of: plate, screws\."):
        vertebra.scan(DRY, condition=Condition(implant="nail"))


def test_below_a_fracture_the_bone_has_moved_and_above_it_has_not(body, whole):
    vertices, _ = outline(body, condition=Condition(fractured=True, seed=3))
    length = body.shape["length_mm"]
    above, below = vertices[vertices[:, 2] > 0.35 * length], vertices[vertices[:, 2] < -0.35 * length]
    assert distance_to(outline(body)[0], above).max() < 1e-4
    assert 0.5 < distance_to(whole.vertices, below).mean() < 0.06 * length


@pytest.mark.parametrize(("lost", "share"), [({"missing_below": 0.3}, 0.7), ({"missing_above": 0.4}, 0.6)])
def test_a_missing_end_shortens_the_bone_by_its_share(body, whole, lost, share):
    mesh = trimesh.Trimesh(*outline(body, condition=Condition(**lost)), process=False)
    assert mesh.is_watertight
    assert mesh.extents[2] / whole.extents[2] == pytest.approx(share, abs=0.05)


def test_erosion_takes_away_no_more_than_its_depth(body, whole):
    mesh = trimesh.Trimesh(*outline(body, condition=Condition(erosion_mm=2.0)), process=False)
    assert 0.02 < 1 - mesh.volume / whole.volume < 2.0 * whole.area / whole.volume
    assert distance_to(whole.vertices, mesh.vertices).max() < 3.5


def test_osteoporosis_thins_the_bone_from_within(body):
    porous = Condition(osteoporosis=1.0)
    assert np.array_equal(outline(body)[0], outline(body, condition=porous)[0])
    healthy, ill = (body.scan(DRY, condition=state)[0].hu.astype(float) for state in (HEALTHY, porous))
    assert (ill > 800).sum() < 0.8 * (healthy > 800).sum()
    assert ill.mean() < healthy.mean()


def test_the_seed_of_a_condition_decides_where(body):
    def fractured(seed):
        return outline(body, condition=Condition(fractured=True, seed=seed))[0]

    assert np.array_equal(fractured(5), fractured(5))
    assert fractured(5).shape != fractured(6).shape


def test_conditions_are_drawn_each_by_itself():
    rng = np.random.default_rng(0)
    drawn = [Condition.drawn(rng, share=0.25) for _ in range(400)]
    for present in (
        [c.neighbours for c in drawn],
        [c.implant is not None for c in drawn],
        [c.fractured for c in drawn],
        [c.missing_below + c.missing_above > 0 for c in drawn],
        [c.erosion_mm > 0 for c in drawn],
        [c.osteoporosis > 0 for c in drawn],
    ):
        assert 0.15 < np.mean(present) < 0.35  # 0.25 +- 4.6 binomial standard deviations


@pytest.mark.parametrize("wrong", [{"implant": "bolt"}, {"missing_below": 0.95}, {"osteoporosis": 2.0}])
def test_an_impossible_condition_is_refused_with_what_was_expected(wrong):
    with pytest.raises(BoneprintError, match=r"expected|choose"):
        Condition(**wrong)
