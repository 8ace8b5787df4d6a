"""Train a fingerprint network: P bones x K views a step, checkpointed, resumable, reproducible from a seed."""

import csv
import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from boneprint.embed import weights
from boneprint.embed.finder import Lie, cut_out, tidied, with_mark
from boneprint.embed.losses import MINING, supervised_contrastive, triplet
from boneprint.embed.networks import Branch, Compact
from boneprint.embed.published import network as network_named
from boneprint.errors import BoneprintError

LOSSES = ("contrastive", "triplet")
FORMS = ("tall", "square")
# Of the losses of finder and leveller beside that of the fingerprints.
_MARK_WEIGHT, _LIE_WEIGHT = 0.5, 0.1
_ARM_PX = 60.0  # what lies so far from the middle shows how far a bone is turned
_AGREED = 0.25  # weight of where a bone lies, beside that all pictures of it say the same
_LOG = ("step", "loss", "batch_rank1", "exam_loss", "exam_rank1", "seconds")


@dataclass(frozen=True, eq=False)
class Lesson:
    """One batch, on any device.

    Parameters
    ----------
    frames : (N, CHANNELS, H, W) float32, as ``normalise`` makes them
    labels : (N,) bone of each row
    marks : (N, 1, H / 2, W / 2) float32, share of each pixel that shows the bone
    lie : how each bone lies in its frame. Where nobody knows either, finder and leveller are taught nothing
    beside : (N, 3) radians, pixels down and right: how far beside its place each bone is looked at
    """

    frames: torch.Tensor
    labels: torch.Tensor
    marks: torch.Tensor | None = None
    lie: Lie | None = None
    beside: torch.Tensor | None = None


@dataclass(frozen=True)
class Schedule:
    """What a run does; with the training set it determines the weights.

    Parameters
    ----------
    steps : at most
    bones, views : P bones x K views in a step
    network : "compact", "vgg16" or "resnet50"
    depth : of the compact network; shallower weights that it starts from are deepened
    published : file of weights to start from: of our own for the compact network, of ImageNet for the others
    loss : "contrastive" (with ``temperature``) or S1's "triplet" (with ``margin``, ``squared`` and ``mining``)
    spreads_deg : how far the views of one bone lie from its direction at most, one of these in each step: a gallery
        holds a view every few degrees and a probe need only resemble its neighbours; two probes may lie further apart
    frontal_share : of the steps look from AP, ML, PA or LM
    settled_from : step from which most lessons show one kind of bone, and normalisation keeps the statistics it has,
        for such lessons have others than a gallery; None: there is no such second course. 0 wants weights that are
        good already
    form : "tall" or "square": lessons on such canvases only, the other branch keeps its weights; None: on both
    finder_only : of the compact network nothing learns but what marks the bone, and by nothing but the marks, which
        takes less than half the time; marked alike, it is embedded as before
    check_every : steps between examinations on bones kept back; 0: no bone is kept back
    patience : examinations without a better one until training stops early; 0: it goes on to the end
    threads : sums in another order give other weights, so their number belongs to the recipe; the next batch is made
        meanwhile by another thread
    """

    seed: int = 1
    steps: int = 3000
    bones: int = 32
    views: int = 3
    network: str = "compact"
    dimension: int = 128
    depth: int = 3
    published: str | None = None
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.02
    warmup: int = 200
    loss: str = "contrastive"
    temperature: float = 0.1
    margin: float = 0.1
    squared: bool = True
    mining: str = "batch-hard"
    spreads_deg: tuple[float, ...] = (6.0, 22.0)
    frontal_share: float = 0.5
    settled_from: int | None = None
    form: str | None = None
    finder_only: bool = False
    check_every: int = 200
    patience: int = 0
    threads: int = 1

    def settled(self, step: int) -> bool:
        """Whether a step belongs to the second course."""
        return self.settled_from is not None and step >= self.settled_from

    def __post_init__(self) -> None:
        if min(self.steps, self.warmup + 1) < 1 or self.bones < 2 or self.views < 2:
            raise BoneprintError(
                f"schedule of {self.steps} steps with {self.bones} bones x {self.views} views: expected at least one "
                "step, two bones and two views of each."
            )
        if self.settled_from == 0 and not self.published:
            raise BoneprintError(
                "a settled course without weights to start from: normalisation would never learn its statistics. "
                "Name them with --start-from."
            )
        if self.finder_only and self.network != "compact":
            raise BoneprintError(f"a {self.network} network has no finder to be taught alone; expected compact.")
        if self.form not in (None, *FORMS):
            raise BoneprintError(f"canvases of form '{self.form}': expected {' or '.join(FORMS)}, or none for both.")
        if self.loss not in LOSSES or self.mining not in MINING:
            raise BoneprintError(
                f"loss '{self.loss}' with mining '{self.mining}': expected one of {', '.join(LOSSES)}, and one of "
                f"{', '.join(MINING)}."
            )


class School(Protocol):
    """Where lessons come from."""

    @property
    def origin(self) -> str:
        """What the lessons are made of; a checkpoint of another school is refused."""

    def lesson(self, schedule: Schedule, step: int) -> Lesson:
        """The batch of a step, always the same one."""

    def examinations(self, schedule: Schedule) -> Sequence[Lesson]:
        """Batches of bones that are never trained on."""


def train(
    data: School,
    schedule: Schedule,
    folder: Path,
    *,
    checkpoint_every: int = 100,
    report: Callable[[int, float, float | None], None] | None = None,
) -> nn.Module:
    """Train from scratch, or go on from the checkpoint in ``folder``.

    Parameters
    ----------
    folder : holds ``checkpoint.safetensors``, ``best.safetensors`` (the weights of the best examination) and
        ``log.csv`` (step, loss, batch rank 1; loss and rank 1 of the examination; seconds)
    report : called with (step, loss, share of views whose nearest other view in the batch is of the same bone, if
        they were embedded)

    Returns
    -------
    the network of the best examination (without examinations: the last) in evaluation mode
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = weights.device()
    torch.manual_seed(schedule.seed)
    torch.set_num_threads(schedule.threads)
    network: nn.Module = _begun(schedule).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(
        _taught(network, schedule), schedule.learning_rate, weight_decay=schedule.weight_decay, betas=(0.9, 0.98)
    )
    made_by = f"{data.origin} {schedule!r}".strip()
    run = _Run(folder, made_by, network, optimiser)
    first = run.resume()
    exams = data.examinations(schedule) if schedule.check_every else []
    started = time.perf_counter()
    for step, lesson in enumerate(_lessons(data, schedule, first), first):
        network.train()
        if schedule.settled(step):
            _settle(network)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(step, schedule)
        vectors: torch.Tensor | None = None
        if schedule.finder_only and isinstance(network, Compact):
            loss = _finder_judged(network, lesson, device)
        else:
            loss, vectors = _judged(network, lesson, schedule, device)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        value = loss.item()
        rank1 = None if vectors is None else _batch_rank1(vectors.detach(), lesson.labels.to(device))
        if not math.isfinite(value):
            raise BoneprintError(f"{folder}: the loss is {value} at step {step}; train with a smaller --learning-rate.")
        last = step + 1 == schedule.steps
        exam: tuple[float, float] | None = None
        if exams and ((step + 1) % schedule.check_every == 0 or last):
            exam = _examined(network, exams, schedule, device)
            run.keep_best(step + 1, exam[0])
        run.log(step, value, rank1, exam, time.perf_counter() - started)
        if report:
            report(step, value, rank1)
        stop = bool(schedule.patience) and run.since_best(step + 1) >= schedule.patience * schedule.check_every
        if (step + 1) % checkpoint_every == 0 or last or stop:
            run.save(step + 1)
        if stop:
            break
    if exams:
        run.restore_best()
    return network.eval()


def learning_curve(folder: Path) -> tuple[list[tuple[int, float, float]], float]:
    """What ``log.csv`` says: (steps, loss, rank 1) of each examination, and the seconds of all sittings."""
    with (folder / "log.csv").open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    exams = [
        (int(line["step"]) + 1, float(line["exam_loss"]), float(line["exam_rank1"]))
        for line in lines
        if line["exam_loss"]
    ]
    # A run that was gone on with counts from 0 again.
    clock = [float(line["seconds"]) for line in lines]
    return exams, sum(end for end, following in pairwise([*clock, 0.0]) if following < end)


def _begun(schedule: Schedule) -> nn.Module:
    start = Path(schedule.published) if schedule.published else None
    if schedule.network == "compact" and start is not None:
        begun, card = weights.load(start)
        if card["dimension"] != schedule.dimension or not isinstance(begun, Compact):
            raise BoneprintError(
                f"{start}: a {card['architecture']} network of {card['dimension']} dimensions, expected compact and "
                f"{schedule.dimension}; start from other weights."
            )
        return begun.deepened(schedule.depth) if begun.depth < schedule.depth else begun
    return network_named(schedule.network, dimension=schedule.dimension, published=start, depth=schedule.depth)


def _taught(network: nn.Module, schedule: Schedule) -> list[nn.Parameter]:
    """The parameters that learn; of the others no slope is wanted."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not schedule.finder_only or ".finder." in name)
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _settle(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


def _judged(
    network: nn.Module, lesson: Lesson, schedule: Schedule, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of a batch, and its fingerprints."""
    frames = lesson.frames.to(device).contiguous(memory_format=torch.channels_last)
    labels = lesson.labels.to(device)
    # bfloat16 and channels last: with the first, smaller network 0.37 s of CPU a step instead of 0.92.
    with torch.autocast(device.type, dtype=torch.bfloat16):
        if isinstance(network, Compact):
            vectors, beside = _found_and_embedded(network.branch(frames), frames, lesson, labels)
        else:
            vectors, beside = network(frames), torch.zeros((), device=device)
    if schedule.loss == "contrastive":
        loss = supervised_contrastive(vectors, labels, schedule.temperature)
    else:
        loss = triplet(vectors, labels, schedule.margin, schedule.squared, schedule.mining)
    return loss + beside, vectors


def _finder_judged(network: Compact, lesson: Lesson, device: torch.device) -> torch.Tensor:
    """The loss of a batch's marks."""
    frames = lesson.frames.to(device).contiguous(memory_format=torch.channels_last)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        return _mismarked(network.branch(frames).finder(frames), lesson)


def _mismarked(marked: torch.Tensor, lesson: Lesson) -> torch.Tensor:
    """How wrong log odds are about where the bone is; nothing where nobody knows."""
    if lesson.marks is None:
        return torch.zeros((), device=marked.device)
    return F.binary_cross_entropy_with_logits(marked.float(), lesson.marks.to(marked.device))


def _found_and_embedded(
    branch: Branch, frames: torch.Tensor, lesson: Lesson, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Fingerprints by one look, and the losses of finder and leveller."""
    marked = branch.finder(frames)
    mark = tidied(marked)
    pictures = with_mark(frames, mark)
    guess, *better = branch.lies(pictures, mark)
    lie = better[-1] if better else guess
    looked_at = lie if lesson.beside is None else lie.moved(lesson.beside.to(frames.device))
    (canvas,) = cut_out(pictures, looked_at, branch.form.look)
    loss = _MARK_WEIGHT * _mismarked(marked, lesson)
    if lesson.lie is not None:
        true = Lie(*(each.to(frames.device) for each in lesson.lie))
        for each in better:
            loss = loss + _LIE_WEIGHT / len(better) * misplaced(each.to(true), labels)
    return branch.embed(canvas[None]), loss


def misplaced(by: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How far bones lie from where they were found, in pixels, softly: above all, how far pictures of one disagree.

    What has no upright, a lump or a head, can only be put the same way each time.

    Parameters
    ----------
    by : (N, 3) radians and pixels, as `Lie.to` returns it
    labels : (N,) bone of each row, 0 to the number of bones
    """
    pixels = by * by.new_tensor([_ARM_PX, 1.0, 1.0])
    bones = int(labels.max()) + 1
    mean = pixels.new_zeros(bones, 3).index_add(0, labels, pixels)
    mean = mean / torch.bincount(labels, minlength=bones)[:, None]
    apart = pixels - mean[labels]
    zero = torch.zeros_like(pixels)
    return F.smooth_l1_loss(apart, zero) + _AGREED * F.smooth_l1_loss(pixels, zero)


@torch.no_grad()
def _examined(
    network: nn.Module, exams: Sequence[Lesson], schedule: Schedule, device: torch.device
) -> tuple[float, float]:
    """Mean loss and rank 1 over the examinations."""
    network.eval()
    results = []
    for lesson in exams:
        loss, vectors = _judged(network, lesson, schedule, device)
        results.append((loss.item(), _batch_rank1(vectors, lesson.labels.to(device))))
    losses, ranks = zip(*results)
    return sum(losses) / len(losses), sum(ranks) / len(ranks)


def learning_rate(step: int, schedule: Schedule) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    if step < schedule.warmup:
        return schedule.learning_rate * (step + 1) / schedule.warmup
    done = (step - schedule.warmup) / max(1, schedule.steps - schedule.warmup)
    return schedule.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(done, 1))))


def _lessons(data: School, schedule: Schedule, first: int) -> Iterator[Lesson]:
    """The batches of all steps from ``first`` on, each made while the one before it is learnt."""
    with ThreadPoolExecutor(1) as maker:
        coming = maker.submit(data.lesson, schedule, first)
        for step in range(first, schedule.steps):
            ready = coming
            if step + 1 < schedule.steps:
                coming = maker.submit(data.lesson, schedule, step + 1)
            yield ready.result()


def _batch_rank1(vectors: torch.Tensor, labels: torch.Tensor) -> float:
    alike = vectors @ vectors.T
    alike.fill_diagonal_(-2)
    return float((labels[alike.argmax(dim=1)] == labels).float().mean())


class _Run:
    """What a run leaves in its folder, so that it can be gone on with."""

    def __init__(self, folder: Path, made_by: str, network: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self._checkpoint, self._best, self._log = (
            folder / name for name in ("checkpoint.safetensors", "best.safetensors", "log.csv")
        )
        self._made_by, self._network, self._optimiser = made_by, network, optimiser
        self._best_loss, self._best_step = math.inf, 0

    def resume(self) -> int:
        """Restore the checkpoint and return the step to go on with; 0 without one."""
        step = self._restored() if self._checkpoint.exists() else 0
        # What was done after the last checkpoint is done again.
        lines = self._log.read_text().splitlines(keepends=True)[1 : step + 1] if self._log.exists() else []
        self._log.write_text(",".join(_LOG) + "\n" + "".join(lines))
        return step

    def _restored(self) -> int:
        with safe_open(self._checkpoint, framework="pt") as stored:
            about = stored.metadata()
            if about["made_by"] != self._made_by:
                raise BoneprintError(
                    f"{self._checkpoint}: checkpoint of another run ({about['made_by']}), expected {self._made_by}; "
                    "train with the same options, or delete it to start anew."
                )
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        self._network.load_state_dict(_within(tensors, "network."))
        state = self._optimiser.state_dict()
        for name, value in _within(tensors, "optimiser.").items():
            number, field = name.split(".")
            state["state"].setdefault(int(number), {})[field] = value
        self._optimiser.load_state_dict(state)
        self._best_loss, self._best_step = float(about["best_loss"]), int(about["best_step"])
        return int(about["step"])

    def save(self, step: int) -> None:
        """Write a checkpoint in place of the last."""
        tensors = {f"network.{name}": value.contiguous() for name, value in self._network.state_dict().items()}
        for number, state in self._optimiser.state_dict()["state"].items():
            tensors.update({f"optimiser.{number}.{name}": value.contiguous() for name, value in state.items()})
        about = {"best_loss": repr(self._best_loss), "best_step": str(self._best_step)}
        _write(self._checkpoint, tensors, {"step": str(step), "made_by": self._made_by, **about})

    def keep_best(self, step: int, loss: float) -> None:
        """Keep the weights if no examination was better."""
        if loss < self._best_loss:
            self._best_loss, self._best_step = loss, step
            state = {name: value.contiguous() for name, value in self._network.state_dict().items()}
            _write(self._best, state, {"step": str(step)})

    def since_best(self, step: int) -> int:
        """Steps since the best examination."""
        return step - self._best_step

    def restore_best(self) -> None:
        """The weights of the best examination."""
        with safe_open(self._best, framework="pt") as stored:
            self._network.load_state_dict({name: stored.get_tensor(name) for name in stored.keys()})  # noqa: SIM118

    def log(
        self, step: int, loss: float, rank1: float | None, exam: tuple[float, float] | None, seconds: float
    ) -> None:
        """One line; what is not known is left empty."""
        numbers = (loss, rank1, *(exam or (None, None)))
        said = ["" if number is None else f"{number:.4f}" for number in numbers]
        with self._log.open("a", newline="") as stream:
            csv.writer(stream).writerow([step, *said, f"{seconds:.1f}"])


def _within(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _write(path: Path, tensors: dict[str, torch.Tensor], about: dict[str, str]) -> None:
    written = path.with_suffix(".tmp")
    save_file(tensors, written, metadata=about)
    written.replace(path)
