"""S1's own experiment, as published, on simulated cats; beside it what S1 reports and what the shipped network does.

    python benchmarks/s1_identity.py --setting full --cache DIR [--minutes 8] [--published-vgg FILE]

29 cats' femora, 24 to train on and 5 held out, 900 joined images each; VGG-16 and ResNet-50 with a linear layer to d
dimensions, L2 normalisation and triplet loss; kNN, SVM, a softmax over the 29 bones; pairwise accuracy in S1's strata.
Beyond S1: a threshold that was fixed beforehand on other bones, unseen bones in hundreds instead of five, intervals
over bones. Every cell of the table is written as soon as it is known and kept when the benchmark is run again; images,
half-trained networks and boneprint's fingerprints are kept in the cache.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import report
import s1_measures as measures
import torch
from s1_pictures import CANVAS, SPACING_MM, WHITE, Cat, Studio, Views, cats, others
from s1_training import OutOfTimeError, Recipe, Trained, train

from boneprint._version import RENDERING
from boneprint.drr import s1
from boneprint.embed import SHIPPED, Embedder, embedder_id, load_embedder, read_card
from boneprint.errors import BoneprintError
from boneprint.evidence.metrics import share_interval

# What S1 reports (FIELD 1), for the reader beside our figures; differences are in accuracy.
PUBLISHED = {
    "data": "29 CTs of cat femora, 24 to train on, 5 held out; ImageNet weights",
    "triplet_accuracy": 0.999,
    "identity": "kNN and SVM 100 %, on the 5 held out, too",
    "pairs_5_held_out_percent": {name: figure for name, (*_, figure) in measures.STRATA.items()},
    "transfer_learning_percent": "63 to 100",
    "ablations": {
        "d = 64 or 32": "as 128",
        "d = 16": "-1 %",
        "margin 1.0": "-9.6 %",
        "AP alone": "-2.0 %",
        "ResNet-50": "-0.8 %",
    },
}


@dataclass(frozen=True)
class Setting:
    """How much of it is done."""

    views: Views
    bones: int
    held_out: int
    unseen: int
    fixing: int
    recipe: Recipe
    cells: tuple[str, ...] | None = None  # None: all


_MEDIUM_DEG = (-21.0, -12.0, -6.0, -3.0, 0.0, 3.0, 6.0, 12.0, 21.0)
SETTINGS = {
    "full": Setting(Views(), bones=29, held_out=5, unseen=100, fixing=50, recipe=Recipe()),
    # Where there is no GPU: 324 images of a bone, at 64 x 64, half the batch and half the steps.
    "medium": Setting(
        Views(_MEDIUM_DEG, _MEDIUM_DEG, pixels=64),
        bones=29, held_out=5, unseen=100, fixing=50,
        recipe=Recipe(steps=400, images=2),
        cells=("vgg16 d=128", "resnet50 d=128", "resnet50 softmax", "boneprint AP + ML", "boneprint AP alone"),
    ),
    # 24 images of a bone and networks that have hardly begun to learn: that everything runs, which a test shows, too.
    "reduced": Setting(
        Views((-3.0, 0.0, 21.0), (0.0, 9.0), pixels=32),
        bones=5, held_out=2, unseen=3, fixing=3,
        recipe=Recipe(steps=2, bones=3, images=2, warmup=1),
        cells=("resnet50 d=128", "resnet50 AP alone", "resnet50 softmax", "boneprint AP + ML"),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """One network of the table: one of S1's, or boneprint's, which sees ``sides`` (0 AP, 1 ML).

    Only where ``unseen`` the many unseen bones are compared, too: they take as long as the training.
    """

    name: str
    recipe: Recipe | None
    sides: tuple[int, ...] = ()
    unseen: bool = False


def cells(base: Recipe, published: dict[str, Path | None]) -> list[Cell]:
    """All of them, the most wanted first."""

    def of(network: str, **changed: object) -> Recipe:
        return replace(base, network=network, published=published[network], **changed)  # type: ignore[arg-type]

    return [
        Cell("vgg16 d=128", of("vgg16"), unseen=True),
        Cell("resnet50 d=128", of("resnet50"), unseen=True),
        Cell("vgg16 d=64", of("vgg16", dimension=64)),
        Cell("vgg16 d=32", of("vgg16", dimension=32)),
        Cell("vgg16 d=16", of("vgg16", dimension=16)),
        Cell("vgg16 margin 1.0", of("vgg16", margin=1.0)),
        Cell("vgg16 AP alone", of("vgg16", side="AP")),
        Cell("vgg16 softmax", of("vgg16", loss="softmax")),
        Cell("resnet50 softmax", of("resnet50", loss="softmax")),
        Cell("resnet50 AP alone", of("resnet50", side="AP")),
        Cell("boneprint AP + ML", None, (0, 1), unseen=True),
        Cell("boneprint AP alone", None, (0,), unseen=True),
    ]


class Experiment:
    """The bones of one setting, and what becomes of them in each cell."""

    def __init__(self, given: argparse.Namespace, setting: Setting, studio: Studio, deadline: float) -> None:
        self.setting, self.studio, self.deadline = setting, studio, deadline
        self.cache, self.weights, self.seed = given.cache, given.weights, given.seed
        self.table = setting.views.table()
        everyone = cats(given.seed, setting.bones)
        order = np.random.default_rng(given.seed).permutation(setting.bones)
        self.everyone: list[Cat] = [everyone[number] for number in order]
        self.training = self.everyone[: setting.bones - setting.held_out]
        self.held_out = self.everyone[setting.bones - setting.held_out :]
        self.unseen = cats(given.seed, setting.unseen, first=setting.bones)
        self.fixing = others(given.seed, setting.fixing)
        studio.order([*self.everyone, *self.fixing, *self.unseen])

    def measure(self, cell: Cell) -> dict[str, object]:
        """Train what is to be trained, and measure it."""
        if cell.recipe is None:
            return self._fingerprints(lambda bones: self._ours(bones, cell.sides), None, cell.unseen)
        if cell.recipe.loss == "softmax":
            return self._softmax(cell.recipe)
        trained = self._train(cell.recipe, self.studio.joined(self.training))
        embed = lambda bones: trained.embed(self.studio.joined(bones))  # noqa: E731
        found = self._fingerprints(embed, cell.recipe.margin, cell.unseen)
        return {"training_seconds": round(trained.seconds, 1)} | found

    def _train(self, recipe: Recipe, pictures: torch.Tensor) -> Trained:
        name = hashlib.sha256(f"{recipe}{self.setting}{self.seed}".encode()).hexdigest()[:12]
        return train(pictures, recipe, self.cache / "checkpoints" / f"{name}.safetensors", self.deadline)

    def _ours(self, bones: list[Cat], sides: tuple[int, ...]) -> torch.Tensor:
        """Fingerprints of boneprint's network, of AP and ML each by itself and then fused: (B, M, D)."""
        embedder = load_embedder(self.weights)
        folder = self.cache / "fingerprints" / embedder.id.replace(":", "-")
        vectors = torch.stack([self._kept(bone, embedder, folder) for bone in bones])
        return measures.fused([vectors[:, side] for side in sides])

    def _kept(self, cat: Cat, embedder: Embedder, folder: Path) -> torch.Tensor:
        """One bone's fingerprints of either side, (2, M, D): computed once, and kept beside the pictures."""
        path = cat.file(folder).with_suffix(".npy")
        if not path.exists():
            (halves,) = self.studio.halves([cat])
            parts = halves.transpose(0, 1).flatten(0, 1).split(1024)
            rows = [embedder.embed_tensors(part.float() * (WHITE / 255), SPACING_MM, CANVAS) for part in parts]
            vectors = torch.cat(rows).unflatten(0, (2, -1)).cpu().numpy()
            folder.mkdir(parents=True, exist_ok=True)
            written = path.with_suffix(".tmp.npy")
            np.save(written, vectors)
            written.replace(path)
        return torch.from_numpy(np.load(path)).to(self.studio.device)

    def _fingerprints(
        self, embed: Callable[[list[Cat]], torch.Tensor], margin: float | None, with_unseen: bool
    ) -> dict[str, object]:
        training, held_out, fixing = embed(self.training), embed(self.held_out), embed(self.fixing)
        at = measures.thresholds(fixing) | ({} if margin is None else {"margin, as S1": margin})
        pairs = {f"{len(held_out)} held out": measures.pairwise(held_out, self.table, at, seed=self.seed)}
        if with_unseen and self.unseen:
            unseen = embed(self.unseen)
            pairs[f"{len(unseen)} unseen"] = measures.pairwise(unseen, self.table, at, seed=self.seed)
        everyone = torch.cat([training, held_out])
        bones = {"training": training, "held out": held_out}
        return {
            "triplet_accuracy": {
                name: measures.triplets(rows, margin or 0.1, seed=self.seed) for name, rows in bones.items()
            },
            "identity": {
                f"all {len(everyone)}": measures.identity(everyone, self.table, seed=self.seed),
                f"{len(held_out)} held out": measures.identity(held_out, self.table, seed=self.seed),
            },
            "thresholds": at,
            "pairs": pairs,
        }

    def _softmax(self, recipe: Recipe) -> dict[str, object]:
        """S1's baseline: a class for each of the bones; four fifths of the images of each are learnt, one is asked."""
        pictures = self.studio.joined(self.everyone)
        order = torch.randperm(pictures.shape[1], generator=torch.Generator().manual_seed(self.seed))
        order = order.to(pictures.device)
        learnt = len(order) * 4 // 5
        trained = self._train(replace(recipe, bones=len(pictures)), pictures[:, order[:learnt]])
        scores = trained.embed(pictures[:, order[learnt:]])
        truth = torch.arange(len(pictures), device=scores.device)[:, None]
        right = (scores.argmax(dim=2) == truth).cpu().numpy()
        return {
            "training_seconds": round(trained.seconds, 1),
            "accuracy": float(right.mean()),
            "accuracy_interval": share_interval(
                right.ravel(), np.repeat(np.arange(len(right)), right.shape[1]), seed=self.seed
            ),
        }


def run(given: argparse.Namespace, setting: Setting) -> dict[str, object]:
    """Every cell that is not known yet, until all are or the time is over."""
    deadline = time.monotonic() + 60 * given.minutes
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    published = {"vgg16": given.published_vgg, "resnet50": given.published_resnet}
    asked = {
        "setting": {"name": given.setting, "seed": given.seed, **asdict(setting.views)},
        "bones": {
            "training": setting.bones - setting.held_out,
            "held_out": setting.held_out,
            "unseen": setting.unseen,
            "thresholds_fixed_on": setting.fixing,
            "images_each": len(setting.views.table()),
        },
    }
    asked = json.loads(json.dumps(asked))
    path = given.out / f"{given.name}.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    if any(known.get(name) != value for name, value in asked.items()):
        known = {}
    result = asked | {"published_by_s1": PUBLISHED, "cells": known.get("cells", {})}
    with Studio(given.cache / "pictures", setting.views, given.workers, device) as studio:
        experiment = Experiment(given, setting, studio, deadline)
        for cell in cells(setting.recipe, published):
            if cell.name not in (given.only or setting.cells or [cell.name]):
                continue
            made = {"device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu", **told(cell, given)}
            stored = result["cells"].get(cell.name, {})
            if all(stored.get(name) == made[name] for name in ("recipe", "embedder")):
                continue
            print(f"{cell.name} on {device}", flush=True)
            begun, commit = time.monotonic(), report.circumstances()["commit"]
            try:
                if begun > deadline:
                    raise OutOfTimeError
                measured = experiment.measure(cell)
            except OutOfTimeError:
                print(f"{given.minutes:g} minutes are over; run the same command again to go on")
                break
            except BoneprintError as error:
                print(f"{cell.name} left out: {error}")
                continue
            seconds = round(time.monotonic() - begun, 1)
            result["cells"][cell.name] = made | {"commit": commit, "seconds": seconds} | measured
            report.write(given.name, result, given.out)
    return result


def told(cell: Cell, given: argparse.Namespace) -> dict[str, object]:
    """What a cell hangs on: its recipe, or the weights of boneprint's network."""
    if cell.recipe is None:
        return {"recipe": None, "embedder": embedder_id(read_card(given.weights))}
    return {"recipe": json.loads(json.dumps(asdict(cell.recipe), default=lambda path: path.name)), "embedder": None}


def table(result: dict[str, object]) -> str:
    """For people: pairwise accuracy in per cent, a line for each network and threshold, a column for each stratum.

    Over all pairs where bones are held out, as S1 counts; of many unseen bones nearly all pairs are of different ones,
    and the mean of the accuracies on pairs of one bone and of two is shown.
    """
    published = result["published_by_s1"]["pairs_5_held_out_percent"]
    lines = [f"{'pairwise accuracy in %':52}" + "".join(f"{_short(name):>14}" for name in published)]
    lines.append(f"{'S1 as published, 5 held out':52}" + "".join(f"{figure:>14}" for figure in published.values()))
    for name, cell in result["cells"].items():
        for bones, strata in cell.get("pairs", {}).items():
            kind = "balanced_accuracy" if "unseen" in bones else "accuracy"
            for threshold in cell["thresholds"]:
                shown = [f"{100 * each[threshold][kind]:14.2f}" for each in strata.values()]
                lines.append(f"{f'{name}, {bones}, {threshold}':52}" + "".join(shown))
    lines.append("")
    for name, cell in result["cells"].items():
        if "accuracy" in cell:
            lines.append(f"{name}: {cell['accuracy']:.2%} of the images named rightly")
            continue
        accuracy = ", ".join(f"{each:.2%} {of}" for of, each in cell["triplet_accuracy"].items())
        who = "; ".join(
            f"{of}: kNN {each['knn']:.2%}, SVM {each['svm']:.2%}, one picture {each['one_picture']:.2%}"
            for of, each in cell["identity"].items()
        )
        lines.append(f"{name}: triplets {accuracy}; {who}")
    return "\n".join(lines)


def _short(stratum: str) -> str:
    return {
        "4 deg, 146-158 keV": "4, 146-158",
        "22 deg about the axis, 4 in the plane": "axis 22",
        "4 deg about the axis, 22 in the plane": "plane 22",
    }.get(stratum, stratum)


def main() -> None:
    """Parse, run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--setting", choices=SETTINGS, default="reduced")
    parser.add_argument("--unseen", type=int, help="bones that no network has seen, instead of the setting's number")
    parser.add_argument("--published-vgg", type=Path, metavar="FILE", help="ImageNet weights of VGG-16")
    parser.add_argument("--published-resnet", type=Path, metavar="FILE", help="and of ResNet-50; else from scratch")
    parser.add_argument("--weights", type=Path, default=SHIPPED, help="of boneprint's network; else the shipped ones")
    parser.add_argument("--bfloat16", action="store_true", help="train S1's networks so on a CPU, too, as on a GPU")
    parser.add_argument("--only", nargs="+", metavar="CELL", help="some of the table alone, such as 'vgg16 d=128'")
    parser.add_argument("--cache", type=Path, default=Path(".cache/s1"), help="pictures and checkpoints; full: 14 GB")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="stop then; the same command goes on")
    parser.add_argument("--workers", type=int, default=2, help="processes that render")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=report.RESULTS, help="folder of the JSON")
    parser.add_argument("--name", help="of the JSON; s1-identity for the full setting")
    given = parser.parse_args()
    given.name = given.name or "s1-identity" + ("" if given.setting == "full" else f"-{given.setting}")
    setting = SETTINGS[given.setting]
    setting = setting if given.unseen is None else replace(setting, unseen=given.unseen)
    setting = replace(setting, recipe=replace(setting.recipe, bfloat16=given.bfloat16))
    given.cache = given.cache / f"{RENDERING}-{given.setting}"
    result = run(given, setting)
    print(f"{report.heading()}, seed {given.seed}, S1's {len(s1.ENERGIES)} energies")
    print(table(result))


if __name__ == "__main__":
    main()
