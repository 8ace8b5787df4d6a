"""`boneprint train`: from a seed, or from CTs, to weights with a card - bodies, training, whitening, calibration."""

import platform
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import torch

from boneprint import calibration_set, ingest, radiograph_lessons, training_set, two_visits, whitening_set
from boneprint._version import __version__
from boneprint.embed import embedder_id, weights
from boneprint.embed.card import name_of, read_card, write_card
from boneprint.embed.cohort import Cohort, read_cohort, write_cohort
from boneprint.embed.embedder import Embedder
from boneprint.embed.networks import Compact
from boneprint.embed.training import FORMS, Schedule, learning_curve, train
from boneprint.embed.whitening import SHRINKAGE, fold_in, whitening
from boneprint.errors import BoneprintError
from boneprint.evidence import calibrate
from boneprint.evidence.metrics import equal_error_rate
from boneprint.nouns import Volume
from boneprint.radiograph_lessons import RadiographLessons
from boneprint.training_recipe import Recipe, is_seen_on
from boneprint.training_set import TrainingSet

Report = Callable[[str, int, int, str], None]


def train_embedder(
    out: Path,
    cache: Path,
    *,
    recipe: Recipe,
    schedule: Schedule,
    cts: Path | None = None,
    radiographs: Mapping[str, int] | None = None,
    whitening_bones: int | None = None,
    calibration_bones: int | None = None,
    report: Report | None = None,
) -> dict[str, object]:
    """Make a training set, train, whiten, calibrate, and write OUT.safetensors with OUT.json.

    Interrupted and called again with the same arguments it goes on: from the bodies that are scanned, and from the
    last checkpoint.

    Parameters
    ----------
    out : NAME of the weights, which becomes the embedder's name
    cache : folder for the training set, checkpoints and calibration bones
    recipe : which simulated bodies to train on, where there are no ``cts``; its seed is also that of the calibration
    cts : folder of CTs to train on instead; those of one subject, bone and side are scans of one bone
    radiographs : so many bones of these kinds to train on instead, by radiographs of later visits: a last course
    whitening_bones : of each kind that was trained on (all, with ``cts``); by default as `whitening_set.COUNTS`; with
        none, or another network than the compact one, or if the finder alone was taught, the last layer stays as it is
    calibration_bones : likewise, by default as `calibration_set.COUNTS`
    report : told (stage, done, total, remark)

    Returns
    -------
    the card

    Raises
    ------
    BoneprintError
        If nothing can be written to ``out``, the cache belongs to another run, the CTs hold fewer than two bones, or
        there is no compact network that a last course could begin from.
    """
    if radiographs and (cts is not None or schedule.network != "compact" or not schedule.published):
        raise BoneprintError(
            "a course on radiographs is the last one of a compact network, on simulated bones: expected weights to "
            "start from, and no CTs. Name them with --start-from."
        )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BoneprintError(f"{out.parent}: {error.strerror}; name a folder that can be written with -o.") from error
    data: TrainingSet | RadiographLessons
    if radiographs:
        data = radiograph_lessons.build(
            recipe.seed,
            radiographs,
            cache / "radiographs",
            Embedder(Path(str(schedule.published))),
            report=None if report is None else lambda stage, done, total: report(stage, done, total, ""),
        )
        said: dict[str, object] = {
            "data": "radiographs of simulated bodies only (boneprint.simulate), no image of a real person; "
            f"{two_visits.CONTENT}",
            "recipe": {"seed": recipe.seed, "radiographs": dict(radiographs)},
        }
    elif cts is None:
        data = training_set.build(recipe, cache / "bodies", report=_telling(report, "scanning bodies"))
        said = {
            "data": "simulated bodies only (boneprint.simulate), no image of a real person",
            "recipe": asdict(recipe),
        }
    else:
        data = training_set.of_scans(_bones(cts, _telling(report, "reading CTs")), f"CTs of {cts}", cache / "own")
        said = {"data": f"CTs of the user's own ({len(data)} bones)", "recipe": {"seed": recipe.seed}}

    def step(number: int, loss: float, rank1: float | None) -> None:
        if report:
            ranked = "" if rank1 is None else f", batch rank 1 {rank1:.3f}"
            report("training", number + 1, schedule.steps, f"loss {loss:.3f}{ranked}")

    begun = Path(schedule.published) if schedule.published and schedule.network == "compact" else None
    network = train(data, schedule, cache / "run", report=step)
    exams, seconds = learning_curve(cache / "run")
    card = {
        "name": name_of(out),
        "architecture": schedule.network,
        "dimension": schedule.dimension,
        "license": "Apache-2.0",
        "training": {
            **said,
            "bodies": len(data),
            "schedule": asdict(schedule),
            "boneprint": __version__,
            "torch": torch.__version__,
            "machine": f"{platform.machine()}, {torch.get_num_threads()} threads, {weights.device().type}",
            "date": _today(),
            "seconds": round(seconds),
            "examinations": exams,
            **({} if begun is None else {"earlier_courses": _courses(begun)}),
        },
    }
    weights.save(network, out, card)
    if whitening_bones != 0 and isinstance(network, Compact) and not schedule.finder_only:
        whiten_embedder(
            out,
            cache,
            seed=recipe.seed,
            bones=_counts(whitening_set.COUNTS, recipe, cts, whitening_bones, schedule.form),
            form=schedule.form,
            report=report,
        )
    bones = _counts(calibration_set.COUNTS, recipe, cts, calibration_bones, schedule.form)
    card = calibrate_embedder(out, cache, seed=recipe.seed, bones=bones, report=report)
    return card if begun is None or schedule.form is None else keep_calibration(out, begun, schedule.form)


def _courses(begun: Path) -> list[dict[str, object]]:
    """What the weights that a course began from were trained by, the first course first."""
    last = dict(read_card(begun).get("training", {}))
    return [*last.pop("earlier_courses", []), last]


def _telling(report: Report | None, stage: str) -> Callable[[int, int], None]:
    """How a stage says (done, total)."""
    return lambda done, total: report(stage, done, total, "") if report else None


def _counts(
    usual: Mapping[str, int], recipe: Recipe, cts: Path | None, each: int | None, form: str | None
) -> Mapping[str, int]:
    """How many bones of which kinds, of those a form shows; where none was trained on, as lumps are none, all."""
    shown = [kind for kind in usual if is_seen_on(kind, form)]
    trained = [kind for kind in shown if cts is None and kind in recipe.kinds] or shown
    return {kind: each or usual[kind] for kind in trained}


def whiten_embedder(
    out: Path,
    cache: Path,
    *,
    seed: int = 1,
    bones: Mapping[str, int] = whitening_set.COUNTS,
    form: str | None = None,
    report: Report | None = None,
) -> dict[str, object]:
    """Let the last layer make differences between pictures of one bone alike in every direction; rewrites the weights.

    They have to be calibrated afterwards. For once after every training.

    Parameters
    ----------
    bones : how many simulated ones of which kinds
    form : "tall" or "square": of that branch only; None: of both

    Returns
    -------
    the card

    Raises
    ------
    BoneprintError
        If the weights are not those of the compact network.
    """
    tell = _telling(report, "rendering whitening bones")
    paths = whitening_set.build(seed, bones, cache / "whitening", report=tell)
    network, card = weights.load(out)
    if not isinstance(network, Compact):
        raise BoneprintError(f"{out}: a {card['architecture']} network, expected compact; whiten none but that.")
    found = whitening_set.differences([path for of_kind in paths.values() for path in of_kind], Embedder(out))
    by_form = {name: found[name == "tall"] for name in FORMS if form in (None, name) and (name == "tall") in found}
    for name, each in by_form.items():
        fold_in(network.tall if name == "tall" else network.square, whitening(each))
    card["training"]["whitening"] = {
        "data": f"simulated human bones of the training stream, seed {seed}, that were not trained on; "
        f"{two_visits.CONTENT}",
        "bones": dict(bones),
        "radiographs": {name: len(each) for name, each in by_form.items()},
        "shrinkage": SHRINKAGE,
    }
    weights.save(network, out, card)
    return card


def calibrate_embedder(
    out: Path,
    cache: Path,
    *,
    seed: int = 1,
    bones: Mapping[str, int] = calibration_set.COUNTS,
    report: Report | None = None,
) -> dict[str, object]:
    """Fix thresholds and likelihood ratios on bones that are in neither training nor test; rewrites the card.

    Parameters
    ----------
    bones : how many simulated ones of which kinds; each kind is calibrated by itself, and no other is
    """
    tell = _telling(report, "rendering calibration bones")
    paths = calibration_set.build(seed, bones, cache / "calibration", report=tell)
    strangers = calibration_set.build_strangers(seed, bones, cache / "calibration", report=tell)
    card = read_card(out)
    said = (
        f"simulated human bones of the calibration stream, seed {seed}: in no training set and in no cohort that "
        f"`boneprint simulate` can make; {calibration_set.CONTENT}"
    )
    embedder = Embedder(out)
    cohort = calibration_set.cohort(paths, strangers, embedder)
    calibration: dict[str, dict[str, object]] = {}
    for number, (bone, of_bone) in enumerate(paths.items(), 1):
        for kind, found in calibration_set.measure(of_bone, embedder, bone, cohort).items():
            fitted = calibrate(
                found.comparisons,
                kind=kind,
                bone=bone,
                data=said,
                embedder=embedder_id(card),
                date=_today(),
                canvas_heights_mm=found.canvas_heights_mm,
            )
            entry = {**fitted.to_card(), "equal_error_rate": equal_error_rate(found.comparisons)}
            calibration.setdefault(kind, {})[bone] = entry
        if report:
            report("calibrating", number, len(paths), bone)
    card["calibration"] = calibration
    card["cohort"] = write_cohort(out, cohort) | {"bones": calibration_set.STRANGERS}
    write_card(out, card)
    return card


def keep_calibration(out: Path, begun: Path, form: str) -> dict[str, object]:
    """Whole long bones, or all others, keep the calibration that they had: of their branch nothing was changed.

    Parameters
    ----------
    begun : the weights that a course began from
    form : "tall" or "square": of the branch that it taught

    Returns
    -------
    the card of ``out``, rewritten
    """
    card, before = read_card(out), read_card(begun)
    new, old = read_cohort(out, card), read_cohort(begun, before)

    def kept(bone: str) -> bool:
        return not is_seen_on(bone, form)

    said = embedder_id(card)
    for kind, entries in card["calibration"].items():
        for bone, entry in before["calibration"].get(kind, {}).items():
            if kept(bone):
                entries.setdefault(bone, entry | {"threshold": entry["threshold"] | {"embedder": said}})
    strangers = {place: rows for place, rows in old.strangers.items() if kept(place[0])}
    usual = {place: distance for place, distance in old.usual.items() if kept(place[0])}
    every = Cohort(strangers | dict(new.strangers), usual | dict(new.usual))
    card["cohort"] = write_cohort(out, every) | {"bones": card["cohort"]["bones"]}
    write_card(out, card)
    return card


def _bones(cts: Path, tell: Callable[[int, int], None]) -> Iterator[tuple[Hashable, Volume]]:
    """Every bone of every CT below a folder; what cannot be read is left out, unless nothing can."""
    sources = ingest.discover(cts).sources
    failed: list[BoneprintError] = []
    for number, source in enumerate(sources):
        try:
            scan = source.load()
            for specimen in ingest.specimens(scan, ingest.Options()):
                yield (scan.subject_id, specimen.bone, specimen.laterality, specimen.part), specimen.volume
        except BoneprintError as error:
            failed.append(error)
        tell(number + 1, len(sources))
    if failed and len(failed) == len(sources):
        raise failed[0]


def _today() -> str:
    return datetime.now(tz=UTC).date().isoformat()
