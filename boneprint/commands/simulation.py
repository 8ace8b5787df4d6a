"""Commands that simulate: radiographs of a CT, and CTs of bones that nobody has."""

from pathlib import Path
from typing import Any

import click

from boneprint.options import JSON, PATH


@click.command()
@click.argument("ct", type=PATH)
@click.option("-o", "--out", required=True, type=PATH, help="Folder for the PNG files.")
@click.option(
    "--protocol",
    type=click.Choice(["enrol", "s1", "natural"]),
    default="enrol",
    show_default=True,
    help="The enrolled views; the 900 joined images of S1; or one radiograph with soft tissue, exposure and noise.",
)
@click.option("--angle", type=float, default=0.0, show_default=True, help="natural: about the long axis; 0 AP, 90 ML.")
@click.option("--kvp", type=float, help="natural: tube voltage, 40 to 150 kVp; without it photons of 60 keV.")
@click.option("--source-detector", type=float, metavar="MM", help="natural: of a cone beam; without it parallel rays.")
@click.option("--source-bone", type=float, metavar="MM", help="natural: from the source to the middle of the limb.")
@click.option("--in-plane", type=float, default=0.0, show_default=True, help="natural: rotation of the picture.")
@click.option("--tilt", type=float, nargs=2, default=(0.0, 0.0), show_default=True, help="natural: out of the plane.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="natural: of exposure, blur and noise."
)
@JSON
def drr(
    ct: Path,
    out: Path,
    protocol: str,
    angle: float,
    kvp: float | None,
    source_detector: float | None,
    source_bone: float | None,
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
        from boneprint.drr import Beam, KVp

        pictures = [
            views.natural(
                volume,
                angle_deg=angle,
                in_plane_deg=in_plane,
                tilt_deg=tilt,
                seed=seed,
                source=source.label,
                beam=None if kvp is None else Beam.spectrum(KVp(kvp)),
                source_detector_mm=source_detector,
                source_isocentre_mm=source_bone,
            )
        ]
        total = 1
    else:
        pictures = views.s1(volume, source.label) if protocol == "s1" else views.enrolment(volume, source.label)
        total = views.S1_IMAGES if protocol == "s1" else len(pictures)
    written: list[str] = []
    with show.progress("rendering") as advance:
        for path in views.write_views(pictures, out, (0.0, 1.0) if protocol == "s1" else None):
            written.append(str(path))
            advance(len(written), total, "")
    if json_out:
        show.as_json({"protocol": protocol, "images": written})
    else:
        click.echo(f"{out}: {len(written)} views written")


@click.command()
@click.argument("folder", type=PATH)
@click.option("-n", type=int, default=1, show_default=True, help="How many people.")
@click.option(
    "--bone",
    default="femur",
    show_default=True,
    help="femur, tibia, humerus, radius, ulna, vertebra, hip, calcaneus or lump (no bone).",
)
@click.option("--species", default="human", show_default=True, help="human (about 450 mm) or cat (about 110 mm).")
@click.option("--side", type=click.Choice(["L", "R"]), help="Side for all; drawn by chance otherwise.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True)
@JSON
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
