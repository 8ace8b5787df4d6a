"""How results are shown: one JSON object for programs, small aligned tables for people."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from boneprint.database import Removal
    from boneprint.evidence.audit import Entry
    from boneprint.explanation import Explanation, Pictured
    from boneprint.ingestion import IngestEvent, IngestReport
    from boneprint.nouns import Candidate, Reference, SearchResult, Threshold, Verification
    from boneprint.superimpose import Overlay

_LEAD = "A candidate is a lead for an examiner, not an identification."
# Where more than so many comparisons of one bone are missed at the margin, candidates had better be laid over as well.
_BLUNT = 0.5
_LAY_OVER = (
    "  fingerprints hardly tell such bones apart; --superimpose N ranks the first N by how well their edges agree"
)


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
        "enrolled": bones_json(report.enrolled),
        "skipped": [{"path": path, "reason": reason} for path, reason in report.skipped],
        "failed": [{"path": path, "error": error} for path, error in report.failed],
        "failure_to_enrol": {"attempts": len(report.enrolled) + len(report.failed), "failed": len(report.failed)},
        "seconds": round(report.seconds, 3),
    }


def _reference_json(reference: "Reference") -> dict[str, Any]:
    return {
        "bone_id": reference.bone_id,
        "subject_id": reference.subject_id,
        "bone": reference.bone,
        "laterality": reference.laterality,
        "source": reference.source,
        "quality": json.loads(reference.quality) if reference.quality else None,
        "notes": reference.notes or "",
    }


def ingest_summary(report: "IngestReport", path: str) -> None:
    """One sentence on stdout."""
    print(
        f"{path}: {len(report.enrolled)} bones enrolled, {len(report.skipped)} skipped, {len(report.failed)} failed "
        f"in {report.seconds:.1f} s"
    )


def search_json(
    result: "SearchResult",
    spacings_mm: Sequence[float] | None = None,
    likenesses: Sequence[float | None] | None = None,
) -> dict[str, Any]:
    """As the command line's contract has it.

    Parameters
    ----------
    spacings_mm : at which each candidate came, where that was sought
    likenesses : of each candidate laid over the radiographs, where that was done
    """
    return {
        "gallery": {"bones": result.bones, "views": result.views, "generation": result.generation},
        "candidates": [
            {
                "rank": candidate.rank,
                **_reference_json(candidate.reference),
                **_judged_json(candidate),
                **({} if spacings_mm is None else {"pixel_spacing_mm": spacings_mm[candidate.rank - 1]}),
                **({} if likenesses is None else {"likeness": likenesses[candidate.rank - 1]}),
            }
            for candidate in result.candidates
        ],
        "threshold": asdict(result.threshold),
        "certified_exact": result.certified_exact,
        "certified": result.certified,
        "seconds": round(result.seconds, 4),
        **({} if result.scores is None else {"scores": dict(result.scores)}),
    }


def _judged_json(candidate: "Candidate") -> dict[str, Any]:
    return {
        "distance": candidate.distance,
        "factor": candidate.factor,
        "within_margin": candidate.within_margin,
        "log10_lr": candidate.log10_lr,
        "uncalibrated": candidate.uncalibrated,
        "threshold": asdict(candidate.threshold),
        # JSON has no NaN.
        "nearest_view_deg": None if math.isnan(candidate.angle_deg) else candidate.angle_deg,
        "nearest_view_tilt_deg": candidate.tilt_deg,
    }


def search_table(
    result: "SearchResult",
    spacings_mm: Sequence[float] | None = None,
    likenesses: Sequence[float | None] | None = None,
) -> None:
    """Candidates as a table, and what the numbers mean; parameters as of `search_json`."""
    table = Table(box=None, pad_edge=False)
    columns = ["rank", "bone id", "subject", "bone", "side", "view", "distance", "margin", "log10 LR"]
    more = [*([] if spacings_mm is None else ["mm a pixel"]), *([] if likenesses is None else ["likeness"])]
    for column in [*columns, *more]:
        left = column in ("bone id", "subject", "bone", "side", "margin")
        table.add_column(column, justify="left" if left else "right")
    for candidate in result.candidates:
        reference = candidate.reference
        table.add_row(
            str(candidate.rank),
            reference.bone_id,
            printable(reference.subject_id),
            printable(reference.bone),
            reference.laterality or "-",
            "-" if math.isnan(candidate.angle_deg) else f"{candidate.angle_deg:.0f}",
            f"{candidate.distance:.4f}",
            "within" if candidate.within_margin else "outside",
            "-" if candidate.log10_lr is None else f"{candidate.log10_lr:+.1f}",
            *([] if spacings_mm is None else [f"{spacings_mm[candidate.rank - 1]:.3f}"]),
            *([] if likenesses is None else [_likeness_text(likenesses[candidate.rank - 1])]),
        )
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False, width=120)
    console.print(table)
    for candidate in result.candidates:
        if candidate.reference.notes:
            console.print(f"{candidate.rank}: {printable(candidate.reference.notes)}")
    if likenesses is not None:
        console.print(
            "ranked by likeness, how well a bone laid over the X-rays agrees with their edges, at most 1, less a"
        )
        console.print(
            "tenth of the distance; no error rate is calibrated for it. Margin and log10 LR are of the distance."
        )
    proved = "proved to be the nearest" if result.certified_exact else f"the first {result.certified} of these proved"
    searched = f"{result.bones} bones, {result.views} views; {proved}"
    console.print(f"\n{searched}, answered in {result.seconds * 1000:.0f} ms")
    if spacings_mm is not None:
        console.print("each at its best size: no threshold or likelihood ratio holds for the best of many sizes")
        console.print(_LEAD)
        return
    for threshold in dict.fromkeys(candidate.threshold for candidate in result.candidates):
        console.print(_threshold_text(threshold))
        if likenesses is None and threshold.false_non_match_rate > _BLUNT:
            console.print(_LAY_OVER)
    for reason in dict.fromkeys(candidate.uncalibrated for candidate in result.candidates):
        if reason is not None:
            console.print(f"log10 LR '-': {printable(reason)}")
    console.print(_LEAD)


def _likeness_text(likeness: float | None) -> str:
    return "-" if likeness is None else f"{likeness:.3f}"


def overlays_json(overlays: "Sequence[Overlay]") -> dict[str, Any]:
    """Likeness of each picture, their mean, and where the bone lies in each."""
    return {
        "likeness": sum(overlay.likeness for overlay in overlays) / len(overlays),
        "overlays": [{"likeness": overlay.likeness, **asdict(overlay.placing)} for overlay in overlays],
    }


def overlays_text(overlays: "Sequence[Overlay]") -> None:
    """One line for each picture."""
    for overlay in overlays:
        placing = overlay.placing
        print(
            f"likeness {overlay.likeness:.3f}: seen from {placing.axis_deg % 360:.0f} deg about the axis, "
            f"tilted by {placing.tilt_deg:+.0f}, turned by {placing.turn_deg:+.0f} in the plane, "
            f"size {100 * placing.larger:+.1f} % off what its spacing says"
        )


def verification_json(verification: "Verification") -> dict[str, Any]:
    """As the command line's contract has it."""
    return {
        "distance": verification.distance,
        "margin": verification.threshold.value,
        "within_margin": verification.within_margin,
        "log10_lr": verification.log10_lr,
        "lr_bounds": [10**bound for bound in verification.log10_lr_bounds],
        "uncalibrated": verification.uncalibrated,
        "threshold": asdict(verification.threshold),
    }


def verification_text(verification: "Verification") -> None:
    """The verdict in words."""
    side = "within" if verification.within_margin else "outside"
    print(f"distance {verification.distance:.4f}, {side} the margin of {verification.threshold.value:.4f}")
    if verification.log10_lr is None:
        print(f"log10 LR: none, {verification.uncalibrated}")
    else:
        low, high = verification.log10_lr_bounds
        supported = "one bone" if verification.log10_lr > 0 else "two bones"
        said = f"support that they show {supported}" if verification.log10_lr else "support neither one bone nor two"
        print(
            f"log10 LR {verification.log10_lr:+.2f} (calibration supports {low:+.1f} to {high:+.1f}): "
            f"the pictures {said}"
        )
    print(_threshold_text(verification.threshold))


def explanation_json(explanation: "Explanation") -> dict[str, Any]:
    """As the command line's contract has it; ``shares`` are rows of the network's last feature map, top first."""

    def said(pictured: "Pictured") -> dict[str, Any]:
        return {
            "picture": pictured.name,
            "similarity": pictured.maps.similarity,
            "shares": pictured.maps.shares.tolist(),
            "remainder": pictured.maps.remainder,
            "grad_cam_likeness_to_blank_weights": pictured.blank_likeness,
        }

    candidate = explanation.candidate
    return {
        "canvas_mm": explanation.canvas_mm,
        "probe": said(explanation.probe),
        "candidate": None
        if candidate is None
        else {
            "bone_id": candidate.reference.bone_id,
            **_judged_json(candidate),
        },
        "view": None if explanation.view is None else said(explanation.view),
    }


def explanation_text(explanation: "Explanation") -> None:
    """Where the similarity comes from, in words."""
    candidate = explanation.candidate
    if candidate is None:
        print("what the fingerprint itself rests on; --candidate BONE_ID shows where it agrees with an enrolled bone")
    else:
        side = "within" if candidate.within_margin else "outside"
        print(
            f"candidate {candidate.reference.bone_id}, {candidate.view}: "
            f"distance {candidate.distance:.4f}, {side} the margin"
        )
    for about, pictured in (("probe", explanation.probe), ("enrolled view", explanation.view)):
        if pictured is not None:
            rows = pictured.maps.shares.sum(axis=1)
            cuts = (len(rows) // 3, 2 * len(rows) // 3)
            upper, middle, lower = (
                float(third.sum()) for third in (rows[: cuts[0]], rows[slice(*cuts)], rows[cuts[1] :])
            )
            print(
                f"{about}: similarity {pictured.maps.similarity:.3f}; the upper third of the picture supports it with "
                f"{upper:+.3f}, the middle with {middle:+.3f}, the lower with {lower:+.3f}\n"
                f"  rank correlation of its Grad-CAM with that of blank weights: {pictured.blank_likeness:+.2f}"
            )
    if candidate is not None and explanation.view is None:
        print("the enrolled view cannot be shown again: its CT is not in its place, or a label map cut it out")
    print(f"The maps say what the distance rests on, not whose bone it is. {_LEAD}")


def info_text(info: Mapping[str, Any]) -> None:
    """A store in a few lines."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(info["kinds"].items())) or "none"
    print(
        f"{info['path']}: {info['bytes'] / 1e6:.2f} MB, generation {info['generation']}, "
        f"{info['pending_segments']} pending segments, {info['precision']} precision\n"
        f"{info['bones']} bones ({kinds}) of {info['subjects']} subjects, {info['views']} views\n"
        f"embedder {info['embedder']}"
    )


def bones_json(bones: "Sequence[tuple[Reference, int]]") -> list[dict[str, Any]]:
    """As the command line's contract has it."""
    return [{**_reference_json(reference), "views": views} for reference, views in bones]


def bones_table(bones: "Sequence[tuple[Reference, int]]") -> None:
    """What is enrolled, one bone a line."""
    table = Table(box=None, pad_edge=False)
    for column in ("bone id", "subject", "bone", "side", "views", "length mm", "samples mm", "notes"):
        table.add_column(column, justify="right" if column in ("views", "length mm", "samples mm") else "left")
    for reference, views in bones:
        quality = json.loads(reference.quality or "{}")
        sizes = (f"{quality[name]:.1f}" if name in quality else "-" for name in ("extent_mm", "resolution_mm"))
        words = map(printable, (reference.bone_id, reference.subject_id, reference.bone))
        table.add_row(*words, reference.laterality or "-", str(views), *sizes, printable(reference.notes or ""))
    Console(soft_wrap=True, highlight=False, markup=False, emoji=False, width=120).print(table)


def removal_json(removal: "Removal") -> dict[str, Any]:
    """As the command line's contract has it."""
    return {"removed": list(removal.bone_ids), "erased": removal.erased, "generation": removal.generation}


def audit_json(entries: "Sequence[Entry]", findings: "Sequence[str]") -> dict[str, Any]:
    """As the command line's contract has it."""
    listed = [{**asdict(entry), "about": list(entry.about)} for entry in entries]
    return {"whole": not findings, "findings": list(findings), "events": listed}


def audit_table(entries: "Sequence[Entry]", findings: "Sequence[str]") -> None:
    """Events, one a line, and whether the chain holds."""
    table = Table(box=None, pad_edge=False)
    for column in ("number", "when (UTC)", "who", "what", "generation", "about"):
        table.add_column(column, justify="right" if column in ("number", "generation") else "left")
    for entry in entries:
        subjects = dict.fromkeys(str(each.get("subject_id", each.get("bone_id"))) for each in entry.about if each)
        erased = sum(each is None for each in entry.about)
        about = [
            *list(subjects)[:3],
            *(["..."] if len(subjects) > 3 else []),
            *([f"({erased} erased)"] if erased else []),
        ]
        generation = str(entry.facts.get("generation", ""))
        words = (entry.at.removesuffix("+00:00"), entry.who, entry.what)
        table.add_row(str(entry.number), *map(printable, words), generation, printable(", ".join(about)))
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False, width=120)
    console.print(table)
    for finding in findings:
        console.print(f"DAMAGED  {finding}")
    if not findings:
        last = f"; the last hash is {entries[-1].hash}" if entries else ""
        console.print(f"\nevery event matches its hash and follows the one before{last}")


def _threshold_text(threshold: "Threshold") -> str:
    low, high = threshold.false_match_interval
    return (
        f"margin {threshold.value:.4f} ({threshold.bone}, {threshold.kind}): "
        f"false match rate {threshold.false_match_rate:.1e} ({low:.1e} to {high:.1e}), "
        f"false non-match rate {threshold.false_non_match_rate:.1%}, "
        f"measured on {threshold.bones} simulated bones, {threshold.date}"
    )
