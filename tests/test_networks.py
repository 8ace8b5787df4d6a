"""The published bases: their shapes and names are torchvision's, and local files of weights load without executing."""

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from boneprint.embed.finder import Finder, cut_out, lie_of_mark, tidied, with_mark
from boneprint.embed.networks import Compact
from boneprint.embed.preprocess import CHANNELS
from boneprint.embed.published import Reduced, load_published, network
from boneprint.embed.resnet import ResNet50
from boneprint.embed.vgg import Vgg16
from boneprint.errors import BoneprintError

# Parameters of torchvision's models (its table of weights: vgg16 138,357,544 and resnet50 25,557,032) less those of the
# linear layers behind the convolutions: 25088 x 4096 + 4096 x 4096 + 4096 x 1000 and 2048 x 1000, with their biases.
PARAMETERS = {
    Vgg16: 138_357_544 - (25_089 * 4096 + 4097 * 4096 + 4097 * 1000),
    ResNet50: 25_557_032 - 2049 * 1000,
}

# A few names and shapes of torchvision's state_dict, from the first layer to the last.
NAMES = {
    Vgg16: {
        "features.0.weight": (64, 3, 3, 3),
        "features.2.bias": (64,),
        "features.5.weight": (128, 64, 3, 3),
        "features.17.weight": (512, 256, 3, 3),
        "features.28.weight": (512, 512, 3, 3),
    },
    ResNet50: {
        "conv1.weight": (64, 3, 7, 7),
        "bn1.running_var": (64,),
        "layer1.0.conv1.weight": (64, 64, 1, 1),
        "layer1.0.downsample.0.weight": (256, 64, 1, 1),
        "layer2.0.downsample.1.bias": (512,),
        "layer3.5.conv2.weight": (256, 256, 3, 3),
        "layer4.2.bn3.num_batches_tracked": (),
    },
}


@pytest.fixture(scope="module", params=["vgg16", "resnet50"])
def name(request):
    return request.param


@pytest.fixture(scope="module")
def built(name):
    torch.manual_seed(1)
    return network(name, dimension=16, channels=1)


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(2)
    return Reduced("resnet50", 4, 3).eval()


def unfilled(make, weights=None):
    """What ``make`` makes, without the time that drawing its first weights takes."""
    with torch.device("meta"):
        made = make()
    if weights is not None:
        made.load_state_dict(weights, assign=True)
    return made.eval()


@pytest.mark.parametrize("base", [Vgg16, ResNet50])
def test_a_base_has_torchvisions_parameters_under_torchvisions_names(base):
    made = unfilled(base)
    assert sum(p.numel() for p in made.parameters()) == PARAMETERS[base]
    found = {key: tuple(value.shape) for key, value in made.state_dict().items()}
    assert NAMES[base].items() <= found.items()


def test_resnet_halves_the_picture_where_torchvision_does():
    made = unfilled(ResNet50)
    strides = [made.get_submodule(f"layer{stage}.0.conv2").stride for stage in (1, 2, 3, 4)]
    assert strides == [(1, 1), (2, 2), (2, 2), (2, 2)]


@pytest.mark.parametrize("size", [(64, 32), (50, 75), (32, 32)])
def test_any_size_of_picture_gives_unit_rows_of_the_wanted_dimension(built, size):
    built.eval()
    with torch.no_grad():
        vectors = built(torch.rand(2, 1, *size))
    assert vectors.shape == (2, 16)
    assert torch.allclose(vectors.norm(dim=1), torch.ones(2), atol=1e-5)


@pytest.mark.parametrize(("channels", "places"), [(1, [0, 0, 0]), (2, [0, 1, 0]), (3, [0, 1, 2])])
def test_channels_become_three_as_documented(resnet, channels, places):
    few = unfilled(lambda: Reduced("resnet50", 4, channels), resnet.state_dict())
    pictures = torch.rand(1, channels, 32, 32)
    with torch.no_grad():
        assert torch.equal(few(pictures), resnet(pictures[:, places]))


def test_the_loss_reaches_every_layer(built):
    built.train()
    built(torch.rand(2, 1, 32, 32))[:, 0].sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in built.parameters() if p.dim() > 1)


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_published_weights_load_from_a_local_file_without_their_classifier(name, built, tmp_path, ending):
    published = {key: value.contiguous() for key, value in built.trunk.state_dict().items()}
    if name == "resnet50":  # as in torchvision's oldest files
        published = {key: value for key, value in published.items() if not key.endswith("num_batches_tracked")}
    published["fc.weight" if name == "resnet50" else "classifier.6.weight"] = torch.rand(10, 4)
    file = tmp_path / f"imagenet{ending}"
    (save_file if ending == ".safetensors" else torch.save)(published, file)
    loaded = network(name, dimension=8, channels=1, published=file)
    for key, value in built.trunk.named_parameters():
        assert torch.equal(loaded.trunk.get_parameter(key), value), key
    for key in published.keys() & dict(built.trunk.named_buffers()).keys():
        assert torch.equal(loaded.trunk.get_buffer(key), published[key]), key


def test_imagenets_mean_is_taken_out_with_published_weights_alone_and_travels_with_the_network(resnet, tmp_path):
    file = tmp_path / "imagenet.safetensors"
    save_file(resnet.trunk.state_dict(), file)
    loaded = Reduced("resnet50", 4, 3, file).eval()
    loaded.reduce.load_state_dict(resnet.reduce.state_dict())
    pictures = torch.rand(1, 3, 32, 32)
    mean, deviation = (torch.tensor(of)[:, None, None] for of in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    again = unfilled(lambda: Reduced("resnet50", 4, 3), loaded.state_dict())
    with torch.no_grad():
        assert torch.allclose(resnet((pictures - mean) / deviation), loaded(pictures), atol=1e-5)
        assert torch.equal(again(pictures), loaded(pictures))


def test_weights_of_another_network_are_refused_by_name(resnet, tmp_path):
    save_file(resnet.trunk.state_dict(), tmp_path / "resnet.safetensors")
    with pytest.raises(BoneprintError, match=r"not torchvision's weights of Vgg16.*features\.0\.weight is missing"):
        load_published(unfilled(Vgg16), tmp_path / "resnet.safetensors")


class Trap:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise AssertionError('executed')",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (pickle.dumps(Trap(), protocol=2), "cannot be read"),
        (b"no weights at all", "cannot be read"),
        (b"", "cannot be read"),
    ],
    ids=["a pickle that executes", "text", "empty"],
)
@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
def test_what_is_no_weights_is_refused_and_not_executed(tmp_path, content, said, ending):
    file = tmp_path / f"weights{ending}"
    file.write_bytes(content)
    with pytest.raises(BoneprintError, match=said):
        load_published(unfilled(ResNet50), file)


def test_a_pth_that_executes_is_refused(tmp_path):
    torch.save({"conv1.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(BoneprintError, match="cannot be read"):
        load_published(unfilled(ResNet50), tmp_path / "trap.pth")


def test_a_pth_that_holds_no_state_dict_is_refused(tmp_path):
    torch.save([torch.rand(3)], tmp_path / "list.pth")
    with pytest.raises(BoneprintError, match="holds list"):
        load_published(unfilled(ResNet50), tmp_path / "list.pth")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BoneprintError, match=r"nothing\.pth: no such file"):
        network("vgg16", published=tmp_path / "nothing.pth")


def test_networks_are_known_by_name(tmp_path):
    assert isinstance(network("compact", dimension=32), Compact)
    with pytest.raises(BoneprintError, match="choose one of: compact, vgg16, resnet50"):
        network("vgg19")
    with pytest.raises(BoneprintError, match=f"expected {CHANNELS}"):
        network("compact", channels=1)
    with pytest.raises(BoneprintError, match="nobody published"):
        network("compact", published=tmp_path / "compact.pth")
    with pytest.raises(BoneprintError, match="expected 1 to 3"):
        network("resnet50", channels=4)


def marked(*rectangles):
    """Log odds of marks (1, 1, 112, 64), high within some rectangles of (top, bottom, left, right)."""
    marks = torch.full((1, 1, 112, 64), -8.0)
    for top, bottom, left, right in rectangles:
        marks[..., top:bottom, left:right] = 8.0
    return marks


def placed(frames, marks):
    mark = tidied(marks)
    return cut_out(with_mark(frames, mark), lie_of_mark(mark), (192, 96))


BONE, LIMB_END, OTHER_HALF = (20, 80, 26, 36), (98, 102, 20, 44), (84, 106, 26, 36)


def test_a_mark_apart_from_the_bone_and_much_smaller_moves_nothing():
    frames = torch.rand(1, 3, 224, 128)
    alone, beside = (placed(frames, marks) for marks in (marked(BONE), marked(BONE, LIMB_END)))
    assert torch.allclose(alone, beside, atol=2e-3)


def test_the_pieces_of_a_broken_bone_are_placed_together():
    frames = torch.rand(1, 3, 224, 128)
    middle = placed(frames, marked(BONE, OTHER_HALF))[0, 0, -1].sum(dim=1)
    shown = torch.nonzero(middle > 1)
    assert float(shown.float().mean()) == pytest.approx((192 - 1) / 2, abs=4)
    assert shown.numel() > 1.9 * (OTHER_HALF[1] - BONE[0]) - 2 * (OTHER_HALF[0] - BONE[1]) - 6


def test_a_finder_learns_which_of_several_alike_is_meant_by_where_they_lie():
    torch.manual_seed(5)
    finder = Finder(1, overview=True)
    rng = np.random.default_rng(5)

    def lesson(count=6):
        middle, column = rng.uniform(56, 72, count), rng.uniform(40, 88, count)
        y, x = np.mgrid[:128, :128]
        near = [np.hypot(y - middle[:, None, None] - away, x - column[:, None, None]) < 10 for away in (-35, 0, 35)]
        frames = torch.from_numpy(np.any(near, axis=0).astype(np.float32))[:, None]
        each = [F.avg_pool2d(torch.from_numpy(one.astype(np.float32))[:, None], 2) for one in near]
        return frames, each

    optimiser = torch.optim.Adam(finder.parameters(), 1e-2)
    for _ in range(50):
        frames, (_, meant, _) = lesson()
        loss = F.binary_cross_entropy_with_logits(finder(frames), meant)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        frames, each = lesson()
        marked = torch.sigmoid(finder.eval()(frames))
    above, meant, below = (float((marked * one).sum() / one.sum()) for one in each)
    assert meant > 0.8
    assert max(above, below) < 0.2
