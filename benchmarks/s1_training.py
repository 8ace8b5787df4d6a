"""Training and embedding as in S1: random batches of P bones x K images, triplet loss or a softmax over the bones."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from boneprint.embed.losses import triplet, triplet_accuracy
from boneprint.embed.published import Reduced

_BATCH = 256
_CHECKPOINT_STEPS = 200


class OutOfTimeError(Exception):
    """The limit of the run has come; everything done so far is on disk."""


@dataclass(frozen=True)
class Recipe:
    """What one network is trained with.

    Parameters
    ----------
    loss : "triplet" or "softmax" (S1's transfer learning: a class for each bone)
    side : "joined" or "AP" (the left half of the joined images)
    published : ImageNet weights of the base; a softmax is then trained on the base as it is, else on a base that learns
    bones, images : P and K of a batch
    bfloat16 : compute with half the bits on a CPU, too, as is always done on a GPU: fast where it can (AMX)
    """

    network: str = "vgg16"
    dimension: int = 128
    margin: float = 0.1
    loss: str = "triplet"
    side: str = "joined"
    published: Path | None = None
    mining: str = "semi-hard"
    steps: int = 800
    bones: int = 24
    images: int = 4
    learning_rate: float = 1e-4
    warmup: int = 50
    seed: int = 1
    bfloat16: bool = False


@dataclass(frozen=True, eq=False)
class Trained:
    """A network in evaluation mode, and the grey scale of the pictures that it was trained on."""

    network: Reduced
    recipe: Recipe
    mean: float
    deviation: float
    seconds: float

    @torch.inference_mode()
    def embed(self, pictures: torch.Tensor) -> torch.Tensor:
        """Fingerprints, or class scores, of (B, M, H, H) uint8 pictures: (B, M, D) float32 on their device."""
        parts = [
            _run(self.network, _ready(part, self.recipe, self.mean, self.deviation), self.recipe)
            for part in pictures.flatten(0, 1).split(_BATCH)
        ]
        return torch.cat(parts).unflatten(0, pictures.shape[:2])


def train(pictures: torch.Tensor, recipe: Recipe, checkpoint: Path, deadline: float) -> Trained:
    """Train on (B, M, H, H) uint8 pictures of B bones, on the device they are on; goes on where a checkpoint is.

    Parameters
    ----------
    deadline : by time.monotonic(); what is done by then is kept

    Raises
    ------
    OutOfTimeError
        When the deadline comes before the last step.
    """
    device = pictures.device
    torch.manual_seed(recipe.seed)
    torch.backends.cudnn.benchmark = True
    classes = recipe.loss == "softmax"
    network = Reduced(recipe.network, len(pictures) if classes else recipe.dimension, 1, recipe.published).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if classes and recipe.published:
        network.trunk.requires_grad_(False)
    sample = pictures[:, ::7, ::4, ::4].float() / 255
    # Published weights want their own pictures' scale, which the network takes out itself.
    mean, deviation = (0.0, 1.0) if recipe.published else (float(sample.mean()), float(sample.std()))
    wanted = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.Adam(wanted, recipe.learning_rate)
    first, seconds = _resume(checkpoint, network, optimiser, recipe)
    begun = time.monotonic()
    for step in range(first, recipe.steps):
        over = time.monotonic() > deadline
        if over or (step > first and step % _CHECKPOINT_STEPS == 0):
            _save(checkpoint, network, optimiser, recipe, step, seconds + time.monotonic() - begun)
        if over:
            raise OutOfTimeError
        # S1 varied its learning rate, too: it rises, then falls along half a cosine.
        for group in optimiser.param_groups:
            group["lr"] = recipe.learning_rate * _pace(step, recipe)
        network.train(not (classes and recipe.published))
        chosen, labels = _batch(pictures, recipe, step)
        found = _run(network, _ready(chosen, recipe, mean, deviation), recipe)
        if classes:
            loss = F.cross_entropy(found, labels)
        else:
            loss = triplet(found, labels, recipe.margin, mining=recipe.mining)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        # From scratch the first steps are steep.
        nn.utils.clip_grad_norm_(wanted, 1.0)
        optimiser.step()
        if step % max(1, recipe.steps // 8) == 0:
            note = "" if classes else f", triplet accuracy {float(triplet_accuracy(found, labels, recipe.margin)):.4f}"
            print(f"  step {step}/{recipe.steps}, loss {loss.item():.4f}{note}", flush=True)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    seconds += time.monotonic() - begun
    if first < recipe.steps:
        # Measuring may be stopped, too.
        _save(checkpoint, network, optimiser, recipe, recipe.steps, seconds)
    return Trained(network.eval(), recipe, mean, deviation, seconds)


def _run(network: Reduced, pictures: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Fingerprints, or class scores before the softmax, float32."""
    with torch.autocast(pictures.device.type, torch.bfloat16, enabled=recipe.bfloat16 or pictures.is_cuda):
        if recipe.loss == "softmax":
            return network.reduce(network.features(pictures)).float()
        return network(pictures)


def _ready(pictures: torch.Tensor, recipe: Recipe, mean: float, deviation: float) -> torch.Tensor:
    """(N, H, H) uint8 to (N, 1, H, W) float32 of mean 0 and deviation 1."""
    if recipe.side == "AP":
        pictures = pictures[:, :, : pictures.shape[2] // 2]
    return ((pictures[:, None].float() / 255 - mean) / deviation).contiguous(memory_format=torch.channels_last)


def _batch(pictures: torch.Tensor, recipe: Recipe, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """P x K pictures and the number of the bone of each; always the same for the same step."""
    device = pictures.device
    generator = torch.Generator(device).manual_seed(recipe.seed * 1_000_003 + step)
    bones = torch.randperm(len(pictures), generator=generator, device=device)[: recipe.bones]
    labels = bones.repeat_interleave(recipe.images)
    which = torch.randint(pictures.shape[1], labels.shape, generator=generator, device=device)
    return pictures[labels, which], labels


def _pace(step: int, recipe: Recipe) -> float:
    rising = min(1.0, (step + 1) / max(1, recipe.warmup))
    return rising * 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * step / recipe.steps))))


def _save(
    path: Path, network: Reduced, optimiser: torch.optim.Optimizer, recipe: Recipe, step: int, seconds: float
) -> None:
    tensors = {f"network.{name}": value.contiguous() for name, value in network.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors.update({f"optimiser.{number}.{name}": value.contiguous() for name, value in state.items()})
    path.parent.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(".tmp")
    save_file(tensors, written, metadata={"step": str(step), "seconds": str(seconds), "recipe": repr(recipe)})
    written.replace(path)


def _resume(path: Path, network: Reduced, optimiser: torch.optim.Optimizer, recipe: Recipe) -> tuple[int, float]:
    """Restore a checkpoint of the same recipe: the step to go on with, and the seconds spent; zeros without one."""
    if not path.exists():
        return 0, 0.0
    with safe_open(path, framework="pt") as stored:
        about = stored.metadata()
        if about["recipe"] != repr(recipe):
            return 0, 0.0
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    state = optimiser.state_dict()
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, number, field = name.split(".")
            state["state"].setdefault(int(number), {})[field] = value
    optimiser.load_state_dict(state)
    return int(about["step"]), float(about["seconds"])
