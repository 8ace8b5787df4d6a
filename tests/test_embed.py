"""From radiograph to fingerprint, and the training that makes it possible."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from boneprint.embed import SHIPPED, Embedder, load_embedder, read_card, weights
from boneprint.embed.augment import augment
from boneprint.embed.card import write_card
from boneprint.embed.finder import STRAIGHT, Glance, Lie, cut_out, lie_of_mark, with_mark
from boneprint.embed.losses import supervised_contrastive
from boneprint.embed.networks import Compact
from boneprint.embed.norms import fold
from boneprint.embed.preprocess import CHANNELS, frame_pixels, normalise, preprocess
from boneprint.embed.training import Lesson, Schedule, misplaced, train
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
    assert fine.shape == (1, CHANNELS, *frame_pixels(LONG))
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
    edges = [preprocess([radiograph], LONG)[0, 2].numpy() for radiograph in (dry, wet)]
    inside = (slice(46, 176), slice(41, 86))
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
    assert np.allclose(alone, vectors[1:], atol=1e-4), "a fingerprint must not depend on its batch"


def test_a_view_is_looked_at_less_often_than_a_radiograph_and_is_nearly_the_same():
    embedder = load_embedder()
    taken = embedder.embed([bar()], LONG)
    view = embedder.embed_views([bar()], LONG)
    assert 0 < np.linalg.norm(taken - view) < 0.2
    whole = embedder.embed_tensors(torch.from_numpy(bar().pixels)[None], 1.0, LONG).cpu().numpy()
    assert np.allclose(whole, view, atol=1e-4)


def test_shipped_weights_fit_their_card_and_the_promised_size():
    card = read_card()
    assert SHIPPED.with_suffix(".safetensors").stat().st_size < 25e6
    assert "simulated" in card["training"]["data"]
    assert set(card["calibration"]) == {
        "radiograph-radiograph",
        "one radiograph-enrolled bone",
        "two radiographs-enrolled bone",
        "biplane radiographs-enrolled bone",
        "radiograph-radiograph, kind not said",
    }
    assert all(len(pairs["canvas_heights_mm"]) == 1 for pairs in card["calibration"]["radiograph-radiograph"].values())


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


def test_a_marked_bone_is_put_upright_in_the_middle():
    rows, columns = np.mgrid[:224, :128]
    lean, down, right = np.deg2rad(12.0), 17.0, -9.0
    y, x = rows - 111.5 - down, columns - 63.5 - right
    along, across = np.cos(lean) * y + np.sin(lean) * x, np.cos(lean) * x - np.sin(lean) * y
    bar = torch.from_numpy(((abs(along) < 60) & (abs(across) < 8)).astype(np.float32))[None, None]
    mark = torch.nn.functional.avg_pool2d(bar, 2)
    glances = [STRAIGHT, Glance(0.0, 5.0, -7.0)]
    straight, beside = cut_out(with_mark(bar, mark), lie_of_mark(mark), (192, 96), glances)[:, 0, 0]
    where = torch.nonzero(straight > 0.5).float()
    assert where.mean(dim=0).tolist() == pytest.approx([95.5, 47.5], abs=0.5)
    assert (where.amax(dim=0) - where.amin(dim=0) + 1).tolist() == pytest.approx([120, 16], abs=2.5)
    # Whoever looks 5 pixels below and 7 to the left of the bone sees it above and to the right.
    assert torch.nonzero(beside > 0.5).float().mean(dim=0).tolist() == pytest.approx([90.5, 54.5], abs=0.5)


def test_how_a_bone_lies_is_told_in_the_picture_that_is_turned_back_already():
    some = Lie(torch.tensor([0.3, -0.1]), torch.tensor([100.0, 90.0]), torch.tensor([50.0, 70.0]))
    by = torch.tensor([[0.2, 8.0, -3.0], [0.0, 0.0, 5.0]])
    torch.testing.assert_close(some.to(some.moved(by)), by, atol=1e-5, rtol=0)
    # A picture turned back by 90 degrees shows to the right what lay above.
    quarter = Lie(torch.tensor([np.pi / 2]), torch.tensor([0.0]), torch.tensor([0.0]))
    _, row, column = quarter.moved(torch.tensor([[0.0, 0.0, 1.0]]))
    assert (row.item(), column.item()) == pytest.approx((-1.0, 0.0), abs=1e-6)


def test_pictures_of_one_bone_that_are_put_the_same_way_are_hardly_misplaced():
    labels = torch.tensor([0, 0, 1, 1])
    agreed = torch.tensor([[0.1, 3.0, 0.0]] * 2 + [[-0.1, 0.0, 2.0]] * 2)
    apart = agreed * torch.tensor([[1.0], [-1.0], [1.0], [-1.0]])
    assert misplaced(torch.zeros(4, 3), labels) == 0
    assert 0 < misplaced(agreed, labels) < 0.3 * misplaced(apart, labels)


def test_nothing_but_edges_is_left_on_a_square_canvas():
    ball = np.hypot(*np.mgrid[-100:100, -100:100]) < 40
    # A trunk that is twice as bright as the bone, and ends beside it.
    trunk = 2.0 * (abs(np.arange(-100, 100)) < 80)[None, :]
    pictures = [Radiograph((k * (ball + trunk * wet)).astype(np.float32), 1.0) for k, wet in ((1, 0), (5, 0), (1, 1))]
    dry, exposed, wet = preprocess(pictures, Canvas(240.0, 240.0))
    torch.testing.assert_close(dry, exposed, atol=1e-3, rtol=0)
    middle = (0, slice(50, 158), slice(50, 158))
    assert np.corrcoef(dry[middle].ravel(), wet[middle].ravel())[0, 1] > 0.8


def test_a_fingerprint_is_the_direction_of_the_sum_of_its_glances():
    torch.manual_seed(0)
    network = Compact(16, depth=2).tall.eval()
    frames = torch.rand(2, CHANNELS, 224, 128)
    glances = (STRAIGHT, Glance(2.0, 3.0, -3.0), Glance(-2.0, 0.0, 4.0))
    with torch.inference_mode():
        raw = 0
        for glance in glances:
            (canvases,) = network.placed(frames, [glance])
            raw = raw + network.reduced(network.features(canvases))
        torch.testing.assert_close(network(frames, glances), torch.nn.functional.normalize(raw))


@pytest.mark.parametrize("size", [(224, 128), (208, 208)])
def test_folding_the_norms_away_changes_nothing(size):
    torch.manual_seed(1)
    network = Compact(16, depth=2)
    frames = torch.rand(4, CHANNELS, *size)
    with torch.no_grad():
        for _ in range(3):
            network.train()(frames)  # statistics that are not 0 and 1
        before = network.eval()(frames)
        fold(network)
        assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
        torch.testing.assert_close(network(frames), before, atol=1e-4, rtol=0)


def test_each_form_of_canvas_has_a_branch_of_its_own():
    network = Compact().train()
    square = {name: value.clone() for name, value in network.square.state_dict().items()}
    assert network(torch.rand(4, CHANNELS, 224, 128)).shape == (4, 128)
    for name, value in square.items():
        assert torch.equal(network.square.state_dict()[name], value), name
    assert network(torch.rand(4, CHANNELS, 208, 208)).norm(dim=1).tolist() == pytest.approx([1.0] * 4, abs=1e-5)
    assert any(not torch.equal(network.square.state_dict()[name], value) for name, value in square.items())


class Toys:
    """A school of twelve random blobs; too small to learn much, enough to run."""

    origin = "toys"
    size = (192, 96)

    def lesson(self, schedule, step):
        generator = torch.Generator().manual_seed(1000 * schedule.seed + step)
        blobs = torch.rand(12, 1, 12, 6, generator=torch.Generator().manual_seed(0))
        chosen = torch.randperm(12, generator=generator)[: schedule.bones].repeat_interleave(schedule.views)
        pictures = torch.nn.functional.interpolate(blobs[chosen], size=self.size, mode="bilinear")[:, 0]
        pictures = pictures + 0.05 * torch.rand(pictures.shape, generator=generator)
        frames = normalise(pictures, self.size, (pictures > 0.5).float()[:, None])
        marks = torch.nn.functional.avg_pool2d(frames[:, -1:], 2)
        labels = torch.arange(schedule.bones).repeat_interleave(schedule.views)
        return Lesson(frames[:, :-1], labels, marks, lie_of_mark(marks))

    def examinations(self, schedule):
        return [self.lesson(schedule, 10_000)]


TOY = Schedule(steps=4, bones=4, views=2, warmup=2, check_every=2)


def test_augmented_pictures_stay_finite_and_normalise():
    bone = torch.zeros(6, 240, 144)
    bone[:, 40:200, 60:80] = 0.4
    turn, pitch = torch.linspace(-0.3, 0.3, 6), torch.full((6,), 2.9)
    generator = torch.Generator().manual_seed(5)
    image, mask = augment(bone, bone * 50, turn, pitch, (192, 96), generator)
    again, _ = augment(bone, bone * 50, turn, pitch, (192, 96), torch.Generator().manual_seed(5))
    assert torch.equal(image, again)
    assert mask.mean() == pytest.approx(float((bone > 0).float().mean()), rel=0.25)  # some pictures lack an end
    ready = normalise(image, (192, 96))
    assert torch.isfinite(ready).all()
    assert ready[:, :2].min() >= 0
    assert ready[:, :2].max() <= 1.5
    assert ready[:, 2].abs().max() <= 1


def test_training_stopped_and_resumed_gives_the_same_weights(tmp_path):
    whole = train(Toys(), TOY, tmp_path / "whole", checkpoint_every=2)

    def stop(step, loss, rank1):
        if step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Toys(), TOY, tmp_path / "parts", checkpoint_every=2, report=stop)
    parts = train(Toys(), TOY, tmp_path / "parts", checkpoint_every=2)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, parts.state_dict()[name]), name
    logged = [line.split(",") for line in (tmp_path / "parts" / "log.csv").read_text().splitlines()]
    assert [line[0] for line in logged] == ["step", "0", "1", "2", "3"]
    assert [bool(line[3]) for line in logged[1:]] == [False, True, False, True]


def test_training_without_progress_stops_early_with_the_best_weights(tmp_path, monkeypatch):
    found, seen = iter([1.0, 0.5, 0.8, 0.7, 0.1]), []

    def examined(network, *_):
        seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return next(found), 0.0

    monkeypatch.setattr("boneprint.embed.training._examined", examined)
    done = []
    network = train(
        Toys(), replace(TOY, steps=40, patience=2), tmp_path, report=lambda step, loss, rank1: done.append(step)
    )
    assert done == list(range(8)), "the fourth examination is the second without a better one"
    for name, value in network.state_dict().items():
        assert torch.equal(value, seen[1][name]), name
    assert any(not torch.equal(value, seen[3][name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize(
    "schedule", [replace(TOY, loss="triplet"), replace(TOY, loss="triplet", mining="semi-hard", squared=False)]
)
def test_the_losses_of_s1_train_too(tmp_path, schedule):
    network = train(Toys(), replace(schedule, steps=2), tmp_path)
    assert all(torch.isfinite(value).all() for value in network.state_dict().values())


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
def test_a_step_is_computed_in_half_precision_and_learnt_in_single(tmp_path, monkeypatch, device):
    monkeypatch.setattr(weights, "device", lambda: torch.device(device))
    seen = set()
    forward = torch.nn.Conv2d.forward

    def watched(layer, frames):
        made = forward(layer, frames)
        seen.add((layer.weight.dtype, made.dtype, made.device.type))
        return made

    monkeypatch.setattr(torch.nn.Conv2d, "forward", watched)
    network = train(Toys(), replace(TOY, steps=1, check_every=0), tmp_path)
    assert seen == {(torch.float32, torch.bfloat16, device)}
    assert {value.dtype for value in network.parameters()} == {torch.float32}


def test_an_unknown_loss_or_mining_is_refused():
    for wrong in ({"loss": "cosine"}, {"mining": "gold"}):
        with pytest.raises(BoneprintError, match="expected one of contrastive, triplet"):
            replace(TOY, **wrong)


def test_a_checkpoint_of_another_schedule_is_refused(tmp_path):
    train(Toys(), replace(TOY, steps=1), tmp_path)
    with pytest.raises(BoneprintError, match="another run"):
        train(Toys(), TOY, tmp_path)


def test_weights_survive_saving_and_can_be_started_from(tmp_path):
    network = train(Toys(), replace(TOY, steps=1), tmp_path / "run")
    weights.save(network, tmp_path / "toy-1", {"name": "toy-1", "architecture": "compact", "dimension": 128})
    embedder = Embedder(tmp_path / "toy-1")
    assert embedder.id.startswith("toy-1:")
    assert json.loads((tmp_path / "toy-1.json").read_text())["weights_sha256"][:12] == embedder.id[6:]
    assert np.linalg.norm(embedder.embed([bar()], LONG)) == pytest.approx(1, abs=1e-5)
    begun = train(Toys(), replace(TOY, steps=1, published=str(tmp_path / "toy-1"), learning_rate=1e-9), tmp_path / "on")
    assert torch.allclose(begun.tall.stem.weight, network.tall.stem.weight, atol=2e-3)  # half precision on disk


class SquareToys(Toys):
    """The same on square canvases."""

    size = (176, 176)


def test_lessons_of_one_form_leave_the_other_branch_alone(tmp_path):
    torch.manual_seed(TOY.seed)
    begun = Compact()
    network = train(SquareToys(), replace(TOY, steps=2, form="square"), tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(network.tall.parameters(), begun.tall.parameters()))
    changed = [not torch.equal(a, b) for a, b in zip(network.square.parameters(), begun.square.parameters())]
    assert all(changed)
    assert {name.split(".")[0] for name, _ in network.square.named_parameters()} >= {"finder", "leveller", "reduce"}


def test_an_unknown_form_of_canvas_is_refused():
    with pytest.raises(BoneprintError, match="expected tall or square"):
        replace(TOY, form="round")


def test_a_deeper_network_begins_as_what_it_was(tmp_path):
    torch.manual_seed(3)
    shallow = Compact(16, depth=2).eval()
    deeper = shallow.deepened(4).eval()
    for frames in (torch.rand(2, CHANNELS, 224, 128), torch.rand(2, CHANNELS, 176, 176)):
        with torch.no_grad():
            assert torch.equal(shallow(frames), deeper(frames))
    weights.save(shallow, tmp_path / "toy-1", {"name": "toy-1", "architecture": "compact", "dimension": 16})
    schedule = replace(TOY, steps=2, dimension=16, published=str(tmp_path / "toy-1"))
    begun = train(Toys(), schedule, tmp_path / "on")
    assert begun.depth == schedule.depth > shallow.depth
    assert any(block.second_norm.weight.abs().max() > 0 for block in list(begun.tall.stages)[2:9:3])


def test_a_second_course_keeps_the_statistics_of_the_first(tmp_path):
    first = train(Toys(), replace(TOY, steps=1), tmp_path / "run")
    weights.save(first, tmp_path / "toy-1", {"name": "toy-1", "architecture": "compact", "dimension": 128})
    kept, _ = weights.load(tmp_path / "toy-1")
    second = train(
        Toys(), replace(TOY, steps=2, published=str(tmp_path / "toy-1"), settled_from=0), tmp_path / "second"
    )
    means = [name for name in kept.state_dict() if name.endswith("running_mean")]
    assert all(torch.equal(second.state_dict()[name], kept.state_dict()[name]) for name in means)
    assert not torch.equal(second.tall.stem.weight, kept.tall.stem.weight)
