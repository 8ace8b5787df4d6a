"""Differences between pictures of one bone are made alike in every direction, and the network's last layer does it."""

import numpy as np
import pytest
import torch

from boneprint import trainer, training_visits, whitening_set
from boneprint.embed import Embedder, weights
from boneprint.embed.networks import Compact
from boneprint.embed.whitening import fold_in, whitening
from boneprint.errors import BoneprintError
from boneprint.nouns import Radiograph, canvas_of_height
from boneprint.two_visits import SESSIONS, SIDES

RNG = np.random.default_rng(3)
STRETCHED = torch.from_numpy(RNG.normal(size=(400, 6)) * [1, 2, 3, 4, 5, 6] @ RNG.normal(size=(6, 6)))


def test_under_the_map_differences_are_as_large_in_every_direction():
    by = whitening(STRETCHED, shrinkage=0.0)
    mapped = STRETCHED @ by.T
    covariance = mapped.T @ mapped
    torch.testing.assert_close(covariance / covariance[0, 0], torch.eye(6, dtype=torch.float64), atol=1e-9, rtol=0)
    torch.testing.assert_close(by, by.T)
    assert torch.linalg.det(by) == pytest.approx(1)


def test_with_more_shrinkage_less_is_changed_and_in_the_end_nothing():
    apart = [float((whitening(STRETCHED, shrinkage) - torch.eye(6)).norm()) for shrinkage in (0.0, 0.3, 3.0, 1e9)]
    assert apart == sorted(apart, reverse=True)
    assert apart[0] > 0.5 > 1e-6 > apart[-1]


def test_a_direction_in_which_pictures_of_one_bone_never_differ_does_no_harm():
    flat = STRETCHED.clone()
    flat[:, 0] = 0
    assert torch.isfinite(whitening(flat)).all()


@pytest.fixture
def small():
    torch.manual_seed(1)
    return Compact(dimension=6, depth=1, widths=(4, 8, 8, 8), neck=4).eval()


@torch.no_grad()
def test_the_last_layer_takes_the_map_up_and_the_other_branch_keeps_its_own(small):
    tall, square = torch.rand(2, 3, 224, 128), torch.rand(2, 3, 208, 208)
    before = small(tall), small(square)
    by = whitening(STRETCHED)
    fold_in(small.square, by)
    torch.testing.assert_close(small(tall), before[0])
    mapped = before[1].double() @ by.T
    torch.testing.assert_close(small(square).double(), mapped / mapped.norm(dim=1, keepdim=True), atol=1e-5, rtol=0)
    assert not torch.allclose(small(square), before[1], atol=1e-3)


class Counting:
    """Takes the brightest pixel for the place in a row of numbers."""

    def embed(self, radiographs, canvas):
        return np.eye(4, dtype=np.float32)[[round(float(r.pixels.max())) for r in radiographs]]

    def embed_tensors(self, images, spacing_mm, canvas):
        return torch.eye(4)[images.amax(dim=(1, 2)).round().long()]


def bones(folder, canvas_mm, probes):
    """A bone whose views are 1, and 2 from behind, with the given probes; as `two_visits.build` writes it."""
    views = np.ones((18, 40, 20), np.float16)
    views[9:] = 2
    arrays = {"pixels": views, "spacing_mm": 2.0, "canvas_mm": canvas_mm}
    if canvas_mm == 480.0:
        arrays["tilted"] = np.ones((36, 44, 20), np.float16)
    names = [f"{session}-{side}" for session in SESSIONS for side in SIDES]
    for name, number in zip(names, probes):
        picture = np.full((40, 20), number, np.float16)
        picture[0, 0] -= 1  # a radiograph has something in it
        arrays |= {name: picture, f"{name}_mm": 2.0}
    path = folder / f"{canvas_mm:g}.npz"
    np.savez(path, **arrays)
    return path


def test_a_radiograph_is_compared_with_the_likest_view_of_its_bone_on_canvases_of_one_form(tmp_path):
    paths = [bones(tmp_path, 560.0, (1, 2, 1, 3)), bones(tmp_path, 480.0, (0, 1, 1, 1))]
    found = whitening_set.differences(paths, Counting())
    assert found[True].shape == found[False].shape == (4, 4)
    assert found[True].norm(dim=1).tolist() == pytest.approx([0, 0, 0, 2**0.5])
    assert found[False].norm(dim=1).tolist() == pytest.approx([2**0.5, 0, 0, 0])


def test_bones_of_the_last_layer_are_trained_on_by_nobody_and_pieces_are_pieces(tmp_path, monkeypatch):
    listed = {}
    monkeypatch.setattr(training_visits.two_visits, "build", lambda wanted, workers, report: listed.update(wanted))
    paths = whitening_set.build(1, {"hip": 2, "piece": 3}, tmp_path)
    assert [len(each) for each in paths.values()] == [2, 3]
    assert [path for each in paths.values() for path in each] == list(listed)
    assert all(listed[path].condition.missing_below + listed[path].condition.missing_above for path in paths["piece"])
    assert {listed[path].body.bone for path in paths["hip"]} == {"hip"}
    # (seed, stream, number, ...): the stream of training, beyond everybody of a recipe.
    assert all(visited.body.entropy[1] == 1 and visited.body.entropy[2] >= 600_000 for visited in listed.values())


def test_weights_are_whitened_and_their_card_says_by_what(small, tmp_path, monkeypatch):
    torch.manual_seed(1)
    out = tmp_path / "mine-1"
    weights.save(Compact(), out, {"name": "mine-1", "architecture": "compact", "dimension": 128, "training": {}})
    path = bones(tmp_path, 560.0, (1, 2, 1, 3))
    monkeypatch.setattr(whitening_set, "build", lambda *given, **more: {"femur": [path]})
    picture = [Radiograph(np.random.default_rng(1).random((300, 90), dtype=np.float32), 1.8)]
    before = Embedder(out).embed(picture, canvas_of_height(560.0))[0]
    by = whitening(whitening_set.differences([path], Embedder(out))[True]).numpy()
    card = trainer.whiten_embedder(out, tmp_path, bones={"femur": 1})
    assert card["training"]["whitening"]["radiographs"] == {"tall": 4}
    assert card["training"]["whitening"]["bones"] == {"femur": 1}
    mapped = by @ before / np.linalg.norm(by @ before)
    after = Embedder(out).embed(picture, canvas_of_height(560.0))[0]
    # Weights are kept in half precision.
    assert np.linalg.norm(after - mapped) < 0.2 * np.linalg.norm(before - mapped)


def test_where_one_branch_was_trained_the_other_one_is_left_alone(tmp_path, monkeypatch):
    torch.manual_seed(1)
    out = tmp_path / "mine-2"
    weights.save(Compact(), out, {"name": "mine-2", "architecture": "compact", "dimension": 128, "training": {}})
    paths = [bones(tmp_path, 560.0, (1, 2, 1, 3)), bones(tmp_path, 480.0, (1, 2, 1, 3))]
    monkeypatch.setattr(whitening_set, "build", lambda *given, **more: {"femur": paths[:1], "hip": paths[1:]})
    before, _ = weights.load(out)
    card = trainer.whiten_embedder(out, tmp_path, bones={"femur": 1, "hip": 1}, form="square")
    after, _ = weights.load(out)
    assert card["training"]["whitening"]["radiographs"] == {"square": 4}
    assert torch.equal(before.tall.reduce.weight, after.tall.reduce.weight)
    assert not torch.equal(before.square.reduce.weight, after.square.reduce.weight)


def test_only_the_compact_network_is_whitened(tmp_path, monkeypatch):
    monkeypatch.setattr(whitening_set, "build", lambda *given, **more: {})
    monkeypatch.setattr(trainer.weights, "load", lambda path: (torch.nn.Identity(), {"architecture": "vgg16"}))
    with pytest.raises(BoneprintError, match="a vgg16 network, expected compact"):
        trainer.whiten_embedder(tmp_path / "theirs-1", tmp_path)
