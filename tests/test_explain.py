"""What a fingerprint rests on: maps that add up, that covering the picture bears out, and that hang on the weights."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import refused, run

from boneprint import explanation
from boneprint.database import Database
from boneprint.embed import SHIPPED, weights
from boneprint.embed.explain import explain, likeness, randomised
from boneprint.embed.preprocess import CHANNELS, preprocess
from boneprint.nouns import canvas_of_height
from boneprint.read import read_radiograph

TRUTH = "SIM-4711-0002"


@pytest.fixture(scope="module")
def network():
    return weights.load(SHIPPED)[0]


@pytest.fixture(scope="module")
def pictures(probe_pngs):
    """Four radiographs of femora as the network sees them: AP, another AP, ML; and AP of someone else."""
    radiographs = [read_radiograph(probe_pngs[name]) for name in ("ap", "ap-again", "ml", "stranger")]
    return preprocess(radiographs, canvas_of_height(560.0))


def fingerprints(network, pictures):
    with torch.inference_mode():
        return network(pictures).numpy()


@pytest.mark.parametrize("size", [(224, 128), (208, 208)])
def test_the_shares_of_a_similarity_add_up_to_it(network, size):
    """Oracle: the cosine of the network's own fingerprints."""
    pair = torch.rand(2, CHANNELS, *size, generator=torch.Generator().manual_seed(0))
    first, second = fingerprints(network, pair)
    found = explain(network, pair[0], second)
    assert found.similarity == pytest.approx(float(first @ second), abs=1e-5)
    assert found.shares.sum() + found.remainder == pytest.approx(found.similarity, abs=1e-6)
    # What the network adds to every picture is its bias alone.
    with torch.inference_mode():
        bias = float(network.branch(pair).reduce.bias @ torch.from_numpy(second))
    length = bias / found.remainder
    assert length > 0


def test_grad_cam_is_the_published_formula(network, pictures):
    """Oracle: on this canvas nothing is pooled, so the slope of the score is the last matrix times the target."""
    target = fingerprints(network, pictures)[1]
    kept = []
    handle = network.tall.stages.register_forward_hook(lambda _, __, output: kept.append(output))
    fingerprints(network, pictures[:1])
    handle.remove()
    features = sum(kept)[0].numpy()  # of all glances
    slope = (network.tall.reduce.weight.detach().numpy().T @ target).reshape(features.shape)
    cam = np.maximum((features * slope.mean(axis=(1, 2), keepdims=True)).sum(axis=0), 0)
    enlarged = torch.nn.functional.interpolate(torch.from_numpy(cam)[None, None], size=(192, 96), mode="bilinear")
    found = explain(network, pictures[0], target).grad_cam
    assert np.allclose(found, enlarged[0, 0].numpy() / enlarged.max().item(), atol=1e-4)


def test_covering_what_a_map_points_at_costs_more_likeness_than_covering_what_it_does_not(network, pictures):
    """Oracle: M. D. Zeiler, R. Fergus, ECCV 2014: cover a place and embed again."""
    own = fingerprints(network, pictures)
    for picture, target in ((pictures[0], own[1]), (pictures[1], own[0])):
        found = explain(network, picture, target)
        canvases = network.tall.placed(picture[None])[:, 0].detach()
        covered = []
        for row, column in np.ndindex(found.shares.shape):
            covered.append(canvases.clone())
            covered[-1][..., 16 * row : 16 * row + 16, 16 * column : 16 * column + 16] = 0
        with torch.inference_mode():
            likeness_left = network.tall.embed(torch.stack(covered, dim=1)).numpy() @ target
        lost = (found.similarity - likeness_left).reshape(found.shares.shape)
        strong = found.shares >= np.quantile(found.shares, 2 / 3)
        weak = found.shares <= np.quantile(found.shares, 1 / 3)
        assert lost[strong].mean() > 2 * abs(lost[weak].mean())


def test_weights_that_have_learnt_nothing_give_another_map(network, pictures):
    """J. Adebayo et al., NeurIPS 2018; the rank correlation stays below 0.4 on average (measured: 0.17).

    It need not be nothing: where there is no bone, no network finds anything.
    """
    targets = fingerprints(network, pictures)[[1, 0, 0, 1]]
    cams, shares = [], []
    for blank in (randomised(network, seed) for seed in range(6)):
        for picture, target in zip(pictures, targets):
            learnt, unlearnt = (explain(each, picture, target) for each in (network, blank))
            shares.append(likeness(learnt.shares, unlearnt.shares))
            if unlearnt.grad_cam.any():
                cams.append(likeness(*(each.grad_cam[learnt.marked] for each in (learnt, unlearnt))))
    assert len(cams) >= 12
    assert np.mean(cams) < 0.4
    assert np.mean(shares) < 0.4
    assert likeness(learnt.grad_cam, learnt.grad_cam) == pytest.approx(1.0)


def test_another_target_gives_another_map(network, pictures):
    own = fingerprints(network, pictures)
    same, other = (explain(network, pictures[0], own[to]).shares for to in (1, 3))
    assert same.sum() > other.sum()


def test_explaining_leaves_the_network_as_it_was(network, pictures):
    before = fingerprints(network, pictures)
    explain(network, pictures[0])
    assert all(parameter.grad is None for parameter in network.parameters())
    assert np.array_equal(fingerprints(network, pictures), before)


def test_weights_from_a_seed_come_again_and_leave_chance_alone(network):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second = randomised(network, 1), randomised(network, 1)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first.tall.reduce.weight, second.tall.reduce.weight)
    assert not torch.equal(first.tall.reduce.weight, network.tall.reduce.weight)


def bone_of(bones_h5, subject):
    with Database.open(bones_h5) as database:
        return next(r.bone_id for r in database.store.gallery().references if r.subject_id == subject)


def test_a_pair_is_explained_from_both_sides(bones_h5, probe_pngs, tmp_path):
    out = tmp_path / "pair.png"
    result = run(
        "explain", probe_pngs["ap"], "--candidate", bone_of(bones_h5, TRUTH), "--db", bones_h5, "-o", out, "--json"
    )
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    # The view that is made again is the one that was enrolled: both maps sum to one similarity, that of the distance.
    expected = 1 - (said["candidate"]["distance"] / said["candidate"]["factor"]) ** 2 / 2
    assert said["probe"]["similarity"] == pytest.approx(expected, abs=1e-4)
    assert said["view"]["similarity"] == pytest.approx(expected, abs=1e-3)
    assert np.shape(said["probe"]["shares"]) == (12, 6)
    picture = np.asarray(Image.open(out)).astype(int)
    orange = (picture[..., 0] - picture[..., 2]) > 60
    assert orange.mean() > 0.02


def test_the_words_are_those_of_a_lead(bones_h5, probe_pngs, tmp_path):
    candidate = bone_of(bones_h5, TRUTH)
    result = run("explain", probe_pngs["ap"], "--candidate", candidate, "--db", bones_h5, "-o", tmp_path / "p.png")
    assert result.exit_code == 0, result.stderr
    assert "supports it with" in result.stdout
    assert "lead for an examiner, not an identification" in result.stdout
    assert "identified" not in result.stdout


def test_a_probe_alone_needs_no_database(probe_pngs, tmp_path):
    out = tmp_path / "alone.png"
    result = run("explain", probe_pngs["ml"], "-o", out, "--db", tmp_path / "none.h5", "--json")
    assert result.exit_code == 0, result.stderr
    said = json.loads(result.stdout)
    assert (said["candidate"], said["view"]) == (None, None)
    assert said["probe"]["similarity"] == pytest.approx(1, abs=1e-4)
    assert Image.open(out).size[0] > 600


def test_a_candidate_whose_ct_is_gone_is_explained_from_the_probes_side(bones_h5, probe_pngs, cohort_dir, tmp_path):
    away = (cohort_dir / TRUTH).rename(tmp_path / "away")
    try:
        with Database.open(bones_h5) as database:
            found = explanation.of_pair(database, read_radiograph(probe_pngs["ap"]), bone_of(bones_h5, TRUTH))
    finally:
        away.rename(cohort_dir / TRUTH)
    assert found.view is None
    assert found.probe.maps.similarity == pytest.approx(
        1 - (found.candidate.distance / found.candidate.factor) ** 2 / 2, abs=1e-4
    )


def test_a_candidate_that_is_not_enrolled_is_refused(bones_h5, probe_pngs, tmp_path):
    out = tmp_path / "p.png"
    assert refused(run("explain", probe_pngs["ap"], "--candidate", "nobody", "--db", bones_h5, "-o", out))
    assert not out.exists()
