"""Train a fingerprint network: P bones x K views a step, checkpointed, resumable, reproducible from a seed."""

import csv
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file

from boneprint.embed import weights
from boneprint.embed.augment import augment
from boneprint.embed.losses import supervised_contrastive
from boneprint.embed.networks import Compact
from boneprint.embed.preprocess import normalise
from boneprint.errors import BoneprintError


@dataclass(frozen=True, eq=False)
class TrainingViews:
    """Projections of N bodies over half a turn.

    Parameters
    ----------
    views : (N, V, 2, H, W) float16: bone line integrals, and thickness in mm / 100
    angles_deg : (N, V) float32, ascending in 0..180, evenly spaced
    families : (N,) int, number of the family or -1
    origin : what they were made by; a checkpoint of other views is refused
    """

    views: NDArray[np.float16]
    angles_deg: NDArray[np.float32]
    families: NDArray[np.int64]
    origin: str = ""


@dataclass(frozen=True)
class Schedule:
    """What a run does; with the training set it determines the weights.

    ``spread_deg``: the views of one bone in a batch lie within this angle of the batch's direction, for a gallery
    holds a view every few degrees and a probe need only resemble its neighbours. ``threads``: sums in another order
    give other weights, so their number belongs to the recipe; the next batch is made meanwhile by another thread.
    """

    seed: int = 1
    steps: int = 3600
    bones: int = 32
    views: int = 3
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.02
    warmup: int = 200
    temperature: float = 0.1
    spread_deg: float = 15.0
    frontal_share: float = 0.5
    threads: int = 1


def train(
    data: TrainingViews,
    schedule: Schedule,
    folder: Path,
    *,
    checkpoint_every: int = 100,
    report: Callable[[int, float, float], None] | None = None,
) -> Compact:
    """Train from scratch, or go on from the checkpoint in ``folder``.

    Parameters
    ----------
    folder : holds ``checkpoint.safetensors`` and ``log.csv`` (step, loss, batch rank-1, seconds)
    report : called with (step, loss, share of views whose nearest other view in the batch is of the same bone)

    Returns
    -------
    the network in evaluation mode
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = weights.device()
    torch.manual_seed(schedule.seed)
    torch.set_num_threads(schedule.threads)
    network: Compact = Compact().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(
        network.parameters(), schedule.learning_rate, weight_decay=schedule.weight_decay, betas=(0.9, 0.98)
    )
    made_by = f"{data.origin} {schedule!r}".strip()
    first = _resume(folder / "checkpoint.safetensors", network, optimiser, made_by)
    log = folder / "log.csv"
    _trim(log, first)
    network.train()
    started = time.perf_counter()
    for step, (images, labels) in enumerate(_batches(data, schedule, first), first):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, schedule)
        # bfloat16 and channels last: 0.37 s of CPU a step instead of 0.92 on a processor that knows bfloat16.
        with torch.autocast(device.type, dtype=torch.bfloat16):
            vectors = network(images.to(device).contiguous(memory_format=torch.channels_last))
        loss = supervised_contrastive(vectors, labels.to(device), schedule.temperature)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        if not math.isfinite(loss.item()):
            raise BoneprintError(
                f"{folder}: the loss is {loss.item()} at step {step}; train with a smaller Schedule.learning_rate."
            )
        rank1 = _batch_rank1(vectors.detach(), labels.to(device))
        with log.open("a", newline="") as stream:
            seconds = f"{time.perf_counter() - started:.1f}"
            csv.writer(stream).writerow([step, f"{loss.item():.4f}", f"{rank1:.4f}", seconds])
        if report:
            report(step, loss.item(), rank1)
        if (step + 1) % checkpoint_every == 0 or step + 1 == schedule.steps:
            _save(folder / "checkpoint.safetensors", network, optimiser, step + 1, made_by)
    return network.eval()


def learning_rate(step: int, schedule: Schedule) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    if step < schedule.warmup:
        return schedule.learning_rate * (step + 1) / schedule.warmup
    done = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return schedule.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1))))


def batch(data: TrainingViews, schedule: Schedule, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The pictures of one step: half of the bones from whole families, the others each on its own.

    All bones of a batch are seen from about the same side: another bone from another side would be no lesson. The
    first view of each bone stays as clean as a gallery's.

    Returns
    -------
    (P * K, CHANNELS, H, W) float32 normalised, and (P * K,) int labels
    """
    rng = np.random.default_rng((schedule.seed, step))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    chosen = _choose_bones(data.families, schedule.bones, rng)
    frontal = rng.random() < schedule.frontal_share
    direction = float(rng.choice([0, 90, 180, 270])) if frontal else float(rng.uniform(0, 360))
    at = direction + rng.uniform(-schedule.spread_deg, schedule.spread_deg, (len(chosen), schedule.views))
    pictures = np.stack([_view(data, i, angle) for i, angles in zip(chosen, at) for angle in angles])
    integrals, paths = torch.from_numpy(pictures.astype(np.float32)).unbind(1)
    images = augment(integrals, paths * 100, generator)
    clean = torch.arange(len(images)) % schedule.views == 0
    images = torch.where(clean[:, None, None], integrals, images)
    height, width = images.shape[1:]
    labels = torch.arange(len(chosen)).repeat_interleave(schedule.views)
    return normalise(images, (height, width)), labels


def _batches(data: TrainingViews, schedule: Schedule, first: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of all steps from ``first`` on, each made while the one before it is learnt."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(batch, data, schedule, first)
        for step in range(first, schedule.steps):
            ready = coming
            if step + 1 < schedule.steps:
                coming = maker.submit(batch, data, schedule, step + 1)
            yield ready.result()


def _choose_bones(families: NDArray[np.int64], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Half of the bones as whole families (siblings are the hard negatives), the rest from bones without family."""
    numbers = np.unique(families[families >= 0])
    siblings: list[int] = []
    for number in rng.permutation(numbers):
        members = np.flatnonzero(families == number)
        if len(siblings) + len(members) > count // 2:
            break
        siblings.extend(members)
    others = np.flatnonzero(families < 0)
    others = rng.choice(others, min(count - len(siblings), len(others)), replace=False)
    return np.concatenate([np.array(siblings, dtype=np.int64), others])


def _view(data: TrainingViews, body: int, angle_deg: float) -> NDArray[np.float16]:
    """The kept view nearest to an angle; beyond half a turn its mirror image (parallel beam): (2, H, W)."""
    angles = data.angles_deg[body]
    spacing = 180.0 / len(angles)
    index = round((angle_deg % 360 - float(angles[0])) / spacing) % (2 * len(angles))
    picture = data.views[body, index % len(angles)]
    return np.asarray(picture if index < len(angles) else picture[:, :, ::-1])


def _batch_rank1(vectors: torch.Tensor, labels: torch.Tensor) -> float:
    alike = vectors @ vectors.T
    alike.fill_diagonal_(-2)
    return float((labels[alike.argmax(dim=1)] == labels).float().mean())


def _trim(log: Path, first: int) -> None:
    """Keep the lines of the steps before ``first``: what was done after the last checkpoint is done again."""
    lines = log.read_text().splitlines(keepends=True)[1 : first + 1] if log.exists() else []
    log.write_text("step,loss,batch_rank1,seconds\n" + "".join(lines))


def _save(path: Path, network: Compact, optimiser: torch.optim.Optimizer, step: int, made_by: str) -> None:
    tensors = {f"network.{name}": value.contiguous() for name, value in network.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        tensors.update({f"optimiser.{number}.{name}": value.contiguous() for name, value in state.items()})
    written = path.with_suffix(".tmp")
    save_file(tensors, written, metadata={"step": str(step), "made_by": made_by})
    written.replace(path)


def _resume(path: Path, network: Compact, optimiser: torch.optim.Optimizer, made_by: str) -> int:
    """Restore a checkpoint and return the step to go on with; 0 without one."""
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as stored:
        about = stored.metadata()
        if about["made_by"] != made_by:
            raise BoneprintError(
                f"{path}: checkpoint of another run ({about['made_by']}), expected {made_by}; "
                "train with the same options, or delete it to start anew."
            )
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    state = optimiser.state_dict()
    for name, value in tensors.items():
        if name.startswith("optimiser."):
            _, number, field = name.split(".")
            state["state"].setdefault(int(number), {})[field] = value
    optimiser.load_state_dict(state)
    return int(about["step"])
