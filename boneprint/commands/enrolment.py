"""Commands that enrol bones: from CTs, from X-rays, from what a PACS sends."""

import sys
from pathlib import Path
from typing import Any

import click

from boneprint.exit_codes import NO, UNUSABLE
from boneprint.options import DB, JSON, KEEP_VIEWS, OPERATOR, PATH, SITE_KEY, WEIGHTS, read_radiographs, reading_options


@click.command()
@click.argument("ct", nargs=-1, required=True, type=PATH)
@DB
@click.option("--bone", help="Kind of bone, instead of the body part in the file.")
@click.option("--subject", help="Subject id, instead of PatientID.")
@click.option("--side", type=click.Choice(["L", "R"]), help="Side, instead of the file's laterality.")
@click.option("--species", help="Species of all of them, e.g. human.")
@click.option("--labels", type=PATH, help="Label map (NIfTI or DICOM SEG): every bone in it becomes a reference.")
@click.option("--split", is_flag=True, help="Make a bone of every connected bony part.")
@click.option("--fill-gaps", is_flag=True, help="Interpolate over missing slices instead of refusing them.")
@SITE_KEY
@KEEP_VIEWS
@click.option(
    "--solids/--no-solids",
    default=True,
    show_default=True,
    help="Keep each bone as a coarse grid (some 70 KB), to be superimposed on X-rays.",
)
@click.option("--half", is_flag=True, help="A new database keeps its fingerprints in half precision, at half the size.")
@OPERATOR
@WEIGHTS
@JSON
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
        sys.exit(NO if report.usable else UNUSABLE)


@click.command()
@click.argument("xray", nargs=-1, required=True, type=PATH)
@DB
@click.option("--subject", required=True, help="Whose they are.")
@click.option("--bone", required=True, help="Kind of bone.")
@click.option("--side", type=click.Choice(["L", "R"]), help="Side of the body.")
@click.option("--species", help="E.g. human.")
@reading_options
@SITE_KEY
@KEEP_VIEWS
@OPERATOR
@WEIGHTS
@JSON
def enrol(
    xray: tuple[Path, ...],
    db: Path,
    subject: str,
    bone: str,
    side: str | None,
    species: str | None,
    site_key: Path | None,
    keep_views: bool,
    operator: str | None,
    weights: Path | None,
    json_out: bool,
    **reading: Any,
) -> None:
    """Enrol X-rays of one bone as a reference, to be found by a CT or by another X-ray."""
    from boneprint import show
    from boneprint.database import Database

    radiographs = read_radiographs(xray, reading)
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


@click.command()
@click.argument("subject")
@click.option("--site-key", type=PATH, envvar="BONEPRINT_SITE_KEY", show_envvar=True, required=True)
def pseudonym(subject: str, site_key: Path) -> None:
    """Print the id under which a subject is stored with a site's key, to search for or remove it."""
    from boneprint import privacy

    click.echo(privacy.pseudonym(subject, privacy.read_site_key(site_key)))


@click.command()
@DB
@click.option("--port", type=click.IntRange(0, 65535), default=11112, show_default=True, help="0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 for all.")
@click.option("--ae-title", default="BONEPRINT", show_default=True, help="What the PACS calls us.")
@click.option("--from", "allowed", multiple=True, metavar="AE", help="Only from these; several may be given.")
@click.option("--studies", type=click.IntRange(min=1), help="End after so many; otherwise by interruption.")
@SITE_KEY
@OPERATOR
@WEIGHTS
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


def _key_of(site_key: Path | None) -> bytes | None:
    from boneprint.privacy import read_site_key

    return None if site_key is None else read_site_key(site_key)
