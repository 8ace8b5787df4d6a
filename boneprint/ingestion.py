"""What an ingestion does: each thing is told as it happens, and all are summed up at the end."""

from collections.abc import Callable
from dataclasses import dataclass

from boneprint.nouns import Enrolment, Reference

ENROLLED_ALREADY = "enrolled already"


@dataclass(frozen=True)
class IngestEvent:
    """One thing that happened while CTs were ingested; ``kind`` is "enrolled", "skipped" or "failed"."""

    kind: str
    source: str
    message: str
    reference: Reference | None
    done: int
    total: int


@dataclass(frozen=True)
class IngestReport:
    """What an ingestion did; everything enrolled is durable."""

    enrolled: tuple[tuple[Reference, int], ...]
    skipped: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str], ...]
    seconds: float

    @property
    def usable(self) -> bool:
        """Whether anything was enrolled, now or before."""
        return bool(self.enrolled) or any(reason == ENROLLED_ALREADY for _, reason in self.skipped)


class Ingestion:
    """What has happened so far, while CTs are ingested.

    Parameters
    ----------
    total : sources to go through; ``done`` counts those that were begun
    listener : told of each thing at once
    """

    def __init__(self, total: int, listener: Callable[[IngestEvent], None] | None = None) -> None:
        self.done = 0
        self._total = total
        self._listener = listener
        self._enrolled: list[tuple[Reference, int]] = []
        self._skipped: list[tuple[str, str]] = []
        self._failed: list[tuple[str, str]] = []

    def enrolled(self, source: str, made: Enrolment) -> None:
        """A bone of a source is durable."""
        self._enrolled.append((made.reference, len(made.vectors)))
        self._tell("enrolled", source, made.reference.notes or "", made.reference)

    def skipped(self, source: str, reason: str) -> None:
        """A file is no CT, or is enrolled already."""
        self._skipped.append((source, reason))
        self._tell("skipped", source, reason)

    def failed(self, source: str, error: str) -> None:
        """A CT, or a bone in it, could not be enrolled."""
        self._failed.append((source, error))
        self._tell("failed", source, error)

    def report(self, seconds: float) -> IngestReport:
        """All of it, and how long it took."""
        return IngestReport(tuple(self._enrolled), tuple(self._skipped), tuple(self._failed), seconds)

    def _tell(self, kind: str, source: str, message: str, reference: Reference | None = None) -> None:
        if self._listener:
            self._listener(IngestEvent(kind, source, message, reference, self.done, self._total))
