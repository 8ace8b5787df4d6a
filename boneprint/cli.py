"""The command line: all commands, and what becomes of their errors."""

from typing import Any

import click

from boneprint._version import __version__
from boneprint.commands.enrolment import enrol, ingest, pseudonym, receive
from boneprint.commands.evaluation import evaluate
from boneprint.commands.examination import explain, superimpose, verify
from boneprint.commands.search import search
from boneprint.commands.simulation import drr, simulate
from boneprint.commands.surfaces import compare, shape
from boneprint.commands.training import train
from boneprint.commands.upkeep import audit, check, checkpoint, info, reindex, remove
from boneprint.errors import BoneprintError
from boneprint.exit_codes import INTERRUPTED, UNUSABLE


class _Group(click.Group):
    """Turns our errors into one line and exit code 2, and an interruption into 130."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BoneprintError as error:
            click.echo(f"boneprint: {error}", err=True)
            ctx.exit(UNUSABLE)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            click.echo(f"boneprint: {where}{error.strerror or error}; name another place, or make room.", err=True)
            ctx.exit(UNUSABLE)
        except KeyboardInterrupt:
            click.echo("boneprint: interrupted; everything reported as done is kept.", err=True)
            ctx.exit(INTERRUPTED)


@click.group(cls=_Group)
@click.version_option(__version__, prog_name="boneprint")
def main() -> None:
    """Which bone in our database is this? Bone identification from radiographs against CT."""


for _command in (
    ingest,
    enrol,
    pseudonym,
    receive,
    search,
    verify,
    explain,
    superimpose,
    compare,
    shape,
    evaluate,
    train,
    drr,
    simulate,
    info,
    check,
    remove,
    audit,
    checkpoint,
    reindex,
):
    main.add_command(_command)


if __name__ == "__main__":
    main()
