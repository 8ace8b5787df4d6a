"""The command that trains an embedder."""

from pathlib import Path
from typing import Any

import click

from boneprint.options import JSON, PATH


@click.command()
@click.argument("ct_dir", required=False, type=PATH)
@click.option("-o", "--out", required=True, type=PATH, help="NAME of the weights; writes NAME.safetensors, NAME.json.")
@click.option("--cache", type=PATH, required=True, help="Folder for bodies and checkpoints; resumes from it.")
@click.option("--seed", type=click.IntRange(min=0), help="Of bodies and training.")
@click.option("--steps", type=click.IntRange(min=1), help="Training steps.")
@click.option("--patience", type=click.IntRange(min=0), help="Stop after so many examinations without a better one.")
@click.option("--start-from", "published", type=PATH, help="Weights to begin with, instead of random ones.")
@click.option("--settled-from", type=click.IntRange(min=0), help="Step from which a second course gives hard lessons.")
@click.option("--form", help="tall or square: teach on such canvases only; the other branch keeps its weights.")
@click.option("--finder-only", is_flag=True, help="Teach nothing but where in a picture the bone is.")
@click.option("--network", help="compact (default), or S1's vgg16 or resnet50.")
@click.option("--dimension", type=click.IntRange(min=2), help="Numbers of a fingerprint; 128 by default.")
@click.option("--loss", help="contrastive (default), or S1's triplet.")
@click.option("--margin", type=float, help="Of the triplet loss; 0.1 by default, as in S1.")
@click.option(
    "--squared/--not-squared", default=None, help="Distances in the triplet loss; S1's are squared (default)."
)
@click.option("--mining", help="Of triplets: batch-hard (default), semi-hard or all.")
@click.option("--learning-rate", type=click.FloatRange(min=0, min_open=True), help="The highest; 0.0015 by default.")
@click.option("--people", type=click.IntRange(min=0), help="Simulated people's femora; other kinds in proportion.")
@click.option("--families", type=click.IntRange(min=0), help="Families of four siblings (hard negatives), likewise.")
@click.option("--sessions", type=click.IntRange(1, 2), help="Scans of each simulated bone.")
@click.option("--kind", "kinds", multiple=True, help="Simulate these kinds of bone only; may be given again.")
@click.option(
    "--radiographs",
    is_flag=True,
    help="Teach on radiographs of later visits, rendered once, not on bodies: a last course; wants --start-from.",
)
@click.option(
    "--whitening-bones",
    type=click.IntRange(min=0),
    help="Of each kind the last layer is whitened by; 690 in all by default, 0: it is not.",
)
@click.option(
    "--calibration-bones",
    type=click.IntRange(min=40),
    help="Of each kind that is calibrated; 120 femora and 60 of each other by default.",
)
@JSON
def train(
    ct_dir: Path | None,
    out: Path,
    cache: Path,
    seed: int | None,
    radiographs: bool,
    whitening_bones: int | None,
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
    kinds that were simulated to train on, or of every kind that networks are taught whole.
    """
    from boneprint import radiograph_lessons, show, trainer
    from boneprint.embed.card import card_path, weights_path
    from boneprint.embed.training import Schedule
    from boneprint.training_recipe import Recipe

    def said(**given: Any) -> dict[str, Any]:
        return {name: value for name, value in given.items() if value not in (None, ())}

    recipe = Recipe(**said(seed=seed, people=people, families=families, sessions=sessions, kinds=kinds))
    schedule = Schedule(**said(seed=seed, published=published and str(published), **options))
    taught = {kind: radiograph_lessons.COUNTS[kind] for kind in recipe.taught(schedule.form)}
    with show.progress("training") as advance:

        def tell(stage: str, done: int, total: int, remark: str) -> None:
            often = done % 100 == 0 or done == total
            advance(done, total, f"{stage}: {done} of {total} {remark}".rstrip() if often else "")

        card = trainer.train_embedder(
            out,
            cache,
            recipe=recipe,
            schedule=schedule,
            cts=ct_dir,
            radiographs=taught if radiographs else None,
            whitening_bones=whitening_bones,
            calibration_bones=calibration_bones,
            report=tell,
        )
    if json_out:
        show.as_json(card)
    else:
        click.echo(f"{weights_path(out)}, {card_path(out)}: written")
