"""Natural chest radiographs of 40 people, two each: what the network gives, and what an hour of fine-tuning adds.

    python benchmarks/chest.py                              # the shipped network: a minute
    python benchmarks/chest.py --course radiographs         # and an hour of self-supervision, half of it on each fold
    python benchmarks/chest.py --course thoraces            # and half an hour on simulated rib cages

Nobody told the network of chests. *radiographs*: pictures of half of the people are trained on, and not who they are;
each is a class of its own that is warped, moved and exposed anew. Tested is on the other half of the people, and the
other way round: half of the steps are for either fold. *thoraces*: simulated rib cages (``thorax.py``) behind a drawn
heart and diaphragm. A course resumes from ``--cache``; its weights are not shipped.

A radiograph is searched for among the 79 others. The pixel spacing is not known: the longer side is taken to be 430 mm,
that of the usual detector of 14 x 17 inches, and the canvas is the largest square one. Thresholds: none.
"""

import argparse
import csv
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import real_bodies
import report
import thorax
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from boneprint.embed import load_embedder, weights
from boneprint.embed.augment import Chance
from boneprint.embed.card import SHIPPED
from boneprint.embed.finder import GLANCES, Lie
from boneprint.embed.preprocess import canvas_pixels, framed, place, preprocess
from boneprint.embed.training import Lesson, Schedule, train
from boneprint.evidence.identification import rate
from boneprint.evidence.metrics import Comparisons, equal_error_rate
from boneprint.nouns import Radiograph, canvas_of_height
from boneprint.read import read_radiograph

FOLDS = 2
# Of both folds together: about an hour of one core, and half an hour.
STEPS = {"radiographs": 1800, "thoraces": 600}
CANVAS = canvas_of_height(480.0)
_LONGER_MM = 430.0
_PICTURE = (220, 220)  # pixels that a picture is drawn on before it is framed, as in boneprint.training_set


def main(arguments: Sequence[str] | None = None) -> None:
    """Embed, train, embed again, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=real_bodies.DATA)
    parser.add_argument("--course", choices=STEPS, action="append", default=[], help="may be given twice")
    parser.add_argument("--steps", type=int, help=f"of a course; {', '.join(f'{k} {v}' for k, v in STEPS.items())}")
    parser.add_argument("--people", type=int, default=400, help="simulated rib cages")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=Path(".cache/chest"), help="of checkpoints and rib cages")
    parser.add_argument("--weights", type=Path, default=SHIPPED, help="to begin with")
    parser.add_argument("--name", default="chest", help="of the JSON")
    parser.add_argument("--results", type=Path, default=report.RESULTS, help="where the JSON goes")
    given = parser.parse_args(arguments)
    folder = given.data / "radiographs" / "chest_pairs" / "images"
    if not folder.is_dir():
        print(f"skipped: no chest radiographs in {folder}; say where with --data")
        return
    chests = Chests.read(folder)
    shipped = load_embedder(SHIPPED)
    found: dict[str, object] = {"shipped": {"embedder": shipped.id, **untaught(SHIPPED, chests)}}
    if given.weights != SHIPPED:
        found["begun with"] = {"embedder": load_embedder(given.weights).id, **untaught(given.weights, chests)}
    print(report.heading())
    for name, each in found.items():
        print(row(name, each))
    for course in given.course:
        schedule = schedule_of(course, given)
        taught = (by_radiographs if course == "radiographs" else by_thoraces)(chests, schedule, given)
        plan = asdict(replace(schedule, published=given.weights.name))
        found[course] = {**outcome(taught.vectors, chests), "seconds": taught.seconds, "schedule": plan}
        print(row(course, found[course]), flush=True)
    report.write(given.name, {**about(chests), "seed": given.seed, **found}, given.results)


def schedule_of(course: str, given: argparse.Namespace) -> Schedule:
    """What a course does."""
    few = {"bones": 24, "views": 2} if course == "thoraces" else {"bones": 32, "views": 3}
    return Schedule(
        seed=given.seed,
        steps=given.steps or STEPS[course],
        published=str(given.weights),
        learning_rate=4e-4,
        warmup=50,
        settled_from=0,
        form="square",
        check_every=0,
        # Nobody takes a chest from the side and looks for it from the front.
        frontal_share=1.0,
        spreads_deg=(4.0, 12.0),
        **few,
    )


def untaught(path: Path, chests: "Chests") -> dict[str, object]:
    """What weights give that were never shown a chest."""
    return outcome([chests.embedded(weights.load(path)[0])] * FOLDS, chests)


@dataclass(frozen=True, eq=False)
class Chests:
    """N radiographs of P people, who are split into folds.

    Parameters
    ----------
    radiographs : N
    people : (N,) who is on each
    """

    radiographs: list[Radiograph]
    people: NDArray[np.int64]

    @classmethod
    def read(cls, folder: Path) -> "Chests":
        """Every radiograph of a folder, named PERSON_NUMBER.jpg."""
        files = sorted(folder.glob("*.jpg"))
        people = np.unique([file.name.split("_")[0] for file in files], return_inverse=True)[1]
        return cls([_read(file) for file in files], people)

    def fold(self, number: int) -> NDArray[np.bool_]:
        """Which radiographs (N,) are tested on in a fold; the others may be trained on."""
        return self.people % FOLDS == number

    def embedded(self, network: nn.Module) -> NDArray[np.float32]:
        """Fingerprints (N, D)."""
        made = weights.ready(network.eval(), weights.device())
        with torch.inference_mode():
            parts = [made(preprocess([each], CANVAS).to(weights.device()), GLANCES) for each in self.radiographs]
        vectors: NDArray[np.float32] = torch.cat(parts).float().cpu().numpy()
        return vectors


def _read(file: Path) -> Radiograph:
    unsized = read_radiograph(file, pixel_spacing_mm=1.0)
    return Radiograph(unsized.pixels, _LONGER_MM / max(unsized.pixels.shape), None, file.name)


@dataclass(frozen=True, eq=False)
class Taught:
    """What a course has led to: of each fold the fingerprints (N, D) of all radiographs; and the seconds it took."""

    vectors: list[NDArray[np.float32]]
    seconds: float


def by_radiographs(chests: Chests, schedule: Schedule, given: argparse.Namespace) -> Taught:
    """Self-supervision: in each fold on the pictures of the people who are not tested on."""
    vectors, seconds = [], 0.0
    for number in range(FOLDS):
        school = Pictures.of([chests.radiographs[at] for at in np.flatnonzero(~chests.fold(number))])
        folder = given.cache / f"radiographs-{number}"
        half = replace(schedule, steps=schedule.steps // FOLDS)
        vectors.append(chests.embedded(train(school, half, folder, report=progress(half))))
        seconds += _seconds(folder)
    return Taught(vectors, seconds)


def by_thoraces(chests: Chests, schedule: Schedule, given: argparse.Namespace) -> Taught:
    """Simulated rib cages: one network, whoever is tested on."""
    school = thorax.training_set(given.seed, given.people, given.cache / "thoraces")
    folder = given.cache / "thoraces-run"
    vectors = chests.embedded(train(school, schedule, folder, report=progress(schedule)))
    return Taught([vectors] * FOLDS, _seconds(folder))


def _seconds(folder: Path) -> float:
    """So many steps as the log has, each of the median length: sittings that were interrupted do not count."""
    with (folder / "log.csv").open(newline="") as stream:
        clock = [float(line["seconds"]) for line in csv.DictReader(stream)]
    return len(clock) * float(np.median(np.diff(clock)))


def progress(schedule: Schedule) -> Callable[[int, float, float], None]:
    """Say now and then how far a course is."""

    def said(step: int, loss: float, rank1: float) -> None:
        if (step + 1) % 50 == 0:
            print(f"step {step + 1} of {schedule.steps}: loss {loss:.3f}, rank 1 in the batch {rank1:.2f}", flush=True)

    return said


@dataclass(frozen=True, eq=False)
class Pictures:
    """Radiographs that nobody said anything of, each a class of its own; a `School`.

    Parameters
    ----------
    pictures : (B, H, W) in the middle of ``_PICTURE``, their borders carried on
    shown : (B, H, W), 1 where the radiograph itself is
    """

    pictures: torch.Tensor
    shown: torch.Tensor

    @classmethod
    def of(cls, radiographs: Sequence[Radiograph]) -> "Pictures":
        """Put radiographs on the canvas."""
        made = []
        for radiograph in radiographs:
            image = place(radiograph, CANVAS)
            image = (image - image.min()) / (image.max() - image.min())
            beyond = [side - own for side, own in zip(_PICTURE[::-1], image.shape[::-1])]
            around = [part for each in beyond for part in (each // 2, each - each // 2)]
            pair = torch.stack([image, torch.ones_like(image)])[None]
            made.append(torch.cat([F.pad(pair[:, :1], around, mode="replicate"), F.pad(pair[:, 1:], around)], dim=1)[0])
        return cls(*torch.stack(made).unbind(1))

    @property
    def origin(self) -> str:
        """For the checkpoint."""
        return f"{len(self.pictures)} radiographs without names"

    def lesson(self, schedule: Schedule, step: int) -> Lesson:
        """Some of the pictures, each warped, moved and exposed in several ways."""
        rng = np.random.default_rng((schedule.seed, step))
        chosen = rng.choice(len(self.pictures), min(schedule.bones, len(self.pictures)), replace=False)
        owner = torch.from_numpy(np.repeat(chosen, schedule.views))
        chance = Chance(torch.Generator().manual_seed(int(rng.integers(2**62))), len(owner))
        lean, down, right = (chance.uniform(-most, most).flatten() for most in (0.1, 9.0, 9.0))
        both = _moved(torch.stack([self.pictures[owner], self.shown[owner]], dim=1), lean, down, right, chance)
        pictures, shown = _exposed(both[:, 0], chance), both[:, 1].clamp(0, 1)
        size = canvas_pixels(CANVAS)
        frames, turned_back, middle = framed(pictures, size, shown[:, None])
        there = Lie(turned_back, *middle).to(
            Lie(lean, *((side - 1) / 2 + moved for side, moved in zip(_PICTURE, (down, right))))
        )
        centre = Lie(torch.zeros_like(lean), *(torch.full_like(lean, (side - 1) / 2) for side in frames.shape[2:]))
        labels = torch.arange(len(chosen)).repeat_interleave(schedule.views)
        # A frame is empty beyond the picture, as that of a real one is.
        seen = frames[:, :-1] * (frames[:, -1:] > 0.5)
        return Lesson(seen, labels, F.avg_pool2d(frames[:, -1:], 2), centre.moved(there))

    def examinations(self, schedule: Schedule) -> Sequence[Lesson]:
        """None: there is nobody to spare."""
        return []


def _moved(
    pictures: torch.Tensor, lean: torch.Tensor, down: torch.Tensor, right: torch.Tensor, chance: Chance
) -> torch.Tensor:
    """Pictures (N, C, H, W) that lean, with their middle moved, a little larger or smaller, and smoothly warped."""
    height, width = pictures.shape[2:]
    y = (torch.arange(height) - (height - 1) / 2)[None, :, None] - down[:, None, None]
    x = (torch.arange(width) - (width - 1) / 2)[None, None, :] - right[:, None, None]
    c, s = torch.cos(lean)[:, None, None], torch.sin(lean)[:, None, None]
    scale = chance.uniform(0.94, 1.06)
    at = [scale * chance.uniform(0.96, 1.04) * (c * x - s * y), scale * chance.uniform(0.92, 1.08) * (s * x + c * y)]
    for points, most in ((4, 6.0), (9, 2.5)):
        by = chance.uniform(0, most)[:, None] * chance.normal(2, points, points)
        warp = F.interpolate(by, size=(height, width), mode="bicubic", align_corners=True)
        at = [each + warp[:, axis] for axis, each in enumerate(at)]
    unit = torch.stack([at[0] * (2 / (width - 1)), at[1] * (2 / (height - 1))], dim=-1)
    seen = F.grid_sample(pictures[:, :1], unit, padding_mode="border", align_corners=True)
    return torch.cat([seen, F.grid_sample(pictures[:, 1:], unit, align_corners=True)], dim=1)


def _exposed(pictures: torch.Tensor, chance: Chance) -> torch.Tensor:
    """Another exposure, unevenness, blur and noise, and something that lies on the chest: (N, H, W)."""
    height, width = pictures.shape[1:]
    seen = pictures.clamp(0, 1) ** torch.exp(chance.uniform(-0.6, 0.6))
    # Ill lungs are brighter in places; a bed or a breath makes one half brighter.
    for points, most in ((5, 0.15), (14, 0.12)):
        cloud = F.interpolate(
            chance.normal(2, points, points), size=(height, width), mode="bicubic", align_corners=True
        )
        seen = seen * (1 + chance.uniform(0, most) * cloud[:, 0]) + chance.uniform(0, most) * cloud[:, 1]
    blurred = F.avg_pool2d(F.pad(seen[:, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[:, 0]
    seen = torch.lerp(seen, blurred, chance.uniform(0, 1))
    seen = seen + chance.uniform(0, 0.05) * chance.normal(height, width)
    v, u = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    for _ in range(4):
        top, left = chance.uniform(0.0, 0.9) * height, chance.uniform(0.0, 0.9) * width
        inside = (v > top) & (v < top + chance.uniform(4, 50)) & (u > left) & (u < left + chance.uniform(4, 50))
        seen = torch.where(inside & (chance.happens(0.4) > 0), chance.uniform(0, 1).expand_as(seen), seen)
    return seen


def outcome(vectors: Sequence[NDArray[np.float32]], chests: Chests) -> dict[str, object]:
    """Rank of each radiograph's fellow among all others by the network of its fold; AUC and EER of the fold's pairs."""
    people, ranks = chests.people, np.zeros(len(chests.people), dtype=np.int64)
    areas, errors = [], []
    for number, of_fold in enumerate(vectors):
        tested = chests.fold(number)
        distance = np.sqrt(np.maximum(2 - 2 * of_fold @ of_fold.T, 0)).astype(np.float64)
        np.fill_diagonal(distance, np.inf)
        fellow = np.where(people[:, None] == people, distance, np.inf).min(axis=1)
        ranks[tested] = (distance <= fellow[:, None]).sum(axis=1)[tested]
        ours = np.flatnonzero(tested)
        a, b = (ours[each] for each in np.triu_indices(len(ours), 1))
        pairs = Comparisons(distance[a, b], people[a], people[b])
        own, other = pairs.distance[pairs.genuine], np.sort(pairs.distance[~pairs.genuine])
        # Of a same-person pair and a different-person pair, how often the first is nearer; ties count half.
        nearer = 1 - (np.searchsorted(other, own, "left") + np.searchsorted(other, own, "right")) / (2 * len(other))
        areas.append(float(nearer.mean()))
        errors.append(equal_error_rate(pairs))
    found = rate(ranks == 1, people)
    assert found is not None
    return {
        "rank_1": {"share": found.value, "interval": found.interval},
        "median_rank": float(np.median(ranks)),
        "auc": float(np.mean(areas)),
        "eer": float(np.mean(errors)),
    }


def about(chests: Chests) -> dict[str, object]:
    """What was done, for whoever reads the JSON."""
    return {
        "radiographs": len(chests.people),
        "people": len(np.unique(chests.people)),
        "spacing": f"unknown; longer side taken as {_LONGER_MM:g} mm, canvas {CANVAS.height_mm:g} mm square",
        "gallery": "the other radiographs, one of them of the same person",
        "chance": 1 / (len(chests.people) - 1),
        "sets": "radiographs: trained without names on half of the people, tested on the others, and the other way "
        "round; thoraces: trained on simulated rib cages alone. No calibration, no threshold",
        "interval": "95 %, bootstrap over people",
        "seconds": "steps times the median step, by the clock; other work may have shared the cores",
        "auc, eer": f"mean of {FOLDS} folds, each over the pairs of its own people",
    }


def row(name: str, found: dict[str, object]) -> str:
    """One line for people."""
    low, high = found["rank_1"]["interval"]  # type: ignore[index]
    took = f", {found['seconds']:.0f} s" if "seconds" in found else ""
    return (
        f"{name}: rank 1 {found['rank_1']['share']:.1%} ({low:.0%}-{high:.0%}), median rank {found['median_rank']:g}, "  # type: ignore[index]
        f"AUC {found['auc']:.3f}, EER {found['eer']:.1%}{took}"
    )


if __name__ == "__main__":
    main()
