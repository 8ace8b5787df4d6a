"""The command line: each command parses, calls one function, and prints."""

import sys
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
@click.option("--labels", type=_PATHS, help="NIfTI label map: every bone in it becomes a reference.")
@click.option("--split", is_flag=True, help="Make a bone of every connected bony part.")
@_WEIGHTS
@_JSON
def ingest(
    ct: tuple[Path, ...],
    db: Path,
    bone: str | None,
    subject: str | None,
    side: str | None,
    labels: Path | None,
    split: bool,
    weights: Path | None,
    json_out: bool,
) -> None:
    """Enrol every CT in folders of any depth; what is enrolled already is skipped."""
    from boneprint import show
    from boneprint.database import Database, IngestEvent
    from boneprint.ingest import discover

    found = discover(ct)  # before a database is made for nothing
    with Database.open(db, writable=True, weights=weights) as database, show.progress("ingesting") as advance:

        def tell(event: IngestEvent) -> None:
            advance(event.done, event.total, show.ingest_line(event))

        report = database.ingest(found, bone=bone, subject=subject, side=side, labels=labels, split=split, report=tell)
    if json_out:
        show.as_json(show.ingest_json(report))
    else:
        show.ingest_summary(report, str(db))
    if report.failed:
        sys.exit(_NO if report.usable else _UNUSABLE)


@main.command()
@click.argument("xray", nargs=-1, required=True, type=_PATHS)
@_DB
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many candidates.")
@_SPACING
@click.option("--where", multiple=True, metavar="KEY=VALUE", help="Only such bones: bone=, side=, subject=, id=.")
@click.option("--mirror", is_flag=True, help="Look for the bone of the other side.")
@click.option("--picture", type=_PATHS, help="Write a PNG of the probe beside the nearest views of the candidates.")
@_WEIGHTS
@_JSON
def search(
    xray: tuple[Path, ...],
    db: Path,
    k: int,
    pixel_spacing: float | None,
    where: tuple[str, ...],
    mirror: bool,
    picture: Path | None,
    weights: Path | None,
    json_out: bool,
) -> None:
    """Find the bones that look most like one or more X-rays of one bone."""
    from boneprint import show
    from boneprint.database import Database
    from boneprint.probe import as_radiographs

    conditions = _conditions(where)
    probes = as_radiographs(xray, pixel_spacing_mm=pixel_spacing)
    with Database.open(db, weights=weights) as database:
        result = database.search(probes, k, where=conditions, mirror=mirror)
    if json_out:
        show.as_json(show.search_json(result))
    else:
        show.search_table(result)
    if picture:
        from boneprint.lineup import lineup

        lineup(probes, result, picture)
        click.echo(f"{picture}: written", err=True)


@main.command()
@click.argument("a", type=_PATHS)
@click.argument("b", type=_PATHS)
@_SPACING
@_WEIGHTS
@_JSON
def verify(a: Path, b: Path, pixel_spacing: float | None, weights: Path | None, json_out: bool) -> None:
    """Compare two X-rays: exit 0 within the margin, 1 outside, 2 if they cannot be compared."""
    from boneprint import show
    from boneprint.database import verify as compare

    verification = compare(a, b, pixel_spacing_mm=pixel_spacing, weights=weights)
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
        pictures = [
            views.natural(volume, angle_deg=angle, in_plane_deg=in_plane, tilt_deg=tilt, seed=seed, source=source.label)
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
@click.option("--bone", default="femur", show_default=True)
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
@click.option(
    "-o", "--out", required=True, type=_PATHS, help="NAME of the weights; writes NAME.safetensors, NAME.json."
)
@click.option(
    "--cache", type=_PATHS, required=True, help="Folder for rendered bodies and checkpoints; resumes from it."
)
@click.option("--seed", type=click.IntRange(min=0), help="Of bodies and training.")
@click.option("--steps", type=click.IntRange(min=1), help="Training steps.")
@click.option("--people", type=click.IntRange(min=0), help="Simulated people.")
@click.option("--families", type=click.IntRange(min=0), help="Families of four siblings (hard negatives).")
@click.option("--cats", type=click.IntRange(min=0), help="Simulated cats.")
@click.option("--cat-families", type=click.IntRange(min=0), help="Families of cats.")
@click.option("--calibration-bones", type=click.IntRange(min=40), default=120, show_default=True)
@_JSON
def train(
    out: Path, cache: Path, seed: int | None, steps: int | None, calibration_bones: int, json_out: bool, **bodies: int
) -> None:
    """Train an embedder from scratch on simulated bones; the same seed gives the same weights."""
    from boneprint import show, trainer
    from boneprint.embed.card import card_path, weights_path
    from boneprint.embed.training import Schedule
    from boneprint.training_set import Recipe

    given: dict[str, Any] = {name: value for name, value in {"seed": seed, **bodies}.items() if value is not None}
    schedule = {name: value for name, value in {"seed": seed, "steps": steps}.items() if value is not None}
    with show.progress("training") as advance:

        def tell(stage: str, done: int, total: int, remark: str) -> None:
            often = done % 100 == 0 or done == total
            advance(done, total, f"{stage}: {done} of {total} {remark}".rstrip() if often else "")

        card = trainer.train_embedder(
            out,
            cache,
            recipe=Recipe(**given),
            schedule=Schedule(**schedule),
            calibration_bones=calibration_bones,
            report=tell,
        )
    if json_out:
        show.as_json(card)
    else:
        click.echo(f"{weights_path(out)}, {card_path(out)}: written")


@main.command()
@_DB
@_WEIGHTS
@_JSON
def info(db: Path, weights: Path | None, json_out: bool) -> None:
    """Say what a database holds."""
    from boneprint import show
    from boneprint.database import Database

    with Database.open(db, weights=weights) as database:
        found = database.info()
    (show.as_json if json_out else show.info_text)(found)


@main.command()
@_DB
@_JSON
def check(db: Path, json_out: bool) -> None:
    """Verify every checksum of a database: exit 0 whole, 1 damaged."""
    from boneprint import index, show

    findings = index.check(db)
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
@_WEIGHTS
@_JSON
def checkpoint(db: Path, weights: Path | None, json_out: bool) -> None:
    """Merge pending segments into one file."""
    from boneprint import show
    from boneprint.database import Database

    if not db.exists():
        raise StoreError(f"{db}: no such database; make one with `boneprint ingest CT_DIR --db {db}`.")
    with Database.open(db, writable=True, weights=weights) as database:
        generation = database.checkpoint()
    if json_out:
        show.as_json({"path": str(db), "generation": generation})
    else:
        click.echo(f"{db}: one file, generation {generation}")


def _conditions(texts: tuple[str, ...]) -> dict[str, str]:
    conditions: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise BoneprintError(f"--where {text}: expected KEY=VALUE, e.g. --where bone=femur.")
        if key in conditions:
            raise BoneprintError(f"--where {text}: {key} was given before; expected one value for each key.")
        conditions[key] = value
    return conditions


if __name__ == "__main__":
    main()
