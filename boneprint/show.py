"""How results are shown: one JSON object for programs, small aligned tables for people."""

import json
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from boneprint.database import IngestEvent, IngestReport
    from boneprint.nouns import SearchResult, Threshold, Verification

_LEAD = "A candidate is a lead for an examiner, not an identification."


def as_json(result: Mapping[str, Any]) -> None:
    """Print one JSON object to stdout."""
    print(json.dumps(result, indent=2))


@contextmanager
def progress(described: str) -> "Iterator[Callable[[int, int, str], None]]":
    """One bar on stderr; yields ``advance(done, total, line)``, where a non-empty line is printed above the bar."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Where nobody watches (a file, a pipe) only the lines are written.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(described, total=None)

        def advance(done: int, total: int, line: str) -> None:
            bar.update(task, completed=done, total=total)
            if line:
                bar.console.print(printable(line))

        yield advance


def printable(text: str) -> str:
    """A path that is not UTF-8 must not end a command that has done its work: its odd bytes are shown escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def ingest_line(event: "IngestEvent") -> str:
    """One line about one thing; a line that says "enrolled" is a promise that survives a crash."""
    if event.reference is None:
        return f"{event.kind:<9} {event.source}: {event.message}"
    reference = event.reference
    note = f"  ({event.message})" if event.message else ""
    side = reference.laterality or "-"
    return f"enrolled  {reference.bone_id}  {reference.subject_id}  {reference.bone} {side}  {reference.source}{note}"


def ingest_json(report: "IngestReport") -> dict[str, Any]:
    """As the command line's contract has it."""
    return {
        "enrolled": [
            {
                "bone_id": reference.bone_id,
                "subject_id": reference.subject_id,
                "bone": reference.bone,
                "laterality": reference.laterality,
                "views": views,
                "source": reference.source,
            }
            for reference, views in report.enrolled
        ],
        "skipped": [{"path": path, "reason": reason} for path, reason in report.skipped],
        "failed": [{"path": path, "error": error} for path, error in report.failed],
        "seconds": round(report.seconds, 3),
    }


def ingest_summary(report: "IngestReport", path: str) -> None:
    """One sentence on stdout."""
    print(
        f"{path}: {len(report.enrolled)} bones enrolled, {len(report.skipped)} skipped, {len(report.failed)} failed "
        f"in {report.seconds:.1f} s"
    )


def search_json(result: "SearchResult") -> dict[str, Any]:
    """As the command line's contract has it."""
    return {
        "gallery": {"bones": result.bones, "views": result.views, "generation": result.generation},
        "candidates": [
            {
                "rank": candidate.rank,
                "bone_id": candidate.reference.bone_id,
                "subject_id": candidate.reference.subject_id,
                "bone": candidate.reference.bone,
                "laterality": candidate.reference.laterality,
                "distance": candidate.distance,
                "within_margin": candidate.within_margin,
                "log10_lr": candidate.log10_lr,
                "nearest_view_deg": candidate.angle_deg,
                "source": candidate.reference.source,
            }
            for candidate in result.candidates
        ],
        "threshold": asdict(result.threshold),
        "certified_exact": result.certified_exact,
        "seconds": round(result.seconds, 4),
    }


def search_table(result: "SearchResult") -> None:
    """Candidates as a table, and what the numbers mean."""
    table = Table(box=None, pad_edge=False)
    for column in ("rank", "bone id", "subject", "bone", "side", "view", "distance", "margin", "log10 LR"):
        table.add_column(column, justify="right" if column in ("rank", "view", "distance", "log10 LR") else "left")
    for candidate in result.candidates:
        reference = candidate.reference
        table.add_row(
            str(candidate.rank),
            reference.bone_id,
            printable(reference.subject_id),
            printable(reference.bone),
            reference.laterality or "-",
            f"{candidate.angle_deg:.0f}",
            f"{candidate.distance:.4f}",
            "within" if candidate.within_margin else "outside",
            "-" if candidate.log10_lr is None else f"{candidate.log10_lr:+.1f}",
        )
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False, width=120)
    console.print(table)
    exact = "exact" if result.certified_exact else "approximate"
    searched = f"{result.bones} bones, {result.views} views, {exact} search"
    console.print(f"\n{searched}, answered in {result.seconds * 1000:.0f} ms")
    console.print(_threshold_text(result.threshold))
    if any(candidate.log10_lr is None for candidate in result.candidates):
        console.print("log10 LR '-': not calibrated for bones of this size, or for so many probes")
    console.print(_LEAD)


def verification_json(verification: "Verification") -> dict[str, Any]:
    """As the command line's contract has it."""
    return {
        "distance": verification.distance,
        "margin": verification.threshold.value,
        "within_margin": verification.within_margin,
        "log10_lr": verification.log10_lr,
        "lr_bounds": [10**bound for bound in verification.log10_lr_bounds],
        "threshold": asdict(verification.threshold),
    }


def verification_text(verification: "Verification") -> None:
    """The verdict in words."""
    side = "within" if verification.within_margin else "outside"
    print(f"distance {verification.distance:.4f}, {side} the margin of {verification.threshold.value:.4f}")
    if verification.log10_lr is None:
        print("log10 LR: none, for pictures of this size were not calibrated; the margin says little, too")
    else:
        low, high = verification.log10_lr_bounds
        supported = "one bone" if verification.log10_lr > 0 else "two bones"
        print(
            f"log10 LR {verification.log10_lr:+.2f} (calibration supports {low:+.1f} to {high:+.1f}): "
            f"the pictures support that they show {supported}"
        )
    print(_threshold_text(verification.threshold))


def info_text(info: Mapping[str, Any]) -> None:
    """A store in a few lines."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(info["kinds"].items())) or "none"
    print(
        f"{info['path']}: {info['bytes'] / 1e6:.2f} MB, generation {info['generation']}, "
        f"{info['pending_segments']} pending segments\n"
        f"{info['bones']} bones ({kinds}) of {info['subjects']} subjects, {info['views']} views\n"
        f"embedder {info['embedder']}"
    )


def _threshold_text(threshold: "Threshold") -> str:
    low, high = threshold.false_match_interval
    return (
        f"margin {threshold.value:.4f} ({threshold.kind}): false match rate {threshold.false_match_rate:.1e} "
        f"({low:.1e} to {high:.1e}), false non-match rate {threshold.false_non_match_rate:.1%}, "
        f"measured on {threshold.bones} simulated bones, {threshold.date}"
    )
