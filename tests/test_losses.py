"""Metric-learning losses against their definitions, written as plain loops."""

import itertools

import numpy as np
import pytest
import torch

from boneprint.embed.losses import MINING, triplet, triplet_accuracy
from boneprint.errors import BoneprintError


def rows(n=12, bones=4, dimension=6, seed=0):
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n, dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return torch.from_numpy(vectors.astype(np.float32)), torch.from_numpy(rng.permutation(n) % bones)


def triplets(labels):
    """Every (anchor, positive, negative)."""
    numbers = range(len(labels))
    return [
        (a, p, n) for a, p, n in itertools.product(numbers, repeat=3) if a != p and labels[a] == labels[p] != labels[n]
    ]


def distances(vectors, squared):
    apart = ((vectors[:, None] - vectors[None, :]).numpy().astype(np.float64) ** 2).sum(axis=2)
    return apart if squared else np.sqrt(apart)


def mined(vectors, labels, squared, mining):
    """The triplets that a strategy chooses, by its definition."""
    d, every = distances(vectors, squared), triplets(labels.tolist())
    if mining == "all":
        return every
    chosen = []
    if mining == "batch-hard":
        for a in sorted({a for a, _, _ in every}):
            p = max((p for b, p, _ in every if b == a), key=lambda p: d[a, p])
            n = min((n for b, _, n in every if b == a), key=lambda n: d[a, n])
            chosen.append((a, p, n))
        return chosen
    for a, p in sorted({(a, p) for a, p, _ in every}):
        wrong = [n for b, q, n in every if (b, q) == (a, p)]
        beyond = [n for n in wrong if d[a, n] > d[a, p]]
        n = min(beyond, key=lambda n: d[a, n]) if beyond else max(wrong, key=lambda n: d[a, n])
        chosen.append((a, p, n))
    return chosen


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("squared", [True, False])
@pytest.mark.parametrize("margin", [0.1, 1.0])
def test_triplet_loss_is_the_mean_of_its_definition_over_the_mined_triplets(mining, squared, margin):
    vectors, labels = rows()
    d = distances(vectors, squared)
    expected = np.mean([max(0.0, d[a, p] - d[a, n] + margin) for a, p, n in mined(vectors, labels, squared, mining)])
    assert expected > 0
    assert triplet(vectors, labels, margin, squared, mining).item() == pytest.approx(expected, rel=1e-4)


def test_the_default_is_s1s_margin_on_squared_distances():
    vectors, labels = rows()
    assert triplet(vectors, labels) == triplet(vectors, labels, 0.1, True, "batch-hard")


def test_triplet_accuracy_is_the_share_of_triplets_that_keep_the_margin():
    vectors, labels = rows(n=16)
    d = distances(vectors, squared=True)
    expected = np.mean([d[a, p] + 0.1 < d[a, n] for a, p, n in triplets(labels.tolist())])
    assert 0 < expected < 1
    assert triplet_accuracy(vectors, labels).item() == pytest.approx(expected)


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("squared", [True, False])
def test_bones_that_are_apart_by_more_than_the_margin_cost_nothing_and_pull_nothing(mining, squared):
    vectors = torch.eye(4).repeat_interleave(3, dim=0).requires_grad_()
    labels = torch.arange(4).repeat_interleave(3)
    loss = triplet(vectors, labels, 0.1, squared, mining)
    loss.backward()
    assert loss.item() == 0
    assert not vectors.grad.any()
    assert triplet_accuracy(vectors.detach(), labels).item() == 1


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("squared", [True, False])
def test_its_slope_is_that_of_the_mined_triplets(mining, squared):
    vectors, labels = rows()
    chosen = mined(vectors, labels, squared, mining)
    vectors.requires_grad_()
    apart = (vectors[:, None] - vectors[None, :]).square().sum(dim=2)
    d = apart if squared else (apart + 1e-12).sqrt()
    expected = torch.stack([torch.relu(d[a, p] - d[a, n] + 0.1) for a, p, n in chosen]).mean()
    slopes = [
        torch.autograd.grad(loss, vectors)[0] for loss in (expected, triplet(vectors, labels, 0.1, squared, mining))
    ]
    # On the sphere: the two forms of the distance differ along the vectors, where unit rows cannot move.
    on_sphere = [slope - (slope * vectors).sum(dim=1, keepdim=True) * vectors for slope in slopes]
    assert torch.allclose(*on_sphere, atol=1e-5)


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("squared", [True, False])
def test_two_equal_pictures_have_a_finite_slope(mining, squared):
    vectors, labels = rows()
    vectors[1] = vectors[0]
    vectors.requires_grad_()
    triplet(vectors, labels, 0.1, squared, mining).backward()
    assert torch.isfinite(vectors.grad).all()


@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("labels", [[0, 0, 0], [0, 1, 2]], ids=["one bone", "no two of one bone"])
def test_a_batch_without_a_triplet_costs_nothing(mining, labels):
    vectors, _ = rows(n=3)
    assert triplet(vectors, torch.tensor(labels), mining=mining).item() == 0


def test_half_precision_around_it_does_not_blur_the_distances():
    vectors, labels = rows()
    with torch.autocast("cpu", torch.bfloat16):
        assert triplet(vectors, labels) == triplet(vectors, labels, 0.1)
        blurred = triplet(vectors, labels)
    assert blurred == triplet(vectors, labels)


def test_an_unknown_mining_is_refused_with_what_there_is():
    with pytest.raises(BoneprintError, match="semi-hard"):
        triplet(*rows(), mining="hardest")
