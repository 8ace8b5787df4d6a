"""The database: enrol CTs and radiographs, find bones, remove them."""

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from boneprint import embed, probe
from boneprint.errors import BoneprintError, StoreError
from boneprint.evidence.audit import Entry, Trail
from boneprint.evidence.events import change_facts, named, search_facts
from boneprint.index import Store, chosen, conditions
from boneprint.ingestion import ENROLLED_ALREADY, IngestEvent, Ingestion, IngestReport
from boneprint.nouns import Enrolment, Fingerprint, Reference, SearchResult, Threshold, Verification
from boneprint.ranking import Judge, ranked
from boneprint.verification import verify

if TYPE_CHECKING:
    from boneprint.embed import Embedder
    from boneprint.read import Discovery

# Segments that may pile up before they are merged; each costs a reader about a millisecond.
_CHECKPOINT_AFTER = 256


@dataclass(frozen=True)
class Removal:
    """Bones that are enrolled no longer; ``erased`` if no byte of them is left in the database's files."""

    bone_ids: tuple[str, ...]
    erased: bool
    generation: int


class Database:
    """Enrolled bones in a file, and the embedder that speaks their language.

    Open with ``boneprint.open(path)``; close it, or use it in a ``with`` statement.
    """

    def __init__(self, store: Store, weights: Path, operator: str | None = None) -> None:
        self.store = store
        self.trail = Trail(store.path)
        self._operator = operator
        self._weights = weights
        self._card = embed.read_card(weights)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        writable: bool = False,
        weights: str | Path | None = None,
        half: bool = False,
        operator: str | None = None,
    ) -> Self:
        """Open a database; opened for writing it is made where there is none.

        Parameters
        ----------
        path : the file, NAME.h5
        writable : needed to ingest and to remove; there is one writer at a time, and any number of readers
        weights : of another embedder than the shipped one (NAME.safetensors with its card NAME.json)
        half : whether a database that is made now keeps its fingerprints in half precision, at half the size
        operator : who the audit trail says it was; the user of the operating system by default

        Raises
        ------
        StoreError
            If there is none to read, it is damaged, another embedder made it, or another writer holds it.
        """
        chosen = Path(weights) if weights else embed.SHIPPED
        card = embed.read_card(chosen)
        store = Store.open(
            path, writable=writable, embedder=embed.embedder_id(card), dim=int(card["dimension"]), half=half
        )
        database = cls(store, chosen, operator)
        if writable:
            database.trail.tidy()
        return database

    @cached_property
    def _embedder(self) -> "Embedder":
        loaded = embed.load_embedder(self._weights)
        if loaded.id != self.store.embedder:
            raise StoreError(
                f"{self._weights}: holds {loaded.id} now, expected {self.store.embedder}; the weights were replaced "
                "while the database was open. Open it again."
            )
        return loaded

    @cached_property
    def _judge(self) -> Judge:
        return Judge.of(self._weights, self._card)

    def ingest(
        self,
        paths: "str | Path | Iterable[str | Path] | Discovery",
        *,
        bone: str | None = None,
        subject: str | None = None,
        side: str | None = None,
        species: str | None = None,
        labels: str | Path | None = None,
        split: bool = False,
        fill_gaps: bool = False,
        site_key: bytes | None = None,
        keep_source: bool = True,
        keep_views: bool = False,
        keep_solids: bool = True,
        report: Callable[[IngestEvent], None] | None = None,
    ) -> IngestReport:
        """Enrol every CT below some folders, one after the other; what is enrolled already is skipped by its content.

        Parameters
        ----------
        paths : folders at any depth, or files (DICOM series, NIfTI); or what `boneprint.ingest.discover` found there
        bone, subject, side : go before what the files say; side is "L" or "R"
        species : of all of them, e.g. "human"
        labels : label map, NIfTI or DICOM SEG; every bone in it becomes a reference
        split : make a bone of every connected bony part
        fill_gaps : interpolate over missing slices instead of refusing them
        site_key : subjects are stored under pseudonyms made with it, and no path is stored
        keep_source : whether to store where the CT lies; not for a folder that will not last
        keep_views : keep the rendered views as pictures, to show candidates without their CT
        keep_solids : keep each bone as a coarse grid (some 70 KB), to be superimposed on radiographs
        report : told of each bone as soon as it is durable, and of each thing set aside

        Raises
        ------
        ReadError
            If there is nothing to read at all.
        """
        from boneprint import ingest as road
        from boneprint.read import Discovery

        started = time.perf_counter()
        options = road.Options(
            bone,
            subject,
            side,
            Path(labels) if labels else None,
            split,
            fill_gaps,
            site_key,
            keep_source,
            keep_views,
            keep_solids,
        )
        found = paths if isinstance(paths, Discovery) else road.discover(paths)
        # A label map that lies among the CTs is none of them.
        sources = [each for each in found.sources if not (labels and each.place.resolve() == Path(labels).resolve())]
        ingestion = Ingestion(len(sources), report)
        for path, reason in found.skipped:
            ingestion.skipped(str(path), reason)
        for path, error in found.failed:
            ingestion.failed(str(path), error)
        known = set(self.store.gallery().enrolled)
        for source in sources:
            ingestion.done += 1
            try:
                if road.enrolled_already(source, options, known):
                    ingestion.skipped(source.label, ENROLLED_ALREADY)
                    continue
                scan = source.load(fill_gaps=fill_gaps)
                parts = road.specimens(scan, options)
            except BoneprintError as error:
                ingestion.failed(source.label, str(error))
                continue
            batch: list[Enrolment] = []
            for part in parts:
                try:
                    made = road.enrol(part, scan, source.place, options, self._embedder)
                except StoreError:
                    raise  # the weights changed under our feet: no fault of this bone
                except BoneprintError as error:
                    ingestion.failed(f"{source.label}, {part.part}", str(error))
                else:
                    batch.append(_of_species(made, species))
            # One segment for one source: after a crash it is enrolled whole or not at all.
            self.add(batch)
            for made in batch:
                known.add((made.reference.source_hash, made.reference.part))
                ingestion.enrolled(source.label, made)
            if self.store.pending >= _CHECKPOINT_AFTER:
                self.store.checkpoint(grow=True)
        if self.store.worth_merging:
            self.store.checkpoint(grow=True)
        return ingestion.report(time.perf_counter() - started)

    def enrol(
        self,
        xrays: probe.Xray | Sequence[probe.Xray],
        *,
        subject: str,
        bone: str,
        side: str | None = None,
        species: str | None = None,
        site_key: bytes | None = None,
        keep_views: bool = False,
        **reading: Any,
    ) -> IngestReport:
        """Enrol natural radiographs of one bone as one reference; a CT can then be searched for among them.

        Parameters
        ----------
        xrays : paths, or Radiographs read from them; several are views of one bone
        subject, bone : whose and which; nothing in a radiograph says so reliably
        side : "L" or "R"
        species, site_key, keep_views : as for `ingest`
        reading : ``pixel_spacing_mm``, ``marker_mm``, ``frame``, ``invert``; see `boneprint.read.read_radiograph`

        Raises
        ------
        ReadError
            If a radiograph cannot be read or has no pixel spacing.
        """
        from boneprint.ingest import LATERALITIES
        from boneprint.privacy import WITHHELD, pseudonym
        from boneprint.read import content_hash

        started = time.perf_counter()
        if side not in (None, *LATERALITIES):
            raise BoneprintError(f"side '{side}', expected L or R.")
        radiographs = probe.as_radiographs(xrays, **reading)
        paths = [Path(radiograph.source) for radiograph in radiographs]
        if not all(path.is_file() for path in paths):
            raise BoneprintError("enrol: expected files, so that the same radiograph is never enrolled twice.")
        named = ", ".join(map(str, paths))
        digest = content_hash(paths)
        if (digest, probe.XRAY) in self.store.gallery().enrolled:
            return IngestReport((), ((named, ENROLLED_ALREADY),), (), time.perf_counter() - started)
        made = probe.enrolment(
            radiographs,
            self._embedder,
            subject_id=pseudonym(subject, site_key) if site_key else subject,
            bone=bone,
            laterality=side,
            source=WITHHELD if site_key else str(paths[0].resolve()),
            source_hash=digest,
            keep_views=keep_views,
        )
        made = _of_species(made, species)
        self.add([made])
        if self.store.worth_merging:
            self.store.checkpoint(grow=True)
        return IngestReport(((made.reference, len(made.vectors)),), (), (), time.perf_counter() - started)

    def add(self, batch: Sequence[Enrolment]) -> None:
        """Enrol what has been embedded with this database's weights: all of it becomes durable at once, or nothing."""
        if batch:
            self._announce("ingest", [made.reference for made in batch])
        self.store.append(batch)

    def fingerprint(
        self,
        xrays: probe.Xray | Sequence[probe.Xray],
        *,
        pixel_spacing_mm: float | None = None,
        mirror: bool = False,
        angles_deg: Sequence[float] | None = None,
    ) -> Fingerprint:
        """Embed one or more radiographs of one bone, or its CT, on every canvas of the gallery.

        `search` takes the result.
        """
        from boneprint import ct_probe

        heights = sorted({reference.canvas_mm for reference in self.store.gallery().references})
        if not heights:
            raise BoneprintError(f"{self.store.path}: no bones are enrolled. Run `boneprint ingest CT_DIR` first.")
        if ct_probe.is_ct(xrays):
            if angles_deg is not None:
                raise BoneprintError("a CT shows a bone from all sides; search with it without --angle.")
            if mirror:
                raise BoneprintError("a CT cannot be mirrored; search with a radiograph of it (`boneprint drr`).")
            return ct_probe.fingerprint(ct_probe.views_of_ct(xrays), heights, self._embedder)
        radiographs = probe.as_radiographs(xrays, pixel_spacing_mm=pixel_spacing_mm)
        return probe.fingerprint(radiographs, heights, self._embedder, mirror=mirror, angles_deg=angles_deg)

    def search(
        self,
        xrays: probe.Xray | Sequence[probe.Xray] | Fingerprint,
        k: int = 10,
        *,
        pixel_spacing_mm: float | None = None,
        where: Mapping[str, str] | Iterable[str] | None = None,
        mirror: bool = False,
        angles_deg: Sequence[float] | None = None,
        exact: bool = False,
        all_scores: bool = False,
    ) -> SearchResult:
        """The bones that look most like one or more radiographs of one bone.

        Parameters
        ----------
        xrays : path, Radiograph, array (H, W), tensor, or a list of these (views of one bone); a CT (folder, zip
            archive, NIfTI file) of one bone; or a Fingerprint
        k : how many candidates
        pixel_spacing_mm : mm per pixel in the plane of the bone; goes before what the file says
        where : only bones that fit: ``["bone=femur", "subject!=S-1"]`` or ``{"bone": "femur", "subject!": "S-1"}``;
            keys: bone, side, species, subject, id
        mirror : turn the radiographs round, to look for the bone of the other side
        angles_deg : of each radiograph, about the long axis: 0 AP, 90 a lateral with the front of the bone on the left,
            270 on the right. A bone is then likened to all of them at once, give or take 10 degrees (`directions`)
        exact : look at every view, so that the answer is proved; otherwise large galleries are searched by their index
        all_scores : also give the distance of every bone, for research; it looks at every view

        Returns
        -------
        SearchResult
            Candidates by distance, which is measured by how near strangers come to each bone (`embed.cohort`). A
            candidate is a lead for an examiner, never an identification.

        Raises
        ------
        ReadError
            If a radiograph cannot be read or has no pixel spacing.
        BoneprintError
            If the gallery is empty, nothing fits ``where``, or the fingerprint is another embedder's.
        """
        started = time.perf_counter()
        gallery = self.store.gallery()
        asked = conditions(where)
        fitting = chosen(gallery, asked)
        if isinstance(xrays, Fingerprint):
            template = xrays
            if mirror or angles_deg is not None:
                raise BoneprintError(
                    "a stored fingerprint cannot be mirrored or turned; search with the radiographs themselves."
                )
        else:
            template = self.fingerprint(xrays, pixel_spacing_mm=pixel_spacing_mm, mirror=mirror, angles_deg=angles_deg)
        if template.embedder != self.store.embedder:
            raise BoneprintError(
                f"fingerprint of {template.embedder}, the database holds {self.store.embedder}; "
                "embed the radiograph again with the database's embedder."
            )
        # Bones on a canvas too small for what the probe shows cannot be it; they were not embedded for, nor searched.
        fitting &= np.isin(gallery.canvases_mm, list(template.vectors))
        if not fitting.any():
            raise BoneprintError(
                f"the fingerprint was made for canvases of {sorted(template.vectors)} mm, which none of the bones "
                "asked for uses; embed the radiograph again with this database open, or check its pixel spacing."
            )
        found = ranked(gallery, template, fitting, self._judge, k, exact=exact, all_scores=all_scores)
        result = SearchResult(
            candidates=found.candidates,
            bones=int(fitting.sum()),
            views=int(gallery.rows.counts()[fitting].sum()),
            generation=gallery.generation,
            certified=sum(candidate.distance <= found.proved_to for candidate in found.candidates),
            seconds=time.perf_counter() - started,
            scores=found.scores if all_scores else None,
        )
        self.record("search", *search_facts(result, template, asked, mirror=mirror))
        return result

    def remove(self, *, subject_id: str | None = None, bone_id: str | None = None, erase: bool = False) -> Removal:
        """Take a person's bones, or one bone, out of the database; no search that begins later finds them.

        Parameters
        ----------
        subject_id : all bones of a person
        bone_id : one bone
        erase : also leave no byte of their vectors, pictures and metadata in any file of the database: the files are
            written anew, and the audit trail keeps its events but drops the person. Backups are yours to erase; so is
            what a file system keeps of deleted files

        Raises
        ------
        BoneprintError
            If neither or both are given, or there is no such person or bone.
        StoreError
            If the database is not open for writing, or the disk refuses.
        """
        if (subject_id is None) == (bone_id is None):
            raise BoneprintError("remove: expected the id of a subject or of a bone, and not both.")

        def meant(subject: object, bone: object) -> bool:
            return subject == subject_id if bone_id is None else bone == bone_id

        gone = [r for r in self.store.gallery().references if meant(r.subject_id, r.bone_id)]
        # Bones that were removed earlier, or erased by a process that was killed before it had dropped the person.
        lingering = [r for r in self.store.hidden if meant(r.subject_id, r.bone_id)] if erase else []
        bone_ids = {reference.bone_id for reference in (*gone, *lingering)}

        def concerned(named: Mapping[str, Any]) -> bool:
            return meant(named.get("subject_id"), named.get("bone_id")) or named.get("bone_id") in bone_ids

        if not bone_ids and not (erase and self.trail.mentions(concerned)):
            wanted = f"bone {bone_id!r}" if bone_id is not None else f"bone of subject {subject_id!r}"
            raise BoneprintError(f"{self.store.path}: no {wanted} is enrolled; check the id.")
        self._announce("erase" if erase else "remove", gone)
        generation = self.store.remove((reference.bone_id for reference in gone), erase=erase)
        if erase:
            self.trail.forget(concerned)
        return Removal(tuple(reference.bone_id for reference in gone), erase, generation)

    def audit(self) -> tuple[list[Entry], list[str]]:
        """All events of the audit trail, and what is wrong with it: nothing, if nobody has tampered with it."""
        return self.trail.entries(), self.trail.findings()

    def threshold(
        self, fingerprint: Fingerprint, *, where: Mapping[str, str] | Iterable[str] | None = None
    ) -> Threshold:
        """The margin by which a search with such a fingerprint judges the bones asked for; the strictest, of several.

        Parameters
        ----------
        where : as in `search`
        """
        gallery = self.store.gallery()
        counts = gallery.rows.counts()
        rules = (
            self._judge.rule(fingerprint, gallery.references[row], int(counts[row]))
            for row in np.flatnonzero(chosen(gallery, conditions(where)))
        )
        return min((each.threshold for each in rules), key=lambda threshold: threshold.value)

    def verify(
        self,
        first: probe.Xray,
        second: probe.Xray,
        *,
        bone: str | None = None,
        pixel_spacing_mm: float | None = None,
    ) -> Verification:
        """Compare two radiographs with this database's embedder; see `boneprint.verify`."""
        return verify(first, second, bone=bone, pixel_spacing_mm=pixel_spacing_mm, weights=self._weights)

    def record(self, what: str, facts: Mapping[str, Any], about: Iterable[Mapping[str, Any]]) -> None:
        """Add an event that changes nothing to the audit trail; parameters as of `Trail.record`."""
        try:
            self.trail.record(what, facts, about, who=self._operator)
        except StoreError as error:
            # A database on a read-only disk can be searched all the same.
            warnings.warn(f"this {what} is not recorded: {error}", stacklevel=3)

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
            "precision": "half" if self.store.half else "single",
            "bytes": self.store.stored_bytes,
        }

    def bones(self) -> list[tuple[Reference, int]]:
        """Every enrolled bone, and by how many views."""
        gallery = self.store.gallery()
        return list(zip(gallery.references, gallery.rows.counts().tolist(), strict=True))

    def checkpoint(self, *, threads: int = 1) -> int:
        """Merge pending segments into one file; returns the generation it covers.

        ``threads`` build the index of a large gallery: one always makes the same, more are faster.
        """
        return self.store.checkpoint(threads=threads)

    def close(self) -> None:
        """Let the next writer come."""
        self.store.close()

    def _announce(self, what: str, references: Sequence[Reference]) -> None:
        """Record a change that is about to be made: it becomes the next generation, or was cut short and never is."""
        facts = change_facts(self.store.generation + 1, len(references), self.store.embedder)
        # An erasure names nobody.
        self.trail.record(what, facts, () if what == "erase" else map(named, references), who=self._operator)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _of_species(made: Enrolment, species: str | None) -> Enrolment:
    return replace(made, reference=replace(made.reference, species=species.lower())) if species else made
