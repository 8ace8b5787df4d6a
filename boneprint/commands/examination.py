"""Commands that look closer: at two X-rays, or at an X-ray and an enrolled bone."""

import sys
from pathlib import Path

import click

from boneprint.exit_codes import NO
from boneprint.options import DB, JSON, OPERATOR, PATH, PIXEL_SPACING, WEIGHTS


@click.command()
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@click.option("--bone", metavar="KIND", help="What they show, e.g. femur; without it there is no likelihood ratio.")
@PIXEL_SPACING
@WEIGHTS
@JSON
def verify(
    a: Path, b: Path, bone: str | None, pixel_spacing_mm: float | None, weights: Path | None, json_out: bool
) -> None:
    """Compare two X-rays: exit 0 within the margin, 1 outside, 2 if they cannot be compared."""
    from boneprint import show
    from boneprint.verification import verify as compare

    verification = compare(a, b, bone=bone, pixel_spacing_mm=pixel_spacing_mm, weights=weights)
    if json_out:
        show.as_json(show.verification_json(verification))
    else:
        show.verification_text(verification)
    sys.exit(0 if verification.within_margin else NO)


@click.command()
@click.argument("probe", type=PATH)
@click.option("-o", "--out", required=True, type=PATH, help="The PNG to write.")
@click.option("--candidate", metavar="BONE_ID", help="An enrolled bone, to see where it and the probe agree.")
@DB
@PIXEL_SPACING
@OPERATOR
@WEIGHTS
@JSON
def explain(
    probe: Path,
    out: Path,
    candidate: str | None,
    db: Path,
    pixel_spacing_mm: float | None,
    operator: str | None,
    weights: Path | None,
    json_out: bool,
) -> None:
    """Show what the fingerprint of an X-ray rests on, and with --candidate where it agrees with an enrolled bone."""
    from boneprint import explanation, show
    from boneprint.database import Database
    from boneprint.probe import as_radiograph

    radiograph = as_radiograph(probe, pixel_spacing_mm=pixel_spacing_mm)
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


@click.command()
@click.argument("xray", nargs=-1, required=True, type=PATH)
@click.option("--candidate", metavar="BONE_ID", required=True, help="The enrolled bone to lay over them.")
@click.option("-o", "--out", required=True, type=PATH, help="The PNG to write; those of further X-rays get a number.")
@click.option("--mirror", is_flag=True, help="Turn the X-rays round, for the bone of the other side.")
@DB
@PIXEL_SPACING
@OPERATOR
@WEIGHTS
@JSON
def superimpose(
    xray: tuple[Path, ...],
    candidate: str,
    out: Path,
    mirror: bool,
    db: Path,
    pixel_spacing_mm: float | None,
    operator: str | None,
    weights: Path | None,
    json_out: bool,
) -> None:
    """Lay an enrolled bone over X-rays: how well their edges agree, and the picture of it."""
    from boneprint import show
    from boneprint.database import Database
    from boneprint.probe import as_radiographs
    from boneprint.superimposition import draw_overlays

    radiographs = as_radiographs(list(xray), pixel_spacing_mm=pixel_spacing_mm)
    with Database.open(db, weights=weights, operator=operator) as database:
        overlays = draw_overlays(database, radiographs, candidate, out, mirror=mirror)
    if json_out:
        show.as_json({"bone_id": candidate, **show.overlays_json(overlays), "picture": str(out)})
    else:
        show.overlays_text(overlays)
        click.echo(f"{out}: written", err=True)
