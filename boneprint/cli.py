"""The command line: each command parses, calls one function, and prints."""

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from boneprint._version import __version__
from boneprint.errors import BoneprintError, StoreError

# Exit codes: 1 is the answer "no" (outside the margin, something failed, damage found), 2 is unusable input.
_NO, _UNUSABLE = 1, 2

_DB = click.option(
    "--db",
    type=click.Path(path_type=Path),
    default=Path("boneprint.h5"),
    envvar="BONEPRINT_DB",
    show_default=True,
    show_envvar=True,
    help="The database file.",
)
_WEIGHTS = click.option(
    "--weights",
    type=click.Path(path_type=Path),
    envvar="BONEPRINT_WEIGHTS",
    show_envvar=True,
    help="Another embedder than the shipped one.",
)
_JSON = click.option("--json", "json_out", is_flag=True, help="Print one JSON object to stdout and nothing else there.")
_SPACING = click.option(
    "--pixel-spacing", type=float, metavar="MM", help="mm per pixel in the plane of the bone; goes before the file's."
)
_PATHS = click.Path(path_type=Path)
_MARKER = click.option("--marker-mm", type=float, metavar="MM", help="Diameter of a calibration ball in the picture.")
_RULER = click.option("--ruler-mm", type=float, metavar="MM", help="Distance of the marks of a ruler in the picture.")
_FRAME = click.option("--frame", type=click.IntRange(min=1), help="Of a DICOM file with several pictures.")
_INVERT = click.option("--invert", is_flag=True, help="Bone is dark in the picture.")
_ANGLES = click.option(
    "--angle",
    "angles",
    type=float,
    multiple=True,
    metavar="DEG",
    help="Direction of each X-ray about the axis: 0 AP, 90 lateral, the bone's front on the left, 270 on the right.",
)
_SITE_KEY = click.option(
    "--site-key",
    type=_PATHS,
    envvar="BONEPRINT_SITE_KEY",
    show_envvar=True,
    help="File with the site's secret: subjects are stored under pseudonyms, and no paths.",
)
_KEEP_VIEWS = click.option("--keep-views", is_flag=True, help="Keep the views as pictures, to show candidates by.")
_OPERATOR = click.option(
    "--operator",
    envvar="BONEPRINT_OPERATOR",
    show_envvar=True,
    help="Who the audit trail says it was; the user of the operating system by default.",
)


_CONDITION = re.compile(r"[a-z]+!?=")


class _Group(click.Group):
    """Turns our errors into one line and exit code 2, and an interruption into 130."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BoneprintError as error:
            click.echo(f"boneprint: {error}", err=True)
            ctx.exit(_UNUSABLE)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"boneprint: {where}{error.strerror or error}; name another place, or make room.", err=True)
            ctx.exit(_UNUSABLE)
        except KeyboardInterrupt:
            click.echo("boneprint: interrupted; everything reported as done is kept.", err=True)
            ctx.exit(130)


@click.group(cls=_Group)
@click.version_option(__version__, prog_name="boneprint")
def main() -> None:
    """Which bone in our database is this? Bone identification from radiographs against CT."""


@main.command()
@click.argument("ct", nargs=-1, required=True, type=_PATHS)
@_DB
@click.option("--bone", help="Kind of bone, instead of the body part in the file.")
@click.option("--subject", help="Subject id, instead of PatientID.")
@click.option("--side", type=click.Choice(["L", "R"]), help="Side, instead of the file's laterality.")
@click.option("--species", help="Species of all of them, e.g. human.")
@click.option("--labels", type=_PATHS, help="Label map (NIfTI or DICOM SEG): every bone in it becomes a reference.")
@click.option("--split", is_flag=True, help="Make a bone of every connected bony part.")
@click.option("--fill-gaps", is_flag=True, help="Interpolate over missing slices instead of refusing them.")
@_SITE_KEY
@_KEEP_VIEWS
@click.option(
    "--solids/--no-solids",
    default=True,
    show_default=True,
    help="Keep each bone as a coarse grid (some 70 KB), to be superimposed on X-rays.",
)
@click.option("--half", is_flag=True, help="A new database keeps its fingerprints in half precision, at half the size.")
@_OPERATOR
@_WEIGHTS
@_JSON
def ingest(
    ct: tuple[Path, ...],
    db: Path,
    bone: str | None,
    subject: str | None,
    side: str | None,
    species: str | None,
    labels: Path | None,
    split: bool,
    fill_gaps: bool,
    site_key: Path | None,
    keep_views: bool,
    solids: bool,
    half: bool,
    operator: str | None,
    weights: Path | None,
    json_out: bool,
) -> None:
    """Enrol every CT in folders of any depth; what is enrolled already is skipped."""
    from boneprint import show
    from boneprint.database import Database
    from boneprint.ingest import discover
    from boneprint.ingestion import IngestEvent

    found = discover(ct)  # before a database is made for nothing
    opened = Database.open(db, writable=True, weights=weights, half=half, operator=operator)
    with opened as database, show.progress("ingesting") as advance:

        def tell(event: IngestEvent) -> None:
            advance(event.done, event.total, show.ingest_line(event))

        report = database.ingest(
            found,
            bone=bone,
            subject=subject,
            side=side,
            species=species,
            labels=labels,
            split=split,
            fill_gaps=fill_gaps,
            site_key=_key_of(site_key),
            keep_views=keep_views,
            keep_solids=solids,
            report=tell,
        )
    if json_out:
        show.as_json(show.ingest_json(report))
    else:
        show.ingest_summary(report, str(db))
    if report.failed:
        sys.exit(_NO if report.usable else _UNUSABLE)


@main.command()
@click.argument("xray", nargs=-1, required=True, type=_PATHS)
@_DB
@click.option("--subject", required=True, help="Whose they are.")
@click.option("--bone", required=True, help="Kind of bone.")
@click.option("--side", type=click.Choice(["L", "R"]), help="Side of the body.")
@click.option("--species", help="E.g. human.")
@_SPACING
@_MARKER
@_RULER
@_FRAME
@_INVERT
@_SITE_KEY
@_KEEP_VIEWS
@_OPERATOR
@_WEIGHTS
@_JSON
def enrol(
    xray: tuple[Path, ...],
    db: Path,
    subject: str,
    bone: str,
    side: str | None,
    species: str | None,
    pixel_spacing: float | None,
    marker_mm: float | None,
    ruler_mm: float | None,
    frame: int | None,
    invert: bool,
    site_key: Path | None,
    keep_views: bool,
    operator: str | None,
    weights: Path | None,
    json_out: bool,
) -> None:
    """Enrol X-rays of one bone as a reference, to be found by a CT or by another X-ray."""
    from boneprint import show
    from boneprint.database import Database
    from boneprint.probe import as_radiographs

    radiographs = as_radiographs(
        list(xray),
        pixel_spacing_mm=pixel_spacing,
        marker_mm=marker_mm,
        ruler_mm=ruler_mm,
        frame=frame,
        invert=invert,
    )
    _tell_notes(radiographs)
    with Database.open(db, writable=True, weights=weights, operator=operator) as database:
        report = database.enrol(
            radiographs,
            subject=subject,
            bone=bone,
            side=side,
            species=species,
            site_key=_key_of(site_key),
            keep_views=keep_views,
        )
    if json_out:
        show.as_json(show.ingest_json(report))
    else:
        show.ingest_summary(report, str(db))


@main.command()
@click.argument("subject")
@click.option("--site-key", type=_PATHS, envvar="BONEPRINT_SITE_KEY", show_envvar=True, required=True)
def pseudonym(subject: str, site_key: Path) -> None:
    """Print the id under which a subject is stored with a site's key, to search for or remove it."""
    from boneprint import privacy

    click.echo(privacy.pseudonym(subject, privacy.read_site_key(site_key)))


@main.command()
@_DB
@click.option("--port", type=click.IntRange(0, 65535), default=11112, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 for all.")
@click.option("--ae-title", default="BONEPRINT", show_default=True, help="What the PACS calls us.")
@click.option("--from", "allowed", multiple=True, metavar="AE", help="Only from these; several may be given.")
@click.option("--studies", type=click.IntRange(min=1), help="End after so many; otherwise by interruption.")
@_SITE_KEY
@_OPERATOR
@_WEIGHTS
def receive(
    db: Path,
    port: int,
    host: str,
    ae_title: str,
    allowed: tuple[str, ...],
    studies: int | None,
    site_key: Path | None,
    operator: str | None,
    weights: Path | None,
) -> None:
    """Listen for CTs that a PACS sends (DICOM C-STORE), and enrol each as soon as it is there."""
    from boneprint.database import Database
    from boneprint.receive import received

    key = _key_of(site_key)
    with received(host=host, port=port, ae_title=ae_title, allowed=allowed) as door:
        click.echo(f"listening as {ae_title} at {host}:{door.port}", err=True)
        for number, folder in enumerate(door.studies(), start=1):
            with folder, Database.open(db, writable=True, weights=weights, operator=operator) as database:
                report = database.ingest(folder.name, site_key=key, keep_source=False)
            # Counts alone: what a door writes is kept in logs, and no log may name anybody.
            click.echo(f"association {number}: {len(report.enrolled)} enrolled, {len(report.failed)} failed", err=True)
            if number == studies:
                break


@main.command()
@click.argument("xray", nargs=-1, required=True, type=_PATHS)
@_DB
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many candidates.")
@_SPACING
@_MARKER
@_RULER
@_FRAME
@_INVERT
@click.option(
    "--where",
    multiple=True,
    metavar="KEY=VALUE ...",
    help="Only such bones: bone=, side=, species=, subject=, id=; != for all others. Several may follow each other.",
)
@click.option("--mirror", is_flag=True, help="Look for the bone of the other side.")
@_ANGLES
@click.option("--exact", is_flag=True, help="Look at every view, so that the answer is proved.")
@click.option("--any-scale", is_flag=True, help="The pixel spacing is unknown: try every size that a bone may have.")
@click.option(
    "--superimpose",
    type=click.IntRange(min=1),
    metavar="N",
    help="Lay the N nearest bones over the X-rays, and rank them by how well their edges agree.",
)
@click.option("--all-scores", is_flag=True, help="With --json, also the distance of every bone.")
@click.option("--picture", type=_PATHS, help="Write a PNG of the probe beside the nearest views of the candidates.")
@_OPERATOR
@_WEIGHTS
@_JSON
def search(
    xray: tuple[Path, ...],
    db: Path,
    k: int,
    pixel_spacing: float | None,
    marker_mm: float | None,
    ruler_mm: float | None,
    frame: int | None,
    invert: bool,
    where: tuple[str, ...],
    mirror: bool,
    angles: tuple[float, ...],
    exact: bool,
    any_scale: bool,
    superimpose: int | None,
    all_scores: bool,
    picture: Path | None,
    operator: str | None,
    weights: Path | None,
    json_out: bool,
) -> None:
    """Find the bones that look most like one or more X-rays of one bone, or its CT, or a study at a DICOMweb URL."""
    from boneprint import show
    from boneprint.ct_probe import is_ct, views_of_ct
    from boneprint.database import Database
    from boneprint.probe import as_radiographs
    from boneprint.remote import fetched

    # Words after `--where bone=femur` that are conditions too reach us among the X-rays.
    more = [str(word) for word in xray if where and _CONDITION.match(str(word)) and not word.exists()]
    given = [path for path in xray if str(path) not in more]
    folder = fetched(url) if (url := _url_of(given)) else None
    probes: Any = [Path(folder.name)] if folder else given
    if not is_ct(probes):
        probes = as_radiographs(
            probes,
            pixel_spacing_mm=pixel_spacing,
            marker_mm=marker_mm,
            ruler_mm=ruler_mm,
            frame=frame,
            invert=invert,
        )
        _tell_notes(probes)
    if any_scale and (is_ct(probes) or all_scores):
        raise click.UsageError("--any-scale is for radiographs, and gives no distances of all bones.")
    if superimpose and (is_ct(probes) or any_scale):
        raise click.UsageError("--superimpose is for radiographs of known pixel spacing.")
    spacings: tuple[float, ...] | None = None
    likenesses: tuple[float | None, ...] | None = None
    with Database.open(db, weights=weights, operator=operator) as database:
        conditions = [*where, *more]
        searched = probes
        if is_ct(probes):
            searched = database.fingerprint(probes, mirror=mirror, angles_deg=angles or None)
            for note in searched.notes:
                click.echo(f"{', '.join(map(str, probes))}: {note}", err=True)
        if any_scale:
            from boneprint.any_scale import search_any_scale

            scaled = search_any_scale(database, probes, k, where=conditions, mirror=mirror, angles_deg=angles or None)
            result, spacings = scaled.result, scaled.spacings_mm
        else:
            most = max(k, superimpose or 0)
            # A CT was embedded already, and refused if it was to be mirrored.
            ways: Any = {"mirror": mirror, "angles_deg": angles or None} if searched is probes else {}
            result = database.search(searched, most, where=conditions, **ways, exact=exact, all_scores=all_scores)
        if superimpose:
            from boneprint.superimposition import superimpose_candidates

            with show.progress("superimposing") as advance:
                laid = superimpose_candidates(
                    database,
                    probes,
                    result,
                    depth=superimpose,
                    mirror=mirror,
                    report=lambda done, total: advance(done, total, ""),
                )
            result = replace(laid.result, candidates=laid.result.candidates[:k])
            likenesses = laid.likenesses[:k]
    if json_out:
        show.as_json(show.search_json(result, spacings, likenesses))
    else:
        show.search_table(result, spacings, likenesses)
    if picture:
        from boneprint.lineup import lineup

        lineup(views_of_ct(probes)[:1] if is_ct(probes) else probes, result, picture)
        click.echo(f"{picture}: written", err=True)


@main.command()
@click.argument("a", type=_PATHS)
@click.argument("b", type=_PATHS)
@click.option("--bone", metavar="KIND", help="What they show, e.g. femur; without it there is no likelihood ratio.")
@_SPACING
@_WEIGHTS
@_JSON
def verify(
    a: Path, b: Path, bone: str | None, pixel_spacing: float | None, weights: Path | None, json_out: bool
) -> None:
    """Compare two X-rays: exit 0 within the margin, 1 outside, 2 if they cannot be compared."""
    from boneprint import show
    from boneprint.verification import verify as compare

    verification = compare(a, b, bone=bone, pixel_spacing_mm=pixel_spacing, weights=weights)
    if json_out:
        show.as_json(show.verification_json(verification))
    else:
        show.verification_text(verification)
    sys.exit(0 if verification.within_margin else _NO)


@main.command()
@click.argument("ct", type=_PATHS)
@click.option("-o", "--out", required=True, type=_PATHS, help="Folder for the PNG files.")
@click.option(
    "--protocol",
    type=click.Choice(["enrol", "s1", "natural"]),
    default="enrol",
    show_default=True,
    help="The enrolled views; the 900 joined images of S1; or one radiograph with soft tissue, exposure and noise.",
)
@click.option("--angle", type=float, default=0.0, show_default=True, help="natural: about the long axis; 0 AP, 90 ML.")
@click.option("--kvp", type=float, help="natural: tube voltage, 40 to 150 kVp; without it photons of 60 keV.")
@click.option("--source-detector", type=float, metavar="MM", help="natural: of a cone beam; without it parallel rays.")
@click.option("--source-bone", type=float, metavar="MM", help="natural: from the source to the middle of the limb.")
@click.option("--in-plane", type=float, default=0.0, show_default=True, help="natural: rotation of the picture.")
@click.option("--tilt", type=float, nargs=2, default=(0.0, 0.0), show_default=True, help="natural: out of the plane.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="natural: of exposure, blur and noise."
)
@_JSON
def drr(
    ct: Path,
    out: Path,
    protocol: str,
    angle: float,
    kvp: float | None,
    source_detector: float | None,
    source_bone: float | None,
    in_plane: float,
    tilt: tuple[float, float],
    seed: int,
    json_out: bool,
) -> None:
    """Render a CT as radiographs, to look at."""
    from boneprint import show, views

    source = views.single_ct(ct)
    volume = source.load().volume
    pictures: Any
    if protocol == "natural":
        from boneprint.drr import Beam, KVp

        pictures = [
            views.natural(
                volume,
                angle_deg=angle,
                in_plane_deg=in_plane,
                tilt_deg=tilt,
                seed=seed,
                source=source.label,
                beam=None if kvp is None else Beam.spectrum(KVp(kvp)),
                source_detector_mm=source_detector,
                source_isocentre_mm=source_bone,
            )
        ]
        total = 1
    else:
        pictures, total = (
            (views.s1(volume, source.label), views.S1_IMAGES)
            if protocol == "s1"
            else (views.enrolment(volume, source.label), views.ENROLMENT_VIEWS)
        )
    written: list[str] = []
    with show.progress("rendering") as advance:
        for path in views.write_views(pictures, out, (0.0, 1.0) if protocol == "s1" else None):
            written.append(str(path))
            advance(len(written), total, "")
    if json_out:
        show.as_json({"protocol": protocol, "images": written})
    else:
        click.echo(f"{out}: {len(written)} views written")


@main.command()
@click.argument("folder", type=_PATHS)
@click.option("-n", type=int, default=1, show_default=True, help="How many people.")
@click.option(
    "--bone", default="femur", show_default=True, help="femur, tibia, humerus, radius, vertebra, hip or lump (no bone)."
)
@click.option("--species", default="human", show_default=True, help="human (about 450 mm) or cat (about 110 mm).")
@click.option("--side", type=click.Choice(["L", "R"]), help="Side for all; drawn by chance otherwise.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@_JSON
def simulate(folder: Path, n: int, bone: str, species: str, side: str | None, seed: int, json_out: bool) -> None:
    """Write DICOM CT series of simulated bones, each with its true surface (STL)."""
    from dataclasses import asdict

    from boneprint import show
    from boneprint.cohort import simulate_cohort

    members = []
    with show.progress("simulating") as advance:
        for member in simulate_cohort(folder, n, bone=bone, species=species, seed=seed, side=side):
            members.append(asdict(member))
            line = f"simulated {member.subject_id}  {member.bone} {member.laterality}  {member.length_mm:.0f} mm"
            advance(len(members), n, f"{line}  {folder / member.ct}")
    if json_out:
        show.as_json({"folder": str(folder), "seed": seed, "members": members})
    else:
        click.echo(f"{folder}: {len(members)} simulated, seed {seed}")


@main.command()
@click.argument("ct_dir", required=False, type=_PATHS)
@click.option(
    "-o", "--out", required=True, type=_PATHS, help="NAME of the weights; writes NAME.safetensors, NAME.json."
)
@click.option("--cache", type=_PATHS, required=True, help="Folder for bodies and checkpoints; resumes from it.")
@click.option("--seed", type=click.IntRange(min=0), help="Of bodies and training.")
@click.option("--steps", type=click.IntRange(min=1), help="Training steps.")
@click.option("--patience", type=click.IntRange(min=0), help="Stop after so many examinations without a better one.")
@click.option("--start-from", "published", type=_PATHS, help="Weights to begin with, instead of random ones.")
@click.option("--settled", is_flag=True, default=None, help="With --start-from: a second course, on hard lessons.")
@click.option("--network", help="compact (default), or S1's vgg16 or resnet50.")
@click.option("--dimension", type=click.IntRange(min=2), help="Numbers of a fingerprint; 128 by default.")
@click.option("--loss", help="contrastive (default), or S1's triplet.")
@click.option("--margin", type=float, help="Of the triplet loss; 0.1 by default, as in S1.")
@click.option("--mining", help="Of triplets: batch-hard (default), semi-hard or all.")
@click.option("--people", type=click.IntRange(min=0), help="Simulated people's femora; other kinds in proportion.")
@click.option("--families", type=click.IntRange(min=0), help="Families of four siblings (hard negatives), likewise.")
@click.option("--sessions", type=click.IntRange(1, 2), help="Scans of each simulated bone.")
@click.option("--kind", "kinds", multiple=True, help="Simulate these kinds of bone only; may be given again.")
@click.option(
    "--calibration-bones",
    type=click.IntRange(min=40),
    help="Of each kind that is calibrated; 120 femora and 60 of each other by default.",
)
@_JSON
def train(
    ct_dir: Path | None,
    out: Path,
    cache: Path,
    seed: int | None,
    calibration_bones: int | None,
    published: Path | None,
    people: int | None,
    families: int | None,
    sessions: int | None,
    kinds: tuple[str, ...],
    json_out: bool,
    **options: Any,
) -> None:
    """Train an embedder on simulated bones, or on the bones of the CTs in CT_DIR.

    On a CPU the same seed gives the same weights. Thresholds are calibrated on simulated bones in either case: of the
    kinds that were simulated to train on, or of every kind.
    """
    from boneprint import show, trainer
    from boneprint.embed.card import card_path, weights_path
    from boneprint.embed.training import Schedule
    from boneprint.training_set import Recipe

    def said(**given: Any) -> dict[str, Any]:
        return {name: value for name, value in given.items() if value not in (None, ())}

    with show.progress("training") as advance:

        def tell(stage: str, done: int, total: int, remark: str) -> None:
            often = done % 100 == 0 or done == total
            advance(done, total, f"{stage}: {done} of {total} {remark}".rstrip() if often else "")

        card = trainer.train_embedder(
            out,
            cache,
            recipe=Recipe(**said(seed=seed, people=people, families=families, sessions=sessions, kinds=kinds)),
            schedule=Schedule(**said(seed=seed, published=published and str(published), **options)),
            cts=ct_dir,
            calibration_bones=calibration_bones,
            report=tell,
        )
    if json_out:
        show.as_json(card)
    else:
        click.echo(f"{weights_path(out)}, {card_path(out)}: written")


@main.command()
@click.argument("a", type=_PATHS)
@click.argument("b", type=_PATHS)
@click.option("--mirror", is_flag=True, help="Turn A's left and right round first: a left bone against a right one.")
@click.option(
    "--fragment", type=click.Choice(["a", "b", "no"]), help="Which is only a part of the other; by size otherwise."
)
@click.option("--as-they-lie", is_flag=True, help="Do not align them first.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the points measured at.")
@click.option("--ply", type=_PATHS, help="Write A as laid onto B, coloured by its distance.")
@click.option("--picture", type=_PATHS, help="Write a PNG of that from four sides.")
@_JSON
def compare(
    a: Path,
    b: Path,
    mirror: bool,
    fragment: str | None,
    as_they_lie: bool,
    seed: int,
    ply: Path | None,
    picture: Path | None,
    json_out: bool,
) -> None:
    """Lay surface A (STL, PLY, OBJ; mm) onto B, rigidly and without scale, and measure how far they are apart."""
    from boneprint import shape as shapes
    from boneprint import shape_report, show

    surfaces = [shapes.read_surface(path) for path in (a, b)]
    measured = shapes.compare(*surfaces, mirror=mirror, fragment=fragment, align=not as_they_lie, seed=seed)
    if ply:
        shapes.write_coloured(ply, measured)
    if picture:
        shapes.draw(picture, measured)
    if json_out:
        show.as_json(shape_report.comparison_json(measured))
    else:
        shape_report.comparison_text(measured)


@main.command()
@click.argument("xray", nargs=-1, required=True, type=_PATHS)
@click.option("-o", "--out", required=True, type=_PATHS, help="The surface to write: STL, PLY or OBJ.")
@_DB
@click.option(
    "--method",
    type=click.Choice(["nearest", "ssm", "nearest-ssm"]),
    default="nearest",
    show_default=True,
    help="The nearest bone's own surface, a shape model fitted to the X-rays, or the bone nearest to that fit.",
)
@click.option(
    "--model", type=_PATHS, help="For a fit: file (HDF5) of the model; made of the gallery's bones if missing."
)
@_ANGLES
@click.option("--truth", type=_PATHS, help="The true surface, if known, to measure against; looks at every bone.")
@_SPACING
@click.option("--where", multiple=True, metavar="KEY=VALUE", help="Only among such bones, as in `boneprint search`.")
@_OPERATOR
@_WEIGHTS
@_JSON
def shape(
    xray: tuple[Path, ...],
    out: Path,
    db: Path,
    method: str,
    model: Path | None,
    angles: tuple[float, ...],
    truth: Path | None,
    pixel_spacing: float | None,
    where: tuple[str, ...],
    operator: str | None,
    weights: Path | None,
    json_out: bool,
) -> None:
    """Estimate the surface of the bone in one or more X-rays (AP, ML), from bones whose CTs are enrolled."""
    from boneprint import shape as shapes
    from boneprint import shape_report, show
    from boneprint.database import Database
    from boneprint.shape_estimation import estimate

    known = shapes.read_surface(truth) if truth else None
    with Database.open(db, weights=weights, operator=operator) as database, show.progress("estimating") as advance:
        found = estimate(
            database,
            list(xray),
            method=method,
            pixel_spacing_mm=pixel_spacing,
            angles_deg=angles or None,
            where=where,
            model=model,
            truth=known,
            report=lambda stage, done, total: advance(done, total, ""),
        )
    shapes.write_surface(out, found.surface)
    if json_out:
        show.as_json({**shape_report.estimate_json(found), "surface": str(out)})
    else:
        shape_report.estimate_text(found)
        click.echo(f"{out}: written", err=True)


@main.command()
@click.argument("truth", type=_PATHS)
@_DB
@click.option("--by", multiple=True, metavar="COLUMN", help="Columns to report by; all with several values by default.")
@click.option("--where", multiple=True, metavar="KEY=VALUE", help="Only among such bones, as in `boneprint search`.")
@_ANGLES
@click.option("--plots", type=_PATHS, metavar="DIR", help="Write CMC, DET, distances, PCA and t-SNE as PNG files.")
@click.option("--draws", type=click.IntRange(min=100), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of bootstrap and t-SNE.")
@_OPERATOR
@_WEIGHTS
@_JSON
def evaluate(
    truth: Path,
    db: Path,
    by: tuple[str, ...],
    where: tuple[str, ...],
    angles: tuple[float, ...],
    plots: Path | None,
    draws: int,
    seed: int,
    operator: str | None,
    weights: Path | None,
    json_out: bool,
) -> None:
    """Error rates of a database on X-rays of known truth: a CSV with path, subject_id and columns to report by."""
    from boneprint import evaluation_report, show
    from boneprint.database import Database
    from boneprint.evaluation import evaluate as measure

    if plots:
        from boneprint.plots import check_installed, write_plots

        check_installed()  # before hours of searching
    with Database.open(db, weights=weights, operator=operator) as database:
        with show.progress("searching") as advance:
            found = measure(
                database,
                truth,
                by=by,
                where=where,
                angles_deg=angles or None,
                seed=seed,
                draws=draws,
                report=advance,
            )
        pictures = write_plots(database, found, plots) if plots else []
    if json_out:
        show.as_json({**evaluation_report.evaluation_json(found), "plots": [str(path) for path in pictures]})
    else:
        evaluation_report.evaluation_tables(found)
    for path in pictures:
        click.echo(f"{path}: written", err=True)


@main.command()
@click.argument("probe", type=_PATHS)
@click.option("-o", "--out", required=True, type=_PATHS, help="The PNG to write.")
@click.option("--candidate", metavar="BONE_ID", help="An enrolled bone, to see where it and the probe agree.")
@_DB
@_SPACING
@_OPERATOR
@_WEIGHTS
@_JSON
def explain(
    probe: Path,
    out: Path,
    candidate: str | None,
    db: Path,
    pixel_spacing: float | None,
    operator: str | None,
    weights: Path | None,
    json_out: bool,
) -> None:
    """Show what the fingerprint of an X-ray rests on, and with --candidate where it agrees with an enrolled bone."""
    from boneprint import explanation, show
    from boneprint.database import Database
    from boneprint.probe import as_radiograph

    radiograph = as_radiograph(probe, pixel_spacing_mm=pixel_spacing)
    if candidate is None:
        found = explanation.of_probe(radiograph, weights=weights)
    else:
        with Database.open(db, weights=weights, operator=operator) as database:
            found = explanation.of_pair(database, radiograph, candidate, weights=weights)
    explanation.draw(found, out)
    if json_out:
        show.as_json({**show.explanation_json(found), "picture": str(out)})
    else:
        show.explanation_text(found)
        click.echo(f"{out}: written", err=True)


@main.command()
@click.argument("xray", nargs=-1, required=True, type=_PATHS)
@click.option("--candidate", metavar="BONE_ID", required=True, help="The enrolled bone to lay over them.")
@click.option("-o", "--out", required=True, type=_PATHS, help="The PNG to write; those of further X-rays get a number.")
@click.option("--mirror", is_flag=True, help="Turn the X-rays round, for the bone of the other side.")
@_DB
@_SPACING
@_OPERATOR
@_WEIGHTS
@_JSON
def superimpose(
    xray: tuple[Path, ...],
    candidate: str,
    out: Path,
    mirror: bool,
    db: Path,
    pixel_spacing: float | None,
    operator: str | None,
    weights: Path | None,
    json_out: bool,
) -> None:
    """Lay an enrolled bone over X-rays: how well their edges agree, and the picture of it."""
    from boneprint import show
    from boneprint.database import Database
    from boneprint.probe import as_radiographs
    from boneprint.superimposition import draw_overlays

    radiographs = as_radiographs(list(xray), pixel_spacing_mm=pixel_spacing)
    with Database.open(db, weights=weights, operator=operator) as database:
        overlays = draw_overlays(database, radiographs, candidate, out, mirror=mirror)
    if json_out:
        show.as_json({"bone_id": candidate, **show.overlays_json(overlays), "picture": str(out)})
    else:
        show.overlays_text(overlays)
        click.echo(f"{out}: written", err=True)


@main.command()
@_DB
@click.option("--bones", is_flag=True, help="List every bone, with its quality.")
@_WEIGHTS
@_JSON
def info(db: Path, bones: bool, weights: Path | None, json_out: bool) -> None:
    """Say what a database holds."""
    from boneprint import show
    from boneprint.database import Database

    with Database.open(db, weights=weights) as database:
        found, listed = database.info(), database.bones() if bones else []
    if json_out:
        show.as_json({**found, "enrolled": show.bones_json(listed)} if bones else found)
    else:
        show.info_text(found)
        if bones:
            show.bones_table(listed)


@main.command()
@_DB
@_JSON
def check(db: Path, json_out: bool) -> None:
    """Verify every checksum of a database, and its audit trail: exit 0 whole, 1 damaged."""
    from boneprint import index, show
    from boneprint.evidence.audit import Trail

    trail = Trail(db)
    findings = index.check(db) + [index.Finding(trail.path, False, found) for found in trail.findings()]
    whole = all(finding.ok for finding in findings)
    if json_out:
        listed = [{"file": str(f.file), "ok": f.ok, "message": f.message} for f in findings]
        show.as_json({"whole": whole, "findings": listed})
    else:
        for finding in findings:
            click.echo(f"{'ok' if finding.ok else 'DAMAGED':<8} {finding.file}: {finding.message}")
    sys.exit(0 if whole else _NO)


@main.command()
@_DB
@click.option("--subject", help="Remove all bones of this subject.")
@click.option("--id", "bone_id", help="Remove this bone.")
@click.option("--erase", is_flag=True, help="Leave no byte of them in any file; the audit trail forgets the person.")
@_OPERATOR
@_WEIGHTS
@_JSON
def remove(
    db: Path,
    subject: str | None,
    bone_id: str | None,
    erase: bool,
    operator: str | None,
    weights: Path | None,
    json_out: bool,
) -> None:
    """Take a subject's bones, or one bone, out of the database: at once, and with --erase for good."""
    from boneprint import show
    from boneprint.database import Database

    _check_exists(db)
    with Database.open(db, writable=True, weights=weights, operator=operator) as database:
        removal = database.remove(subject_id=subject, bone_id=bone_id, erase=erase)
    if json_out:
        show.as_json(show.removal_json(removal))
    else:
        done = "erased" if erase else "removed; their bytes stay until `boneprint checkpoint`"
        click.echo(f"{db}: {len(removal.bone_ids)} bones {done}, generation {removal.generation}")


@main.command()
@_DB
@click.option("--last", type=click.IntRange(min=1), help="Only the last events.")
@_JSON
def audit(db: Path, last: int | None, json_out: bool) -> None:
    """List who did what and when, and verify the trail: exit 0 whole, 1 damaged or tampered with."""
    from boneprint import show
    from boneprint.evidence.audit import Trail

    _check_exists(db)
    trail = Trail(db)
    entries, findings = trail.entries(), trail.findings()
    if json_out:
        show.as_json(show.audit_json(entries[-(last or 0) :], findings))
    else:
        show.audit_table(entries[-(last or 0) :], findings)
    sys.exit(_NO if findings else 0)


@main.command()
@_DB
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="One always makes one index.")
@_WEIGHTS
@_JSON
def checkpoint(db: Path, threads: int, weights: Path | None, json_out: bool) -> None:
    """Merge pending segments into one file, and bring it to the present format."""
    from boneprint import show
    from boneprint.database import Database

    _check_exists(db)
    with Database.open(db, writable=True, weights=weights) as database:
        generation = database.checkpoint(threads=threads)
    if json_out:
        show.as_json({"path": str(db), "generation": generation})
    else:
        click.echo(f"{db}: one file, generation {generation}")


def _key_of(site_key: Path | None) -> bytes | None:
    from boneprint.privacy import read_site_key

    return None if site_key is None else read_site_key(site_key)


def _url_of(given: list[Path]) -> str | None:
    """A DICOMweb URL among the arguments; as a path it has lost a slash."""
    if len(given) == 1 and (found := re.match(r"(https?):/+(.+)", str(given[0]))):
        return f"{found[1]}://{found[2]}"
    return None


def _tell_notes(radiographs: Any) -> None:
    for radiograph in radiographs:
        for note in radiograph.notes:
            click.echo(f"{radiograph.source}: {note}", err=True)


def _check_exists(db: Path) -> None:
    # Opened for writing, it would be made.
    if not db.exists():
        raise StoreError(f"{db}: no such database; make one with `boneprint ingest CT_DIR --db {db}`.")


if __name__ == "__main__":
    main()


@main.command()
@click.argument("old", type=_PATHS)
@click.option("-o", "--out", required=True, type=_PATHS, help="The new database.")
@_WEIGHTS
@_OPERATOR
@_JSON
def reindex(old: Path, out: Path, weights: Path | None, operator: str | None, json_out: bool) -> None:
    """Make a database for other weights: every bone of OLD is embedded anew, from what is kept of it.

    Exit 1 where some could not be; OLD stays as it is. Stopped and called again it goes on.
    """
    from boneprint import show
    from boneprint.reindex import reindex as made_anew

    _check_exists(old)
    with show.progress("embedding") as advance:
        told = lambda bones, total: advance(bones, total, "")  # noqa: E731
        done = made_anew(old, out, weights=weights, operator=operator, report=told)
    if json_out:
        failed = [{"bone_id": bone_id, "error": error} for bone_id, error in done.failed]
        show.as_json({"made": list(done.made), "kept": list(done.kept), "failed": failed})
    else:
        for bone_id, error in done.failed:
            click.echo(f"failed {bone_id}: {error}", err=True)
        click.echo(f"{out}: {len(done.made)} bones embedded, {len(done.kept)} there already, {len(done.failed)} failed")
    sys.exit(_NO if done.failed else 0)
