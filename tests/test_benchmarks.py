"""The accuracy benchmarks: what they render is what the product sees, and what they count is what they say."""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from boneprint import drr, two_visits
from boneprint.bone import isolate, stand_up
from boneprint.embed import load_embedder, read_card
from boneprint.evidence import ONE_PROBE, of_card
from boneprint.nouns import Radiograph, canvas_of_height
from boneprint.simulate import HEALTHY, Scanner, individual

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import carry_over
import harm
import identify
import matching
import real_bodies
import rendered_bones
import unknown_spacing


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """Two femora that are probed and one that is not."""
    folder = tmp_path_factory.mktemp("bones")
    identify.main(["femur=2+1", "--cache", str(folder), "--workers", "1", "--render-only"])
    return folder


def test_half_a_turn_and_its_mirror_image_are_what_ingest_enrols():
    volume, _ = individual(31, 0).scan(Scanner((3.0, 3.0, 3.5), 10.0, 1.0, 10.0))
    upright, _ = stand_up(isolate(volume))
    enrolled = np.stack([view.pixels for view in drr.enrolment_views(upright, "femur", long=True)])
    kept = two_visits.views_of(volume)
    assert kept["spacing_mm"] == upright.spacing_mm[0]
    (whole,) = two_visits.all_round(kept)
    np.testing.assert_allclose(whole, enrolled, atol=1e-3)  # float16 at line integrals of up to 2


def test_what_is_not_long_is_kept_tilted_as_well():
    volume, _ = individual(31, 0, bone="vertebra").scan(Scanner((2.0, 2.0, 2.0), 10.0, 1.0, 10.0))
    kept = two_visits.views_of(volume)
    assert [len(each) for each in two_visits.all_round(kept)] == [36, 72]


def test_a_cached_bone_has_the_fingerprints_of_its_radiographs(cache):
    embedder = load_embedder()
    (views,) = cache.glob("*/human-femur-31/00000-views.npz")
    gallery = matching.enrolled([views], embedder, ["femur"])
    ((canvas_mm, (_, vectors)),) = gallery.views.items()
    arrays = rendered_bones.load(views)
    (pictures,) = two_visits.all_round(arrays)
    radiographs = [Radiograph(picture, float(arrays["spacing_mm"])) for picture in pictures]
    expected = embedder.embed_views(radiographs, canvas_of_height(canvas_mm))
    assert ((vectors[0].cpu().numpy() * expected).sum(axis=1) > 1 - 1e-3).all()
    # They are kept beside the views, and embedded anew when these are.
    again = matching.enrolled([views], embedder, ["femur"]).views[canvas_mm][1]
    assert torch.equal(vectors, again)
    rendered_bones.write(views, {**arrays, "pixels": arrays["pixels"][:, ::-1]})
    assert not torch.allclose(vectors, matching.enrolled([views], embedder, ["femur"]).views[canvas_mm][1], atol=0.1)
    rendered_bones.write(views, arrays)


def test_without_its_spacing_a_radiograph_finds_its_bone_at_about_its_size(cache, tmp_path):
    words = ["femur=2+1", "--cache", str(cache), "--workers", "1", "--results", str(tmp_path)]
    unknown_spacing.main(words)
    found = json.loads((tmp_path / "unknown-spacing.json").read_text())["kinds"]["femur"]
    assert found["AP"]["known"]["rank_1"]["value"] == found["AP"]["unknown"]["rank_1"]["value"] == 1
    embedder = load_embedder()
    probes = sorted(cache.glob("*/human-femur-31/*-probes.npz"))
    gallery = matching.enrolled(sorted(cache.glob("*/human-femur-31/*-views.npz")), embedder, ["femur"] * 3)
    distance, ratio, tried = unknown_spacing.at_any_size(probes[0], "AP", gallery, embedder)
    at_its_own = matching.distances(gallery, matching.probed(probes, list(gallery.views), embedder))["AP"][0]
    # Some size that is tried is within 2 % of the true one.
    assert distance[0] < at_its_own[0] + 0.1
    assert ratio[0] == pytest.approx(1, abs=0.1)
    assert 10 < tried < 80


def test_where_views_are_discarded_their_fingerprints_are_searched(cache, tmp_path):
    def outcomes(folder, *more):
        identify.main(["femur=2+1", "--cache", str(folder), "--workers", "1", "--results", str(folder), *more])
        found = json.loads((folder / "identify.json").read_text())["kinds"]["femur"]
        return {key: each for key, each in found.items() if key != "strata"}

    discarded = outcomes(tmp_path, "--discard")
    assert not list(tmp_path.glob("*/*/*-views.npz"))
    assert len(list(tmp_path.glob("*/*/*-views-*.npz"))) == 3
    assert discarded == outcomes(tmp_path, "--score") == outcomes(cache, "--score")
    # Nothing is rendered twice.
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/*.npz")}
    outcomes(tmp_path, "--discard")
    assert kept == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*/*/*.npz")}


@pytest.mark.parametrize("text", ["femur=100", "hip=20+80@10", "lower-radius=3+2", "upper-femur=2@1"])
def test_what_is_wanted_is_read_as_it_is_written(text):
    wanted = identify.Wanted.parse(text)
    assert str(wanted) == text
    left = wanted.condition(31, 0)
    gone = left.missing_below if wanted.end == "upper" else left.missing_above
    assert (0.75 <= gone <= 0.82) == bool(wanted.end) == (left != HEALTHY)


@pytest.mark.parametrize("text", ["end-femur=3", "femur=1", "lower-tail=3", "lower-=3"])
def test_what_cannot_be_wanted_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected"):
        identify.Wanted.parse(text)


def test_tilted_views_are_further_turns_and_the_view_a_quarter_on_has_the_same_tilt():
    for count in (36, 108):
        views_deg, quarter_on = matching.views_of(count)
        angles_deg, tilts_deg = drr.enrolment_directions(long=count == 36)
        np.testing.assert_array_equal(views_deg, angles_deg)
        np.testing.assert_array_equal(tilts_deg[quarter_on], tilts_deg)
        np.testing.assert_array_equal((angles_deg[quarter_on] - angles_deg) % 360, 90)


def test_a_bone_is_as_far_as_its_nearest_view_and_two_probes_are_fused_as_the_product_fuses_them():
    rng = np.random.default_rng(5)
    views, probes = (rng.normal(size=shape).astype(np.float32) for shape in ((6, 4, 8), (3, 2, 8)))
    views, probes = (each / np.linalg.norm(each, axis=-1, keepdims=True) for each in (views, probes))
    canvases = {240.0: [0, 2, 3], 480.0: [1, 5]}  # number 4 could not be enrolled
    gallery = matching.Gallery(
        {mm: (torch.tensor(rows), torch.from_numpy(views[rows])) for mm, rows in canvases.items()},
        6,
        (4,),
        np.full(6, 2.0),
    )
    found = matching.distances(
        gallery, matching.Probes(dict.fromkeys(canvases, torch.from_numpy(probes)), np.zeros((3, 2, 3)), ())
    )
    nearest = 2 * np.linalg.norm(views[None, None] - probes[:, :, None, None], axis=-1).min(axis=3)
    nearest[:, :, 4] = np.inf
    np.testing.assert_allclose(found["AP"], nearest[:, 0], rtol=1e-5)
    np.testing.assert_allclose(found["ML"], nearest[:, 1], rtol=1e-5)
    np.testing.assert_allclose(found["AP + ML"], np.sqrt((nearest**2).mean(axis=1)), rtol=1e-5)
    # Four views are a quarter of a turn apart: the ML half of a joined picture is the next one.
    squared = np.linalg.norm(views[None, None] - probes[:, :, None, None], axis=-1) ** 2
    turned = [[0, 1], [1, 2], [2, 3], [3, 0]]
    joined = np.min([(squared[:, 0, :, ap] + squared[:, 1, :, ml]) / 2 for ap, ml in turned], axis=0)
    joined[:, 4] = np.inf
    np.testing.assert_allclose(found["AP | ML"], 2 * np.sqrt(joined), rtol=1e-5)
    # So does a pair of known directions, where no other view is within 10 degrees.
    np.testing.assert_allclose(found["AP & ML"], found["AP | ML"], rtol=1e-5)


def test_a_reduced_benchmark_writes_figures_for_both_galleries(cache, tmp_path, capsys):
    identify.main(["femur=2+1", "--cache", str(cache), "--score", "--name", "reduced", "--results", str(tmp_path)])
    result = json.loads((tmp_path / "reduced.json").read_text())
    found = result["kinds"]["femur"]
    assert result["embedder"] == load_embedder().id
    assert found["failed_to_enrol"] == found["failed_to_acquire"] == 0
    assert list(found["galleries"]) == ["2", "3"]
    for sides in found["galleries"].values():
        assert set(sides) == {"AP", "ML", "AP + ML", "AP & ML", "AP | ML"}
        assert all(each["ranks"]["10"]["share"] == 1 for each in sides.values())  # there are only three
    assert "rank 1" in capsys.readouterr().out


def test_what_harm_costs_is_told_beside_the_healthy_bone(cache, tmp_path):
    words = ["--bones", "femur=2+1", "--cache", str(cache), "--workers", "1", "--results", str(tmp_path)]
    harm.main([*words, "--only", "none", "lower-end", "--name", "harmed"])
    result = json.loads((tmp_path / "harmed.json").read_text())
    identify.main(["femur=2+1", "--cache", str(cache), "--score", "--name", "healthy", "--results", str(tmp_path)])
    healthy = json.loads((tmp_path / "healthy.json").read_text())["kinds"]["femur"]["galleries"]["3"]["AP"]
    assert list(result["harms"]) == ["none", "lower-end"]
    assert result["harms"]["none"]["AP"]["median_distance"] == healthy["median_distance"]
    assert result["harms"]["lower-end"]["AP"]["median_distance"] > healthy["median_distance"]


def test_a_run_that_was_stopped_goes_on_where_it_was(tmp_path):
    done, lost = tmp_path / "done.npz", tmp_path / "lost.npz"
    np.savez(done, drawn=np.array(1))
    rendered_bones.build({path: partial(dict, drawn=np.array(2)) for path in (done, lost)}, workers=1)
    assert rendered_bones.load(done) == {"drawn": 1}
    assert rendered_bones.load(lost) == {"drawn": 2}


def test_the_measures_of_a_gallery_that_is_told_apart_but_for_one_probe():
    distance = np.full((200, 200), 1.0)
    distance[np.arange(200), np.arange(200)] = 0.5
    distance[7, 7], distance[7, 8] = 0.9, 0.8
    found = identify.outcome(distance, None)
    assert found["ranks"]["1"]["share"] == 1 - 1 / 200
    assert found["ranks"]["2"]["share"] == 1
    # One false match in 39,800 is within a rate of 1e-3 and of 1e-4: the threshold lies below the other impostors.
    assert found["fnmr_at_fmr"]["0.001"]["fnmr"]["value"] == 0
    assert found["fnmr_at_fmr"]["0.0001"]["fnmr"]["value"] == 0
    assert found["fnir_at_fpir"]["0.01"]["missed"] == 1 / 200
    assert "at_card_threshold" not in found
    card = of_card(read_card())[ONE_PROBE]["radius"]
    at_card = identify.outcome(distance - 0.5 + card.threshold.value, card)["at_card_threshold"]
    assert (at_card["fmr"], at_card["fnmr"]["value"]) == (0, 1 / 200)
    assert 0 < at_card["cllr"] < 1


def test_a_real_surface_keeps_its_volume_and_its_shape_whatever_fills_it(tmp_path):
    surfaces = [s for s in real_bodies.surfaces(real_bodies.DATA) if s.name == "tibia JIA_MRI R"]
    if not surfaces:
        pytest.skip(f"real surfaces not there: {real_bodies.DATA / 'meshes'}")
    (surface,) = surfaces
    signed = real_bodies.distances(surface)
    tibia = max(trimesh.load(surface.file).split(only_watertight=False), key=lambda part: part.area)
    assert np.count_nonzero(signed["mm"] < 0) == pytest.approx(tibia.volume, rel=0.01)  # cells of 1 mm

    path = real_bodies.distances_path(tmp_path, surface)
    path.parent.mkdir()
    np.savez(path, **signed)
    (first, _), (second, _) = (real_bodies.body(surface, interior, 1, tmp_path) for interior in (0, 1))
    np.testing.assert_array_equal(first.surface(step_mm=3.0)[0], second.surface(step_mm=3.0)[0])
    assert first.shape["cortex_mid"] != second.shape["cortex_mid"]


def test_without_real_surfaces_carrying_over_is_skipped_with_a_reason(tmp_path, capsys):
    carry_over.main(["--data", str(tmp_path)])
    assert f"skipped: no real surfaces in {tmp_path}" in capsys.readouterr().out
