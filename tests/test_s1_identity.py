"""The benchmark that repeats S1's experiment: its pictures, its measures against plain loops, and a whole small run."""

import itertools
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from boneprint.embed import weights
from boneprint.embed.networks import Compact
from boneprint.embed.published import Reduced

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

pytest.importorskip("sklearn")
import s1_identity
import s1_measures
import s1_pictures
from s1_training import OutOfTimeError, Recipe, Trained, train

REDUCED = s1_identity.SETTINGS["reduced"]
VIEWS = REDUCED.views


def blobs(seed, views=VIEWS):
    """Pictures of nothing in particular, alike for one bone."""
    rng = np.random.default_rng(seed)
    count = len(views.table())
    height, width = (round(side / s1_pictures.SPACING_MM) for side in (140.0, 70.0))
    own = [rng.integers(0, 200, size) for size in ((32, 32), (2, height, width))]
    noisy = [(each + rng.integers(0, 55, (count, *each.shape))).astype(np.uint8) for each in own]
    return {"joined": noisy[0], "halves": noisy[1]}


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """Options of a run whose pictures are all there, and a network that has learnt nothing."""
    folder = tmp_path_factory.mktemp("s1")
    (folder / "cache" / "pictures").mkdir(parents=True)
    everyone = [*s1_pictures.cats(1, 8), *s1_pictures.others(1, 3)]
    for number, cat in enumerate(everyone):
        np.savez(cat.file(folder / "cache" / "pictures"), **blobs(number))
    torch.manual_seed(1)
    weights.save(Compact(16).eval(), folder / "random", {"name": "random", "dimension": 16})
    return SimpleNamespace(
        setting="reduced", seed=1, cache=folder / "cache", out=folder, name="s1", minutes=10.0, workers=1, only=None,
        weights=folder / "random", published_vgg=None, published_resnet=None,
    )  # fmt: skip


def unit(shape, seed=0):
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))
    return torch.nn.functional.normalize(rows, dim=-1)


def test_a_full_set_is_s1s_900_images_and_a_stratum_bounds_both_angles():
    table = s1_pictures.Views().table()
    assert table.shape == (900, 3)
    counts = {name: int(chosen.sum()) for name, chosen in s1_measures.members(table).items()}
    assert list(counts.values()) == [3 * 3 * 3, 3 * 3 * 4, 5 * 5 * 4, 15 * 3 * 4, 3 * 15 * 4, 900]


def test_rendered_pictures_are_s1s_at_the_size_of_either_network(tmp_path):
    cat = s1_pictures.Cat(1, 0)
    s1_pictures.render(cat, s1_pictures.Views((0.0,), (0.0, 21.0), pixels=64), tmp_path)
    with np.load(cat.file(tmp_path)) as kept:
        joined, halves = kept["joined"], kept["halves"]
    assert joined.shape == (8, 64, 64)
    assert halves.shape[:2] == (8, 2)
    assert joined.dtype == halves.dtype == np.uint8
    assert 60 < joined.max() < 255, "the bone is seen, and nothing of it is white"
    # AP on the left, ML on the right, the same pictures in both sizes: their mean brightness over the same field.
    for side, part in enumerate((joined[:, :, :32], joined[:, :, 32:])):
        assert part.mean(axis=(1, 2)) == pytest.approx(halves[:, side].mean(axis=(1, 2)), rel=0.02)
    energies = joined[:4].astype(float).sum(axis=(1, 2))
    assert (np.diff(energies) < 0).all(), "higher energies are absorbed less"


def test_pairwise_rates_are_those_of_every_pair():
    vectors, table = unit((3, 8, 4)), s1_pictures.Views((-3.0, 21.0), (0.0,)).table()
    found = s1_measures.pairwise(vectors, table, {"one": 1.0}, seed=1)["all"]["one"]
    rows = [(bone, row) for bone, rows in enumerate(vectors.numpy()) for row in rows]
    right, errors = [], {True: [], False: []}
    for (a, x), (b, y) in itertools.combinations(rows, 2):
        same = a == b
        said = ((x - y) ** 2).sum() <= 1.0
        errors[same].append(said != same)
        right.append(said == same)
    assert found["fnmr"] == pytest.approx(np.mean(errors[True]))
    assert found["fmr"] == pytest.approx(np.mean(errors[False]))
    assert found["balanced_accuracy"] == pytest.approx(1 - (found["fmr"] + found["fnmr"]) / 2)
    assert found["accuracy"] == pytest.approx(np.mean(right), abs=0.02)
    low, high = found["accuracy_interval"]
    assert low <= found["accuracy"] <= high


def test_thresholds_stand_between_bones_that_are_apart_and_allow_the_wanted_rate():
    centres = torch.eye(4)[:, None, :]
    vectors = torch.nn.functional.normalize(centres + 0.05 * unit((4, 10, 4)), dim=-1)
    at = s1_measures.thresholds(vectors)
    apart = ((vectors.flatten(0, 1)[:, None] - vectors.flatten(0, 1)[None]) ** 2).sum(dim=2)
    same = torch.arange(4).repeat_interleave(10)
    genuine = apart[same[:, None] == same[None]].max()
    impostor = apart[same[:, None] != same[None]].min()
    assert genuine < at["fewest errors"] < impostor
    assert genuine < at["FMR 1e-3"] <= impostor + 0.001


def test_two_views_put_end_to_end_are_apart_by_the_mean_of_both():
    one, two = unit((6, 4)), unit((6, 4), seed=1)
    both = s1_measures.fused([one, two])
    apart = [((v[:1] - v[1:]) ** 2).sum(dim=1) for v in (one, two, both)]
    assert torch.allclose(apart[2], (apart[0] + apart[1]) / 2, atol=1e-6)


def test_a_run_fills_every_cell_and_keeps_them(given, capsys):
    result = s1_identity.run(given, REDUCED)
    written = json.loads((given.out / "s1.json").read_text())
    names = REDUCED.cells
    assert set(written["cells"]) == set(names)
    assert written["bones"] == {"training": 3, "held_out": 2, "unseen": 3, "thresholds_fixed_on": 3, "images_each": 24}
    for name, cell in written["cells"].items():
        if "softmax" in name:
            assert 0 <= cell["accuracy"] <= 1
            continue
        assert set(cell["identity"]) == {"all 5", "2 held out"}
        groups = {"2 held out", "3 unseen"} if name.startswith("boneprint") or "d=128" in name else {"2 held out"}
        assert set(cell["pairs"]) == groups
        for strata in cell["pairs"].values():
            assert list(strata) == list(s1_measures.STRATA)
            margin = set() if name.startswith("boneprint") else {"margin, as S1"}
            for each in strata.values():
                assert set(each) == {"pictures_each", "fewest errors", "FMR 1e-3"} | margin
    kept = list((given.cache / "fingerprints").glob("random-*/*.npy"))
    assert len(kept) == 11, "fingerprints of 5 bones of the experiment, 3 unseen ones and 3 for the thresholds"
    shown = s1_identity.table(result)
    assert all(name in shown for name in names)
    capsys.readouterr()
    again = s1_identity.run(given, REDUCED)
    assert again["cells"] == written["cells"], "nothing is measured twice"
    assert "written" not in capsys.readouterr().out


def test_training_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    pictures = torch.from_numpy(np.stack([blobs(number)["joined"] for number in range(3)]))
    recipe = Recipe("resnet50", 8, steps=4, bones=3, images=2, warmup=1)
    whole = train(pictures, recipe, tmp_path / "whole", float("inf")).embed(pictures)
    finished = train(pictures, recipe, tmp_path / "whole", float("-inf")).embed(pictures)
    assert torch.equal(whole, finished), "what is trained is not trained again"
    clock = itertools.count()
    monkeypatch.setattr("s1_training.time.monotonic", lambda: next(clock))
    with pytest.raises(OutOfTimeError):
        train(pictures, recipe, tmp_path / "stopped", 3)
    resumed = train(pictures, recipe, tmp_path / "stopped", float("inf")).embed(pictures)
    assert torch.equal(whole, resumed)


def test_half_the_bits_change_little_and_something():
    pictures = torch.from_numpy(np.stack([blobs(number)["joined"] for number in range(3)]))
    network = Reduced("resnet50", 8, 1).eval()
    whole, half = (
        Trained(network, Recipe("resnet50", 8, bfloat16=bfloat16), 0.5, 0.2, 0.0).embed(pictures)
        for bfloat16 in (False, True)
    )
    assert half.dtype == torch.float32
    assert 1e-4 < (whole - half).norm(dim=2).max() < 0.2
