"""From radiograph to fingerprint, and the training that makes it possible."""

import json
import shutil

import numpy as np
import pytest
import torch
from scipy import ndimage

from boneprint.embed import SHIPPED, Embedder, load_embedder, read_card, weights
from boneprint.embed.augment import augment
from boneprint.embed.card import write_card
from boneprint.embed.losses import supervised_contrastive
from boneprint.embed.preprocess import CHANNELS, canvas_pixels, normalise, preprocess
from boneprint.embed.training import Schedule, TrainingViews, batch, train
from boneprint.errors import BoneprintError, ReadError
from boneprint.nouns import Canvas, Radiograph

LONG = Canvas(560.0, 280.0)


def bar(spacing_mm=1.0, length_mm=400.0, shift_mm=(0.0, 0.0), scale=1.0, offset=0.0):
    """A bright bar with a knob at its upper end on a dark ground of 600 x 300 mm."""
    rows, columns = ((np.arange(round(size / spacing_mm)) + 0.5) * spacing_mm for size in (600.0, 300.0))
    y, x = rows[:, None] - 300 - shift_mm[0], columns[None, :] - 150 - shift_mm[1]
    shaft = (abs(y) < length_mm / 2) & (abs(x) < 12)
    knob = (y + length_mm / 2 - 20) ** 2 + (x - 15) ** 2 < 25**2
    return Radiograph((scale * (shaft + 0.5 * knob) + offset).astype(np.float32), spacing_mm)


def test_pixel_size_is_normalised_away():
    fine, coarse = preprocess([bar(0.5)], LONG), preprocess([bar(1.5)], LONG)
    assert fine.shape == (1, CHANNELS, *canvas_pixels(LONG))
    assert (fine - coarse)[:, 0].abs().mean() < 0.015  # the edges of 0.5 and of 1.5 mm pixels


def test_length_is_not_normalised_away():
    long, short = preprocess([bar(length_mm=440)], LONG), preprocess([bar(length_mm=340)], LONG)
    assert (long - short)[:, 0].abs().mean() > 0.01


def test_place_exposure_and_pedestal_are_normalised_away():
    plain = preprocess([bar()], LONG)
    moved = preprocess([bar(shift_mm=(50, -35))], LONG)
    exposed = preprocess([bar(scale=37.0, offset=4.0)], LONG)
    assert (plain - moved)[:, 0].abs().mean() < 0.015
    assert (plain - exposed).abs().max() < 0.02


def test_rotation_in_the_plane_is_normalised_away():
    plain = preprocess([bar()], LONG)[0, 0]
    for degrees in (-18, 9):
        turned = ndimage.rotate(bar().pixels, degrees, order=1, reshape=False)
        assert (plain - preprocess([Radiograph(turned, 1.0)], LONG)[0, 0]).abs().mean() < 0.02


def test_a_limb_around_the_bone_hardly_shows_in_the_edges():
    dry = bar()
    columns = (np.arange(300) - 150) / 120
    limb = 2.5 * np.sqrt(np.maximum(1 - columns**2, 0))
    wet = Radiograph(dry.pixels + limb[None, :].astype(np.float32), 1.0)
    edges = [preprocess([radiograph], LONG)[0, 1].numpy() for radiograph in (dry, wet)]
    inside = (slice(30, 160), slice(25, 70))
    assert np.corrcoef(edges[0][inside].ravel(), edges[1][inside].ravel())[0, 1] > 0.8


def test_a_radiograph_without_spacing_is_refused_with_a_way_out():
    with pytest.raises(ReadError, match="--pixel-spacing"):
        preprocess([Radiograph(bar().pixels, None)], LONG)


@pytest.mark.parametrize("spacing", [0.0001, 400.0])
def test_a_spacing_in_the_wrong_unit_is_refused(spacing):
    with pytest.raises(ReadError, match="Check the pixel spacing"):
        preprocess([Radiograph(bar().pixels, spacing)], LONG)


def test_fingerprints_are_unit_vectors_and_repeat_themselves():
    embedder = load_embedder()
    vectors = embedder.embed([bar(), bar(length_mm=350)], LONG)
    assert vectors.shape == (2, 128)
    assert vectors.dtype == np.float32
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(vectors, embedder.embed([bar(), bar(length_mm=350)], LONG))
    alone = embedder.embed([bar(length_mm=350)], LONG)
    assert np.allclose(alone, vectors[1:], atol=1e-5), "a fingerprint must not depend on its batch"


def test_shipped_weights_fit_their_card_and_the_promised_size():
    card = read_card()
    assert SHIPPED.with_suffix(".safetensors").stat().st_size < 25e6
    assert "simulated" in card["training"]["data"]
    assert set(card["calibration"]) == {
        "radiograph-radiograph",
        "one radiograph-enrolled bone",
        "two radiographs-enrolled bone",
    }


def test_weights_that_do_not_fit_their_card_are_refused(tmp_path):
    for suffix in (".safetensors", ".json"):
        shutil.copy(SHIPPED.with_suffix(suffix), tmp_path / f"other{suffix}")
    file = tmp_path / "other.safetensors"
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(BoneprintError, match="its card expects"):
        Embedder(tmp_path / "other")
    write_card(tmp_path / "other", {"name": "cut", "dimension": 128})
    file.write_bytes(bytes(data[: len(data) // 2]))
    write_card(tmp_path / "other", {"name": "cut", "dimension": 128})
    with pytest.raises(BoneprintError, match="not the weights of this network"):
        Embedder(tmp_path / "other")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 99, "name": "x", "weights_sha256": "", "dimension": 1}'])
def test_a_damaged_card_is_one_clear_sentence(tmp_path, text):
    shutil.copy(SHIPPED.with_suffix(".safetensors"), tmp_path / "w.safetensors")
    (tmp_path / "w.json").write_text(text)
    with pytest.raises(BoneprintError, match=r"w\.json") as caught:
        read_card(tmp_path / "w")
    assert "\n" not in str(caught.value)


def test_the_contrastive_loss_is_small_only_for_separated_bones():
    labels = torch.tensor([0, 0, 1, 1])
    apart = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    mixed = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1]])
    assert supervised_contrastive(apart, labels) < 0.01
    assert supervised_contrastive(mixed, labels) > 5
    # Two bones, two views each, all vectors equal: every other view is as likely as any, ln 3.
    alike = torch.ones(4, 2) / 2**0.5
    assert supervised_contrastive(alike, labels).item() == pytest.approx(np.log(3), rel=1e-5)


@pytest.fixture(scope="module")
def toy_views():
    """Twelve bodies of random blobs, the first eight in two families; too small to learn much, enough to run."""
    rng = np.random.default_rng(0)
    coarse = rng.random((12, 6, 2, 12, 6)).astype(np.float32)
    full = torch.nn.functional.interpolate(torch.from_numpy(coarse).flatten(0, 1), size=(192, 96), mode="bilinear")
    angles = np.tile(np.arange(6, dtype=np.float32) * 30 + 3, (12, 1))
    families = np.array([0] * 4 + [1] * 4 + [-1] * 4)
    return TrainingViews(full.reshape(12, 6, 2, 192, 96).half().numpy(), angles, families)


TOY = Schedule(steps=4, bones=8, views=2, warmup=2)


def test_a_batch_is_determined_by_its_step_and_holds_a_whole_family(toy_views):
    first, labels = batch(toy_views, TOY, 3)
    second, _ = batch(toy_views, TOY, 3)
    other, _ = batch(toy_views, TOY, 4)
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert first.shape == (16, CHANNELS, 192, 96)
    assert labels.bincount().tolist() == [2] * 8


def test_augmented_pictures_stay_finite_and_normalise(toy_views):
    pictures = torch.from_numpy(toy_views.views[:, 0].astype(np.float32))
    image = augment(pictures[:, 0], pictures[:, 1] * 100, torch.Generator().manual_seed(5))
    ready = normalise(image, (192, 96))
    assert torch.isfinite(ready).all()
    assert ready[:, 0].min() >= 0
    assert ready[:, 0].max() <= 1.5
    assert ready[:, 1].abs().max() <= 1


def test_training_stopped_and_resumed_gives_the_same_weights(toy_views, tmp_path):
    whole = train(toy_views, TOY, tmp_path / "whole", checkpoint_every=2)

    def stop(step, loss, rank1):
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(toy_views, TOY, tmp_path / "parts", checkpoint_every=2, report=stop)
    parts = train(toy_views, TOY, tmp_path / "parts", checkpoint_every=2)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    logged = (tmp_path / "parts" / "log.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in logged] == ["step", "0", "1", "2", "3"]


def test_a_checkpoint_of_another_schedule_is_refused(toy_views, tmp_path):
    train(toy_views, Schedule(steps=1, bones=4, views=2), tmp_path)
    with pytest.raises(BoneprintError, match="another run"):
        train(toy_views, TOY, tmp_path)


def test_weights_survive_saving(toy_views, tmp_path):
    network = train(toy_views, Schedule(steps=1, bones=4, views=2), tmp_path / "run")
    weights.save(network, tmp_path / "toy-1", {"name": "toy-1", "dimension": 128})
    embedder = Embedder(tmp_path / "toy-1")
    assert embedder.id.startswith("toy-1:")
    assert json.loads((tmp_path / "toy-1.json").read_text())["weights_sha256"][:12] == embedder.id[6:]
    assert np.linalg.norm(embedder.embed([bar()], LONG)) == pytest.approx(1, abs=1e-5)
