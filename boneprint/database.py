"""The database: enrol CTs, find bones, verify radiographs."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from boneprint import embed, evidence, probe
from boneprint.errors import BoneprintError, StoreError
from boneprint.index import Gallery, Store, search
from boneprint.nouns import Candidate, Enrolment, Fingerprint, Reference, SearchResult, Verification

if TYPE_CHECKING:
    from boneprint.embed import Embedder
    from boneprint.read import Discovery

# Segments that may pile up before they are merged; each costs a reader about a millisecond.
_CHECKPOINT_AFTER = 256

ENROLLED_ALREADY = "enrolled already"

# What `where` can ask for, and the field of a reference that answers.
WHERE = {"bone": "bone", "side": "laterality", "subject": "subject_id", "id": "bone_id"}


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


class Database:
    """Enrolled bones in a file, and the embedder that speaks their language.

    Open with ``boneprint.open(path)``; close it, or use it in a ``with`` statement.
    """

    def __init__(self, store: Store, weights: Path) -> None:
        self.store = store
        self._weights = weights
        self._card = embed.read_card(weights)

    @classmethod
    def open(cls, path: str | Path, *, writable: bool = False, weights: str | Path | None = None) -> Self:
        """Open a database; opened for writing it is made where there is none.

        Parameters
        ----------
        path : the file, NAME.h5
        writable : needed to ingest; there is one writer at a time, and any number of readers
        weights : of another embedder than the shipped one (NAME.safetensors with its card NAME.json)

        Raises
        ------
        StoreError
            If there is none to read, it is damaged, another embedder made it, or another writer holds it.
        """
        chosen = Path(weights) if weights else embed.SHIPPED
        card = embed.read_card(chosen)
        store = Store.open(path, writable=writable, embedder=embed.embedder_id(card), dim=int(card["dimension"]))
        return cls(store, chosen)

    @cached_property
    def _embedder(self) -> "Embedder":
        loaded = embed.load_embedder(self._weights)
        if loaded.id != self.store.embedder:
            raise StoreError(
                f"{self._weights}: holds {loaded.id} now, expected {self.store.embedder}; the weights were replaced "
                "while the database was open. Open it again."
            )
        return loaded

    def ingest(
        self,
        paths: "str | Path | Iterable[str | Path] | Discovery",
        *,
        bone: str | None = None,
        subject: str | None = None,
        side: str | None = None,
        labels: str | Path | None = None,
        split: bool = False,
        report: Callable[[IngestEvent], None] | None = None,
    ) -> IngestReport:
        """Enrol every CT below some folders, one after the other; what is enrolled already is skipped by its content.

        Parameters
        ----------
        paths : folders at any depth, or files (DICOM series, NIfTI); or what `boneprint.ingest.discover` found there
        bone, subject, side : go before what the files say; side is "L" or "R"
        labels : NIfTI label map; every bone in it becomes a reference
        split : make a bone of every connected bony part
        report : told of each bone as soon as it is durable, and of each thing set aside

        Raises
        ------
        ReadError
            If there is nothing to read at all.
        """
        from boneprint import ingest as road
        from boneprint.read import Discovery

        started = time.perf_counter()
        options = road.Options(bone, subject, side, Path(labels) if labels else None, split)
        found = paths if isinstance(paths, Discovery) else road.discover(paths)
        # A label map that lies among the CTs is none of them.
        sources = [each for each in found.sources if not (labels and each.place.resolve() == Path(labels).resolve())]
        total = len(sources)
        enrolled: list[tuple[Reference, int]] = []
        skipped = [(str(path), reason) for path, reason in found.skipped]
        failed = [(str(path), error) for path, error in found.failed]

        def tell(kind: str, source: str, message: str, reference: Reference | None = None, done: int = 0) -> None:
            if report:
                report(IngestEvent(kind, source, message, reference, done, total))

        def fail(label: str, error: BoneprintError, done: int) -> None:
            failed.append((label, str(error)))
            tell("failed", label, str(error), done=done)

        for path, reason in skipped:
            tell("skipped", path, reason)
        for path, error in failed:
            tell("failed", path, error)
        known = set(self.store.gallery().enrolled)
        for done, source in enumerate(sources, 1):
            try:
                if road.enrolled_already(source, options, known):
                    skipped.append((source.label, ENROLLED_ALREADY))
                    tell("skipped", source.label, ENROLLED_ALREADY, done=done)
                    continue
                scan = source.load()
                parts = road.specimens(scan, options)
            except BoneprintError as error:
                fail(source.label, error, done)
                continue
            batch: list[tuple[Enrolment, str]] = []
            for part in parts:
                try:
                    made = road.enrol(part, scan, source.place, options, self._embedder)
                except StoreError:
                    raise  # the weights changed under our feet: no fault of this bone
                except BoneprintError as error:
                    fail(f"{source.label}, {part.part}", error, done)
                else:
                    batch.append((made, "; ".join(scan.notes + part.notes)))
            # One segment for one source: after a crash it is enrolled whole or not at all.
            self.store.append([made for made, _ in batch])
            for made, notes in batch:
                known.add((made.reference.source_hash, made.reference.part))
                enrolled.append((made.reference, len(made.vectors)))
                tell("enrolled", source.label, notes, made.reference, done)
            if self.store.pending >= _CHECKPOINT_AFTER:
                self.store.checkpoint()
        if self.store.pending:
            self.store.checkpoint()
        return IngestReport(tuple(enrolled), tuple(skipped), tuple(failed), time.perf_counter() - started)

    def fingerprint(
        self, xrays: probe.Xray | Sequence[probe.Xray], *, pixel_spacing_mm: float | None = None, mirror: bool = False
    ) -> Fingerprint:
        """Embed one or more radiographs of one bone on every canvas of the gallery; `search` takes the result."""
        radiographs = probe.as_radiographs(xrays, pixel_spacing_mm=pixel_spacing_mm)
        heights = sorted({reference.canvas_mm for reference in self.store.gallery().references})
        if not heights:
            raise BoneprintError(f"{self.store.path}: no bones are enrolled. Run `boneprint ingest CT_DIR` first.")
        return probe.fingerprint(radiographs, heights, self._embedder, mirror=mirror)

    def search(
        self,
        xrays: probe.Xray | Sequence[probe.Xray] | Fingerprint,
        k: int = 10,
        *,
        pixel_spacing_mm: float | None = None,
        where: Mapping[str, str] | None = None,
        mirror: bool = False,
    ) -> SearchResult:
        """The bones that look most like one or more radiographs of one bone.

        Parameters
        ----------
        xrays : path, Radiograph, array (H, W), tensor, or a list of these (views of one bone); or a Fingerprint
        k : how many candidates
        pixel_spacing_mm : mm per pixel in the plane of the bone; goes before what the file says
        where : only bones with e.g. ``{"bone": "femur", "side": "L"}``; keys: bone, side, subject, id
        mirror : look for the bone of the other side

        Returns
        -------
        SearchResult
            Candidates by distance. A candidate is a lead for an examiner, never an identification.

        Raises
        ------
        ReadError
            If a radiograph cannot be read or has no pixel spacing.
        BoneprintError
            If the gallery is empty, nothing fits ``where``, or the fingerprint is another embedder's.
        """
        started = time.perf_counter()
        gallery = self.store.gallery()
        chosen = _chosen(gallery, where or {})
        if isinstance(xrays, Fingerprint):
            template = xrays
            if mirror:
                raise BoneprintError("a stored fingerprint cannot be mirrored; search with the radiograph itself.")
        else:
            template = self.fingerprint(xrays, pixel_spacing_mm=pixel_spacing_mm, mirror=mirror)
        if template.embedder != self.store.embedder:
            raise BoneprintError(
                f"fingerprint of {template.embedder}, the database holds {self.store.embedder}; "
                "embed the radiograph again with the database's embedder."
            )
        kind = evidence.ONE_PROBE if template.probes == 1 else evidence.TWO_PROBES
        calibration = evidence.of_card(self._card, kind)

        ranked: list[Candidate] = []
        certified = True
        canvases = np.array([reference.canvas_mm for reference in gallery.references])
        # Bones on a canvas too small for what the probe shows cannot be it; they were not embedded for, nor searched.
        chosen &= np.isin(canvases, list(template.vectors))
        if not chosen.any():
            raise BoneprintError(
                f"the fingerprint was made for canvases of {sorted(template.vectors)} mm, which none of the bones "
                "asked for uses; embed the radiograph again with this database open, or check its pixel spacing."
            )
        for height in np.unique(canvases[chosen]):
            subset = chosen & (canvases == height)
            hits = search(gallery, template.vectors[float(height)], k, subset=None if subset.all() else subset)
            certified &= hits.certified_exact
            for row, distance, views in zip(hits.bones, hits.distances, hits.nearest_views):
                candidate = Candidate(
                    rank=0,
                    reference=gallery.references[row],
                    distance=float(distance),
                    angle_deg=float(gallery.angles_deg[views[0]]),
                    within_margin=float(distance) <= calibration.threshold.value,
                    log10_lr=calibration.log10_lr(float(distance), float(height)) if template.probes <= 2 else None,
                )
                ranked.append(candidate)
        ranked.sort(key=lambda candidate: candidate.distance)
        return SearchResult(
            candidates=tuple(replace(candidate, rank=rank) for rank, candidate in enumerate(ranked[:k], 1)),
            bones=int(chosen.sum()),
            views=int(np.diff(gallery.offsets)[chosen].sum()),
            generation=gallery.generation,
            threshold=calibration.threshold,
            certified_exact=certified,
            seconds=time.perf_counter() - started,
        )

    def verify(self, first: probe.Xray, second: probe.Xray, *, pixel_spacing_mm: float | None = None) -> Verification:
        """Compare two radiographs with this database's embedder; see `boneprint.verify`."""
        return verify(first, second, pixel_spacing_mm=pixel_spacing_mm, weights=self._weights)

    def info(self) -> dict[str, Any]:
        """Size, bones by kind, views, generation, embedder."""
        gallery = self.store.gallery()
        return {
            "path": str(self.store.path),
            "bones": gallery.bones,
            "views": gallery.views,
            "subjects": len({reference.subject_id for reference in gallery.references}),
            "kinds": dict(Counter(reference.bone for reference in gallery.references)),
            "generation": gallery.generation,
            "pending_segments": self.store.pending,
            "embedder": self.store.embedder,
            "bytes": self.store.path.stat().st_size,
        }

    def checkpoint(self) -> int:
        """Merge pending segments into one file; returns the generation it covers."""
        return self.store.checkpoint()

    def close(self) -> None:
        """Let the next writer come."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def verify(
    first: probe.Xray,
    second: probe.Xray,
    *,
    pixel_spacing_mm: float | None = None,
    weights: str | Path | None = None,
) -> Verification:
    """Whether two radiographs show the same bone: margin verdict and likelihood ratio.

    Parameters
    ----------
    first, second : paths, Radiographs, arrays or tensors, seen from about the same side
    pixel_spacing_mm : mm per pixel in the plane of the bone, for both; goes before what the files say

    Raises
    ------
    ReadError
        If either cannot be read or has no pixel spacing.
    """
    pair = [probe.as_radiograph(xray, pixel_spacing_mm=pixel_spacing_mm) for xray in (first, second)]
    embedder = embed.load_embedder(Path(weights) if weights else embed.SHIPPED)
    canvas = probe.common_canvas(pair)
    vectors = embedder.embed(pair, canvas)
    calibration = evidence.of_card(embedder.card, evidence.PAIR)
    return evidence.verdict(vectors[0], vectors[1], canvas.height_mm, calibration)


def _fits(found: str | None, key: str, wanted: str) -> bool:
    return (found or "") == (wanted.lower() if key == "bone" else wanted)


def _chosen(gallery: Gallery, where: Mapping[str, str]) -> NDArray[np.bool_]:
    """(N,) bool: which bones fit every condition; an unknown key or an empty choice is an error."""
    for key in where:
        if key not in WHERE:
            raise BoneprintError(f"--where {key}=...: unknown key, expected one of {', '.join(WHERE)}.")
    chosen = np.array(
        [
            all(_fits(getattr(reference, WHERE[key]), key, value) for key, value in where.items())
            for reference in gallery.references
        ],
        dtype=bool,
    )
    if not chosen.any():
        said = " ".join(f"{key}={value}" for key, value in where.items())
        raise BoneprintError(
            f"none of {gallery.bones} enrolled bones fits {said}; `boneprint info` lists the kinds."
            if gallery.bones
            else "the database holds no bones. Run `boneprint ingest CT_DIR` first."
        )
    return chosen
