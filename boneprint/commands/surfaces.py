"""Commands about the surfaces of bones: two laid onto each other, one estimated from X-rays."""

from pathlib import Path

import click

from boneprint.options import ANGLES, DB, JSON, OPERATOR, PATH, PIXEL_SPACING, WEIGHTS, WHERE


@click.command()
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@click.option("--mirror", is_flag=True, help="Turn A's left and right round first: a left bone against a right one.")
@click.option(
    "--fragment", type=click.Choice(["a", "b", "no"]), help="Which is only a part of the other; by size otherwise."
)
@click.option("--as-they-lie", is_flag=True, help="Do not align them first.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the points measured at.")
@click.option("--ply", type=PATH, help="Write A as laid onto B, coloured by its distance.")
@click.option("--picture", type=PATH, help="Write a PNG of that from four sides.")
@JSON
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


@click.command()
@click.argument("xray", nargs=-1, required=True, type=PATH)
@click.option("-o", "--out", required=True, type=PATH, help="The surface to write: STL, PLY or OBJ.")
@DB
@click.option(
    "--method",
    type=click.Choice(["nearest", "ssm", "nearest-ssm"]),
    default="nearest",
    show_default=True,
    help="The nearest bone's own surface, a shape model fitted to the X-rays, or the bone nearest to that fit.",
)
@click.option("--model", type=PATH, help="For a fit: file (HDF5) of the model; made of the gallery's bones if missing.")
@ANGLES
@click.option("--truth", type=PATH, help="The true surface, if known, to measure against; looks at every bone.")
@PIXEL_SPACING
@WHERE
@OPERATOR
@WEIGHTS
@JSON
def shape(
    xray: tuple[Path, ...],
    out: Path,
    db: Path,
    method: str,
    model: Path | None,
    angles: tuple[float, ...],
    truth: Path | None,
    pixel_spacing_mm: float | None,
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
            pixel_spacing_mm=pixel_spacing_mm,
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
