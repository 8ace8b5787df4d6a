"""How an evaluation is said: one JSON object for programs, tables for people."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from boneprint.show import printable

if TYPE_CHECKING:
    from boneprint.evaluation import Evaluation, Part
    from boneprint.evidence.identification import Rate
    from boneprint.evidence.metrics import Interval, OperatingPoint, Tradeoff

# Points of a DET curve that are written down; more cannot be told apart in a picture.
_POINTS = 200


def evaluation_json(evaluation: "Evaluation") -> dict[str, Any]:
    """As the command line's contract has it; what could not be measured is null."""
    searches = evaluation.searches
    return {
        "standard": "ISO/IEC 19795-1:2021",
        "gallery": {
            "bones": evaluation.gallery,
            "references": evaluation.references,
            "generation": evaluation.generation,
            "embedder": evaluation.embedder,
            "where": list(evaluation.where),
        },
        "bootstrap": {"over": "bones", "level": 0.95, "draws": evaluation.draws, "seed": evaluation.seed},
        "failure_to_enrol": _rate(evaluation.failure_to_enrol),
        "outcomes": [_part_json(part) for part in evaluation.parts],
        "searches": [
            {
                "probe": probe.name,
                "radiographs": len(probe.paths),
                "bone": evaluation.bones[number],
                "mated": bool(number < evaluation.gallery),
                "rank": int(rank) if np.isfinite(rank) else None,
                "distance": _finite(distance),
                "nearest_other": _finite(other),
                "failure_to_acquire": error,
                "strata": dict(probe.strata),
            }
            for probe, number, rank, distance, other, error in zip(
                evaluation.probes,
                searches.truth.tolist(),
                searches.rank,
                searches.mate,
                searches.nearest_other,
                evaluation.errors,
            )
        ],
        "seconds": round(evaluation.seconds, 3),
    }


def _part_json(part: "Part") -> dict[str, Any]:
    found, verification = part.outcome, part.outcome.verification
    return {
        "radiographs": part.radiographs,
        "stratum": None if part.stratum is None else {part.stratum[0]: part.stratum[1]},
        "N": found.gallery,
        "T": found.threshold,
        "threshold": asdict(part.threshold),
        "mated_searches": found.mated,
        "unmated_searches": found.unmated,
        "cmc": [{"R": rank, **asdict(rate)} for rank, rate in enumerate(found.cumulative_match, 1)],
        "fnir": [
            {"N": found.gallery, "R": rank, "T": found.threshold, **asdict(rate)}
            for rank, rate in zip(found.missed_ranks, found.missed)
        ],
        "fpir": None
        if found.false_positive is None
        else {"N": found.gallery, "T": found.threshold, **asdict(found.false_positive)},
        "fnir_at_fpir": {"N": found.gallery, "R": 1, **_point("fpir", "fnir", found.missed_at_false_positives)},
        "failure_to_acquire": _rate(found.failure_to_acquire),
        "verification": None
        if verification is None
        else {
            "T": found.threshold,
            "genuine_comparisons": verification.genuine,
            "impostor_comparisons": verification.impostor,
            "fmr": {"value": verification.false_match, "interval": list(verification.false_match_interval)},
            "fnmr": {"value": verification.false_non_match, "interval": list(verification.false_non_match_interval)},
            "eer": {"value": verification.equal_error[0], "interval": list(verification.equal_error[1])},
            "fnmr_at_fmr": [_point("fmr", "fnmr", point) for point in verification.missed_at],
            "det": _curve(verification.tradeoff),
        },
    }


def evaluation_tables(evaluation: "Evaluation") -> None:
    """For each number of radiographs its measures, and a line for each stratum."""
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False, width=120)
    where = f" ({', '.join(evaluation.where)})" if evaluation.where else ""
    console.print(f"gallery N = {evaluation.gallery} bones{where}, embedder {evaluation.embedder}")
    if evaluation.failure_to_enrol is not None:
        console.print(f"failure to enrol {_said(evaluation.failure_to_enrol)}")
    for part in evaluation.parts:
        if part.stratum is None:
            several = "s" if part.radiographs > 1 else ""
            said = f"{part.radiographs} radiograph{several} a search"
            console.print(f"\n{said}, T = {part.threshold.value:.4f} ({part.threshold.kind}, {part.threshold.bone})")
            console.print(_measures(part))
            strata = [each for each in evaluation.parts if each.stratum and each.radiographs == part.radiographs]
            if strata:
                console.print()
                console.print(_strata(strata))
    failed = [error for error in evaluation.errors if error is not None]
    if failed:
        console.print(
            f"\n{len(failed)} of {len(evaluation.errors)} probes failed to acquire; the first: {printable(failed[0])}"
        )
    console.print(
        "\nN bones in the gallery, R rank, T threshold (from the weights' card, fixed on other bones). Intervals: "
        f"95 %, bootstrapped over bones ({evaluation.draws} draws, seed {evaluation.seed}); 3 / bones where nothing "
        "went wrong. Words: ISO/IEC 19795-1:2021."
    )


def _measures(part: "Part") -> Table:
    found, verification = part.outcome, part.outcome.verification
    table = Table(box=None, pad_edge=False)
    for column in ("measure", "value", "95 % interval", "of"):
        table.add_column(column)

    def add(name: str, rate: "Rate | None", reason: str = "") -> None:
        if rate is None:
            table.add_row(name, "-", "", reason)
        else:
            table.add_row(
                name, _percent(rate.value), _between(rate.interval), f"{rate.trials} searches, {rate.bones} bones"
            )

    def point(name: str, at: "OperatingPoint") -> None:
        value = "-" if at.missed is None else _percent(at.missed)
        said = "" if at.threshold is None else f"T = {at.threshold:.4f}"
        table.add_row(
            name,
            value,
            "" if at.interval is None else _between(at.interval),
            "; ".join(filter(None, [said, at.remark])),
        )

    for rank in (1, 5, 10):
        if rank <= len(found.cumulative_match):
            add(f"CMC: rank {rank} or better", found.cumulative_match[rank - 1])
    for rank, missed in zip(found.missed_ranks, found.missed):
        add(f"FNIR(N, {rank}, T)", missed)
    add("FPIR(N, T)", found.false_positive, "no searches of bones that are not enrolled")
    point("FNIR(N, 1, T') at FPIR 1 %", found.missed_at_false_positives)
    add("failure to acquire", found.failure_to_acquire)
    if verification is not None:
        genuine, impostor = f"{verification.genuine} genuine", f"{verification.impostor} impostor"
        table.add_row(
            "FMR(T)",
            _percent(verification.false_match),
            _between(verification.false_match_interval),
            f"{impostor} comparisons",
        )
        table.add_row(
            "FNMR(T)",
            _percent(verification.false_non_match),
            _between(verification.false_non_match_interval),
            f"{genuine} comparisons",
        )
        table.add_row(
            "EER",
            _percent(verification.equal_error[0]),
            _between(verification.equal_error[1]),
            f"{genuine}, {impostor} comparisons",
        )
        for at in verification.missed_at:
            point(f"FNMR at FMR {at.wanted:g}", at)
    return table


def _strata(parts: list["Part"]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("stratum")
    for column in ("mated", "unmated", "rank 1, %", "FNIR(N, 1, T), %", "FPIR(N, T), %", "FNMR(T)", "FMR(T)", "EER"):
        table.add_column(column, justify="right", no_wrap=True)
    for part in parts:
        found, verification = part.outcome, part.outcome.verification
        column, value = part.stratum or ("", "")
        rates = (found.cumulative_match[:1] or (None,))[0], (found.missed[:1] or (None,))[0], found.false_positive
        pairs = (
            ("-", "-", "-")
            if verification is None
            else map(_percent, (verification.false_non_match, verification.false_match, verification.equal_error[0]))
        )
        table.add_row(printable(f"{column} {value}"), str(found.mated), str(found.unmated), *map(_short, rates), *pairs)
    return table


def _short(rate: "Rate | None") -> str:
    if rate is None:
        return "-"
    low, high = rate.interval
    return f"{100 * rate.value:.3g} ({100 * low:.3g} to {100 * high:.3g})"


def _said(rate: "Rate") -> str:
    return f"{_percent(rate.value)} ({_between(rate.interval)}) of {rate.bones} bones"


def _percent(share: float) -> str:
    # Three figures: 98.3 %, 0.123 %.
    return f"{100 * share:.3g} %"


def _between(interval: "Interval") -> str:
    return f"{_percent(interval[0])} to {_percent(interval[1])}"


def _rate(rate: "Rate | None") -> dict[str, Any] | None:
    return None if rate is None else asdict(rate)


def _point(wanted: str, missed: str, point: "OperatingPoint") -> dict[str, Any]:
    interval = None if point.interval is None else list(point.interval)
    said = {wanted: point.wanted, missed: point.missed, "interval": interval, "T": point.threshold}
    return {**said, "remark": point.remark or None}


def _curve(curve: "Tradeoff") -> dict[str, list[float | None]]:
    """Some of the curve's points, the first and the last among them."""
    at = np.unique(np.linspace(0, len(curve.threshold) - 1, _POINTS).astype(int))
    return {
        "T": [_finite(threshold) for threshold in curve.threshold[at]],
        "fmr": curve.false_match_rate[at].tolist(),
        "fnmr": curve.false_non_match_rate[at].tolist(),
    }


def _finite(value: float) -> float | None:
    """JSON has no infinity."""
    return float(value) if np.isfinite(value) else None
