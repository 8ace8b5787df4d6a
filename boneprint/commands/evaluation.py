"""The command that measures error rates."""

from pathlib import Path

import click

from boneprint.options import ANGLES, DB, JSON, OPERATOR, PATH, WEIGHTS, WHERE


@click.command()
@click.argument("truth", type=PATH)
@DB
@click.option("--by", multiple=True, metavar="COLUMN", help="Columns to report by; all with several values by default.")
@WHERE
@ANGLES
@click.option("--plots", type=PATH, metavar="DIR", help="Write CMC, DET, distances, PCA and t-SNE as PNG files.")
@click.option("--draws", type=click.IntRange(min=100), default=1000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of bootstrap and t-SNE.")
@OPERATOR
@WEIGHTS
@JSON
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
