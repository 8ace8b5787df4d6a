"""A CT as a probe: its one bone seen from all sides, to be looked for among enrolled radiographs and CTs."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from boneprint import bone, drr, probe
from boneprint.errors import ReadError
from boneprint.ingest import Options, discover, specimens
from boneprint.nouns import Fingerprint, Radiograph
from boneprint.read import holds_ct

if TYPE_CHECKING:
    from boneprint.embed import Embedder


def is_ct(given: Any) -> bool:
    """Whether what a caller hands over is a CT: a folder, a zip archive, a NIfTI file or a CT slice."""
    paths = given if isinstance(given, list | tuple) else [given]
    return bool(paths) and all(isinstance(path, str | Path) and holds_ct(Path(path)) for path in paths)


def views_of_ct(paths: Any, *, labels: Path | None = None, part: str | None = None) -> list[Radiograph]:
    """The enrolment views of the one bone of a CT, with the notes of both.

    Parameters
    ----------
    paths : one or several
    labels : label map, where the CT holds several bones
    part : name of the bone's label, needed where the map has several bones

    Raises
    ------
    ReadError
        If there is no CT, or there are several, or several bones.
    """
    found = discover(paths)
    if len(found.sources) != 1:
        named = ", ".join(source.label for source in found.sources[:4]) or (found.failed or found.skipped)[0][1]
        raise ReadError(f"{paths}: {len(found.sources)} CTs in it ({named}), expected one. Name its own folder.")
    scan = found.sources[0].load()
    bones = specimens(scan, Options(labels=labels))
    if part is not None:
        bones = [each for each in bones if each.part.rpartition(":")[2] == part]
    if len(bones) != 1:
        raise ReadError(f"{scan.source}: {len(bones)} bones, expected one to search with. Name it with --part LABEL.")
    upright, pose = bone.stand_up(bones[0].volume)
    views = drr.enrolment_views(upright, scan.source, long=pose.long)
    return [replace(view, notes=(*scan.notes, *bones[0].notes)) for view in views]


def fingerprint(views: Sequence[Radiograph], canvas_heights_mm: Iterable[float], embedder: "Embedder") -> Fingerprint:
    """Embed the views of a CT on every canvas of a gallery that can hold them."""
    made = probe.fingerprint(views, canvas_heights_mm, embedder, rendered=True)
    return replace(made, all_round=True, notes=tuple(dict.fromkeys(note for view in views for note in view.notes)))
