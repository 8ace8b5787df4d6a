"""Commands that look after a database: what it holds, whether it is whole, what is to go, what is to be made anew."""

import sys
from pathlib import Path

import click

from boneprint.errors import StoreError
from boneprint.exit_codes import NO
from boneprint.options import DB, JSON, OPERATOR, PATH, WEIGHTS


@click.command()
@DB
@click.option("--bones", is_flag=True, help="List every bone, with its quality.")
@WEIGHTS
@JSON
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


@click.command()
@DB
@JSON
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
    sys.exit(0 if whole else NO)


@click.command()
@DB
@click.option("--subject", help="Remove all bones of this subject.")
@click.option("--id", "bone_id", help="Remove this bone.")
@click.option("--erase", is_flag=True, help="Leave no byte of them in any file; the audit trail forgets the person.")
@OPERATOR
@WEIGHTS
@JSON
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


@click.command()
@DB
@click.option("--last", type=click.IntRange(min=1), help="Only the last events.")
@JSON
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
    sys.exit(NO if findings else 0)


@click.command()
@DB
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="One always makes one index.")
@WEIGHTS
@JSON
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


@click.command()
@click.argument("old", type=PATH)
@click.option("-o", "--out", required=True, type=PATH, help="The new database.")
@WEIGHTS
@OPERATOR
@JSON
def reindex(old: Path, out: Path, weights: Path | None, operator: str | None, json_out: bool) -> None:
    """Make a database for other weights: every bone of OLD is embedded anew, from what is kept of it.

    Exit 1 where some could not be; OLD stays as it is. Stopped and called again it goes on.
    """
    from boneprint import show
    from boneprint.reindex import reindex as made_anew

    _check_exists(old)
    with show.progress("embedding") as advance:
        done = made_anew(
            old, out, weights=weights, operator=operator, report=lambda bones, total: advance(bones, total, "")
        )
    if json_out:
        failed = [{"bone_id": bone_id, "error": error} for bone_id, error in done.failed]
        show.as_json({"made": list(done.made), "kept": list(done.kept), "failed": failed})
    else:
        for bone_id, error in done.failed:
            click.echo(f"failed {bone_id}: {error}", err=True)
        click.echo(f"{out}: {len(done.made)} bones embedded, {len(done.kept)} there already, {len(done.failed)} failed")
    sys.exit(NO if done.failed else 0)


def _check_exists(db: Path) -> None:
    # Opened for writing, it would be made.
    if not db.exists():
        raise StoreError(f"{db}: no such database; make one with `boneprint ingest CT_DIR --db {db}`.")
