"""Options that several commands share, and the radiographs that are read by them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from boneprint.nouns import Radiograph

_Command = TypeVar("_Command", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)
DB = click.option(
    "--db",
    type=PATH,
    default=Path("boneprint.h5"),
    envvar="BONEPRINT_DB",
    show_default=True,
    show_envvar=True,
    help="The database file.",
)
WEIGHTS = click.option(
    "--weights",
    type=PATH,
    envvar="BONEPRINT_WEIGHTS",
    show_envvar=True,
    help="Another embedder than the shipped one.",
)
OPERATOR = click.option(
    "--operator",
    envvar="BONEPRINT_OPERATOR",
    show_envvar=True,
    help="Who the audit trail says it was; the user of the operating system by default.",
)
SITE_KEY = click.option(
    "--site-key",
    type=PATH,
    envvar="BONEPRINT_SITE_KEY",
    show_envvar=True,
    help="File with the site's secret: subjects are stored under pseudonyms, and no paths.",
)
JSON = click.option("--json", "json_out", is_flag=True, help="Print one JSON object to stdout and nothing else there.")
KEEP_VIEWS = click.option("--keep-views", is_flag=True, help="Keep the views as pictures, to show candidates by.")
WHERE = click.option(
    "--where", multiple=True, metavar="KEY=VALUE", help="Only among such bones, as in `boneprint search`."
)
ANGLES = click.option(
    "--angle",
    "angles",
    type=float,
    multiple=True,
    metavar="DEG",
    help="Direction of each X-ray about the axis: 0 AP, 90 lateral, the bone's front on the left, 270 on the right.",
)
PIXEL_SPACING = click.option(
    "--pixel-spacing",
    "pixel_spacing_mm",
    type=float,
    metavar="MM",
    help="mm per pixel in the plane of the bone; goes before the file's.",
)
# How a file becomes a radiograph, in the order of `--help`.
_READING = (
    PIXEL_SPACING,
    click.option("--marker-mm", type=float, metavar="MM", help="Diameter of a calibration ball in the picture."),
    click.option("--ruler-mm", type=float, metavar="MM", help="Distance of the marks of a ruler in the picture."),
    click.option("--frame", type=click.IntRange(min=1), help="Of a DICOM file with several pictures."),
    click.option("--invert", is_flag=True, help="Bone is dark in the picture."),
)


def reading_options(command: _Command) -> _Command:
    """Give a command the options by which `read_radiographs` reads; it takes them as ``**reading``."""
    for option in reversed(_READING):
        command = option(command)
    return command


def read_radiographs(xrays: Sequence[Path], reading: Mapping[str, Any]) -> "list[Radiograph]":
    """Read X-rays of one bone; what was noted about each is told on stderr.

    Parameters
    ----------
    xrays : files
    reading : what `reading_options` gave the command
    """
    from boneprint.probe import as_radiographs

    radiographs = as_radiographs(list(xrays), **reading)
    for radiograph in radiographs:
        for note in radiograph.notes:
            click.echo(f"{radiograph.source}: {note}", err=True)
    return radiographs
