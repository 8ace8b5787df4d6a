"""The command that finds bones by X-rays or a CT."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from boneprint.options import ANGLES, DB, JSON, OPERATOR, PATH, WEIGHTS, read_radiographs, reading_options

_CONDITION = re.compile(r"[a-z]+!?=")


@click.command()
@click.argument("xray", nargs=-1, required=True, type=PATH)
@DB
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many candidates.")
@reading_options
@click.option(
    "--where",
    multiple=True,
    metavar="KEY=VALUE ...",
    help="Only such bones: bone=, side=, species=, subject=, id=; != for all others. Several may follow each other.",
)
@click.option("--mirror", is_flag=True, help="Look for the bone of the other side.")
@ANGLES
@click.option("--exact", is_flag=True, help="Look at every view, so that the answer is proved.")
@click.option("--any-scale", is_flag=True, help="The pixel spacing is unknown: try every size that a bone may have.")
@click.option(
    "--superimpose",
    type=click.IntRange(min=1),
    metavar="N",
    help="Lay the N nearest bones over the X-rays, and rank them by how well their edges agree.",
)
@click.option("--all-scores", is_flag=True, help="With --json, also the distance of every bone.")
@click.option("--picture", type=PATH, help="Write a PNG of the probe beside the nearest views of the candidates.")
@OPERATOR
@WEIGHTS
@JSON
def search(
    xray: tuple[Path, ...],
    db: Path,
    k: int,
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
    **reading: Any,
) -> None:
    """Find the bones that look most like one or more X-rays of one bone, or its CT, or a study at a DICOMweb URL."""
    from boneprint import show
    from boneprint.ct_probe import is_ct, views_of_ct
    from boneprint.database import Database
    from boneprint.remote import fetched

    # Words after `--where bone=femur` that are conditions too reach us among the X-rays.
    more = [str(word) for word in xray if where and _CONDITION.match(str(word)) and not word.exists()]
    given = [path for path in xray if str(path) not in more]
    folder = fetched(url) if (url := _url_of(given)) else None
    probes: Any = [Path(folder.name)] if folder else given
    by_ct = is_ct(probes)
    if not by_ct:
        probes = read_radiographs(probes, reading)
    if any_scale and (by_ct or all_scores):
        raise click.UsageError("--any-scale is for radiographs, and gives no distances of all bones.")
    if superimpose and (by_ct or any_scale):
        raise click.UsageError("--superimpose is for radiographs of known pixel spacing.")
    spacings: tuple[float, ...] | None = None
    likenesses: tuple[float | None, ...] | None = None
    conditions = [*where, *more]
    ways: dict[str, Any] = {"mirror": mirror, "angles_deg": angles or None}
    with Database.open(db, weights=weights, operator=operator) as database:
        if any_scale:
            from boneprint.any_scale import search_any_scale

            scaled = search_any_scale(database, probes, k, where=conditions, **ways)
            result, spacings = scaled.result, scaled.spacings_mm
        else:
            searched = probes
            if by_ct:
                # Embedded by itself, for what is noted about it. Whoever wants it mirrored or turned is refused here.
                searched, ways = database.fingerprint(probes, **ways), {}
                for note in searched.notes:
                    click.echo(f"{', '.join(map(str, probes))}: {note}", err=True)
            most = max(k, superimpose or 0)
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

        lineup(views_of_ct(probes)[:1] if by_ct else probes, result, picture)
        click.echo(f"{picture}: written", err=True)


def _url_of(given: list[Path]) -> str | None:
    """A DICOMweb URL among the arguments; as a path it has lost a slash."""
    if len(given) == 1 and (found := re.match(r"(https?):/+(.+)", str(given[0]))):
        return f"{found[1]}://{found[2]}"
    return None
