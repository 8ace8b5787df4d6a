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
from boneprint.embed.card import name_of, read_card, write_card
from boneprint.embed.embedder import Embedder
from boneprint.embed.training import Schedule, train
from boneprint.errors import BoneprintError
from boneprint.evidence import calibrate
from boneprint.evidence.metrics import equal_error_rate

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
    out : NAME of the weights, which becomes the embedder's name
    cache : folder for the training set, checkpoints and calibration bones
    report : told (stage, done, total, remark)

    Returns
    -------
    the card
    """

    def tell(stage: str) -> Callable[[int, int], None]:
        return lambda done, total: report(stage, done, total, "") if report else None

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BoneprintError(f"{out.parent}: {error.strerror}; name a folder that can be written with -o.") from error
    data = training_set.build(recipe, cache / "views", report=tell("rendering bodies"))

    def step(number: int, loss: float, rank1: float) -> None:
        if report:
            report("training", number + 1, schedule.steps, f"loss {loss:.3f}, batch rank 1 {rank1:.3f}")

    network = train(data, schedule, cache / "run", report=step)
    card = {
        "name": name_of(out),
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
    measured, heights = calibration_set.comparisons(paths, Embedder(out))
    card["calibration"] = {}
    for kind, found in measured.items():
        fitted = calibrate(
            found, kind=kind, data=said, embedder=embedder_id(card), date=_today(), canvas_heights_mm=heights
        )
        card["calibration"][kind] = {**fitted.to_card(), "equal_error_rate": equal_error_rate(found)}
    write_card(out, card)
    return card


def _today() -> str:
    return datetime.now(tz=UTC).date().isoformat()
