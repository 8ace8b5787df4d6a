"""Views of one CT: what is enrolled of it, S1's images, and a single natural-looking radiograph."""

from collections.abc import Iterator
from pathlib import Path

from boneprint import bone, drr
from boneprint.errors import BoneprintError
from boneprint.nouns import Radiograph, Volume
from boneprint.read import CtSource, find_series, write_png

S1_IMAGES = drr.S1_IMAGES

# What is kept around the bone in a natural radiograph: everything denser than this, so the limb with its skin.
_BODY_HU = -300.0


def enrolment(volume: Volume, source: str) -> list[Radiograph]:
    """The views that `ingest` embeds: bone alone, all the way round."""
    upright, pose = bone.stand_up(bone.isolate(volume))
    return drr.enrolment_views(upright, source, long=pose.long)


def s1(volume: Volume, source: str) -> Iterator[Radiograph]:
    """The 900 joined images of S1, one after the other; ``view`` names angles and energy."""
    upright, pose = bone.stand_up(bone.isolate(volume), float(min(volume.spacing_mm)))
    return drr.s1_images(upright, long=pose.long, source=source)


def natural(
    volume: Volume,
    *,
    angle_deg: float = 0.0,
    in_plane_deg: float = 0.0,
    tilt_deg: tuple[float, float] = (0.0, 0.0),
    seed: int = 0,
    source: str = "radiograph",
    pose: bone.Pose | None = None,
    beam: drr.Beam | None = None,
    source_detector_mm: float | None = None,
    source_isocentre_mm: float | None = None,
) -> Radiograph:
    """A radiograph of the whole CT, soft tissue too, in a pose and exposure of its own.

    Parameters
    ----------
    angle_deg : about the long axis; 0 = AP, 90 = ML
    in_plane_deg : rotation of the picture
    tilt_deg : how far the bone lies from parallel to the detector, about its x and y axes
    seed : of exposure, blur, scatter and noise
    pose : the canonical pose of the isolated bone, where it is known already
    beam : None is 60 keV
    source_detector_mm, source_isocentre_mm : of a cone beam about the middle of the limb; None: parallel rays
    """
    pose = (pose or bone.find_pose(bone.isolate(volume))).turned(*tilt_deg)
    specimen = pose.placed(volume)
    stand = drr.aimed(
        specimen,
        bone.extremes_mm(volume, _BODY_HU) @ pose.axes.T,
        angle_deg=angle_deg,
        in_plane_deg=in_plane_deg,
        source_detector_mm=source_detector_mm,
        source_isocentre_mm=source_isocentre_mm,
    )
    return drr.natural_radiograph(specimen, *stand, seed=seed, source=source, beam=beam)


def single_ct(path: Path | str) -> CtSource:
    """The one CT of a folder or file.

    Raises
    ------
    BoneprintError
        If there is none, or more than one.
    """
    found = find_series(path)
    sources = found.sources
    if not sources and (found.failed or found.skipped):
        _, reason = (found.failed or found.skipped)[0]
        raise BoneprintError(f"{path}: no CT in it ({reason}). Name the folder of one CT series.")
    if len(sources) != 1:
        named = ", ".join(source.label for source in sources[:5])
        raise BoneprintError(
            f"{path}: {len(sources)} CT series{': ' + named if named else ''}; expected one. Name its own folder."
        )
    return sources[0]


def write_views(
    radiographs: Iterator[Radiograph] | list[Radiograph],
    folder: Path | str,
    value_range: tuple[float, float] | None = None,
) -> Iterator[Path]:
    """Write each view as a PNG with its pixel spacing, named by its view, and say which.

    Parameters
    ----------
    value_range : what is black and what is white in all of them; None takes each picture's own
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for radiograph in radiographs:
        path = folder / f"{(radiograph.view or 'view').replace(' ', '_')}.png"
        write_png(path, radiograph, bits=8, value_range=value_range)
        yield path
