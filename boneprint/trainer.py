"""`boneprint train`: from a seed to weights with a card - training set, training, calibration."""

import platform
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch

from boneprint import calibration_set, training_set
from boneprint._version import __version__
from boneprint.embed import embedder_id, weights
from boneprint.embed.card import read_card, write_card
from boneprint.embed.embedder import Embedder
from boneprint.embed.training import Schedule, train
from boneprint.evidence import calibrate

Report = Callable[[str, int, int, str], None]


def train_embedder(
    out: Path,
    cache: Path,
    *,
    recipe: training_set.Recipe,
    schedule: Schedule,
    calibration_bones: int = 120,
    report: Report | None = None,
) -> dict[str, object]:
    """Make a training set, train, calibrate, and write OUT.safetensors with OUT.json.

    Interrupted and called again with the same arguments it goes on: from the bodies that are rendered, and from the
    last checkpoint.

    Parameters
    ----------
    out : NAME of the weights; its stem becomes the embedder's name
    cache : folder for the training set, checkpoints and calibration bones
    report : told (stage, done, total, remark)

    Returns
    -------
    the card
    """

    def tell(stage: str) -> Callable[[int, int], None]:
        return lambda done, total: report(stage, done, total, "") if report else None

    data = training_set.build(recipe, cache / "views", report=tell("rendering bodies"))

    def step(number: int, loss: float, rank1: float) -> None:
        if report:
            report("training", number + 1, schedule.steps, f"loss {loss:.3f}, batch rank 1 {rank1:.3f}")

    network = train(data, schedule, cache / "run", report=step)
    card = {
        "name": out.stem,
        "architecture": "Compact",
        "dimension": 128,
        "license": "Apache-2.0",
        "training": {
            "data": "simulated femora only (boneprint.simulate), no image of a real person",
            "bodies": len(data.views),
            "recipe": asdict(recipe),
            "schedule": asdict(schedule),
            "boneprint": __version__,
            "torch": torch.__version__,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {weights.device().type}",
            "date": _today(),
        },
    }
    weights.save(network, out, card)
    return calibrate_embedder(out, cache, seed=recipe.seed, bones=calibration_bones, report=report)


def calibrate_embedder(
    out: Path, cache: Path, *, seed: int = 1, bones: int = 120, report: Report | None = None
) -> dict[str, object]:
    """Fix thresholds and likelihood ratios on bones that are in neither training nor test; rewrites the card."""

    def tell(done: int, total: int) -> None:
        if report:
            report("rendering calibration bones", done, total, "")

    paths = calibration_set.build(seed, bones, cache / "calibration", report=tell)
    card = read_card(out)
    said = (
        f"{bones} simulated human femora of the calibration stream, seed {seed}: in no training set and in no "
        "cohort that `boneprint simulate` can make; "
        f"probes within {calibration_set.AXIS_DEG:g} degrees about the long axis of AP "
        f"or ML, {calibration_set.PLANE_DEG:g} in plane, tilt sd {calibration_set.TILT_DEG:g}, with soft tissue, "
        "random exposure, blur, scatter and noise"
    )
    card["calibration"] = {
        kind: calibrate(found, kind=kind, data=said, embedder=embedder_id(card), date=_today()).to_card()
        for kind, found in calibration_set.comparisons(paths, Embedder(out)).items()
    }
    write_card(out, card)
    return card


def _today() -> str:
    return datetime.now(tz=UTC).date().isoformat()
