"""The road of an X-ray: anything a caller hands over becomes Radiographs, and these a Fingerprint."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from boneprint import evidence, read
from boneprint.errors import ReadError
from boneprint.nouns import Canvas, Enrolment, Fingerprint, Radiograph, Reference, canvas_for, canvas_of_height

if TYPE_CHECKING:
    from boneprint.embed import Embedder

# A path, a Radiograph, or a (H, W) numpy array or torch tensor with bone bright.
Xray: TypeAlias = str | Path | Radiograph | NDArray[Any] | Any

XRAY = "xray"  # what a reference made of natural radiographs calls its part

# What a bone is at least as bright as, as a share of the picture's own range, when its size is measured.
_CONTENT_SHARE = 0.3

# A limb may reach beyond its bone, but a canvas that would show only two thirds of the picture shows another bone. A
# trunk reaches further. Radiographs of calibration bones show at most 1.44 times the height of the canvas that long
# bones of the kind are compared on, and 1.73 times that of hip bones.
_TOO_TALL, _TOO_TALL_SQUARE = 1.5, 2.0

# A picture that shows less than this share of the canvas of a kind of bone is of another: what radiographs of
# calibration bones show is 0.41 times as high (a vertebra) at least.
_TOO_SMALL = 0.4


def as_radiograph(
    xray: Xray,
    *,
    pixel_spacing_mm: float | None = None,
    marker_mm: float | None = None,
    ruler_mm: float | None = None,
    frame: int | None = None,
    invert: bool = False,
) -> Radiograph:
    """Read or wrap one X-ray.

    Parameters
    ----------
    xray : path of a PNG, JPEG, TIFF or DICOM file; a Radiograph; or an array or tensor (H, W), bone bright
    pixel_spacing_mm : mm per pixel in the plane of the bone; goes before what the file says
    marker_mm, ruler_mm, frame, invert : of a file; see `boneprint.read.read_radiograph`

    Raises
    ------
    ReadError
        If it cannot be read, or is no picture.
    """
    if isinstance(xray, Radiograph):
        if pixel_spacing_mm is None:
            return xray
        return replace(xray, spacing_mm=pixel_spacing_mm)
    if isinstance(xray, str | Path):
        return read.read_radiograph(
            xray,
            pixel_spacing_mm=pixel_spacing_mm,
            marker_mm=marker_mm,
            ruler_mm=ruler_mm,
            frame=frame,
            invert=invert,
        )
    if hasattr(xray, "detach"):
        xray = xray.detach().cpu().numpy()
    pixels = np.asarray(xray)
    if pixels.dtype == object or pixels.ndim != 2:
        raise ReadError(
            f"X-ray given as {type(xray).__name__} of shape {pixels.shape}; expected a path, a Radiograph, "
            "or one grey image (H, W) as array or tensor."
        )
    return Radiograph(pixels.astype(np.float32), pixel_spacing_mm, None, "array")


def as_radiographs(xrays: Xray | Sequence[Xray], **reading: Any) -> list[Radiograph]:
    """One X-ray, or several of one bone, each read as by `as_radiograph`."""
    given = xrays if isinstance(xrays, list | tuple) else [xrays]
    radiographs = [as_radiograph(xray, **reading) for xray in given]
    if not radiographs:
        raise ReadError("no X-ray was given; expected at least one.")
    return radiographs


def fingerprint(
    radiographs: Sequence[Radiograph],
    canvas_heights_mm: Iterable[float],
    embedder: "Embedder",
    *,
    mirror: bool = False,
    angles_deg: Sequence[float] | None = None,
    rendered: bool = False,
) -> Fingerprint:
    """Embed P radiographs of one bone on every canvas of a gallery that can hold what they show.

    Parameters
    ----------
    mirror : turn left and right round first, to look for the bone of the other side
    angles_deg : directions that they were taken from, about the long axis
    rendered : they are views of a CT, and embedded as such

    Raises
    ------
    ReadError
        If no canvas can, or a pixel spacing is unknown.
    """
    shown_mm = max(content_mm(radiograph)[0] for radiograph in radiographs)
    heights = sorted(canvas_heights_mm)
    fitting = [height for height in heights if can_hold(height, shown_mm)]
    if not fitting:
        raise ReadError(
            f"{radiographs[0].source}: shows {shown_mm:.0f} mm, but the gallery's bones are seen on fields of at most "
            f"{heights[-1]:g} mm. Check the pixel spacing (mm, in the plane of the bone), or crop to the bone."
        )
    if mirror:
        radiographs = [replace(r, pixels=r.pixels[:, ::-1]) for r in radiographs]
        angles_deg = None if angles_deg is None else [-angle for angle in angles_deg]
    embed = embedder.embed_views if rendered else embedder.embed
    vectors = {height: embed(radiographs, canvas_of_height(height)) for height in fitting}
    return Fingerprint(vectors, embedder.id, angles_deg=None if angles_deg is None else tuple(angles_deg))


def can_hold(canvas_height_mm: float, shown_mm: float) -> bool:
    """Whether a probe that shows so much is compared with the bones on a canvas."""
    canvas = canvas_of_height(canvas_height_mm)
    square = canvas.height_mm == canvas.width_mm
    return shown_mm < (_TOO_TALL_SQUARE if square else _TOO_TALL) * canvas_height_mm


# Directions about the long axis that the names of views mean; AP and PA are mirror images, which laterality settles.
_ANGLES_DEG = {"AP": 0.0, "PA": 180.0, "LL": 90.0, "RL": 90.0, "LAT": 90.0, "LATERAL": 90.0, "ML": 90.0, "LM": 270.0}


def enrolment(
    radiographs: Sequence[Radiograph],
    embedder: "Embedder",
    *,
    subject_id: str,
    bone: str,
    laterality: str | None,
    source: str,
    source_hash: str,
    keep_views: bool = False,
) -> Enrolment:
    """Natural radiographs of one bone as a reference.

    Parameters
    ----------
    laterality : goes before what the files say; disagreement is noted
    source : where they lie, or what stands in its place
    source_hash : of the content of their files; the same radiographs are never two references
    keep_views : keep the pictures, too

    Raises
    ------
    ReadError
        If a pixel spacing is unknown.
    BoneprintError
        If such a bone has no sides.
    """
    from boneprint.bone import check_stated_side, stated_side  # loads scipy, which a search does without

    check_stated_side(laterality, bone)
    canvas = canvas_of_pairs(radiographs, bone, embedder)
    # Numbers and not names: notes are kept, and paths are withheld where there is a site key.
    files = {f"radiograph {number}": radiograph.laterality for number, radiograph in enumerate(radiographs, start=1)}
    side, doubts = stated_side({"--side": laterality, **files}, bone.lower())
    said = dict.fromkeys(note for radiograph in radiographs for note in radiograph.notes)
    reference = Reference(
        bone_id=hashlib.sha256(f"{source_hash}/{XRAY}".encode()).hexdigest()[:12],
        subject_id=subject_id,
        bone=bone.lower(),
        laterality=side,
        source=source,
        source_hash=source_hash,
        part=XRAY,
        canvas_mm=canvas.height_mm,
        notes="; ".join((*said, *doubts)) or None,
    )
    angles = [_ANGLES_DEG.get((radiograph.view or "").upper(), np.nan) for radiograph in radiographs]
    return Enrolment(
        reference,
        embedder.embed(radiographs, canvas),
        np.array(angles, dtype=np.float32),
        tuple(read.png_bytes(radiograph, bits=8) for radiograph in radiographs) if keep_views else (),
    )


def canvas_of_pairs(radiographs: Sequence[Radiograph], bone: str | None, embedder: "Embedder") -> Canvas:
    """The canvas that radiographs are put on to be compared with each other.

    What a picture shows is the limb, or much of a trunk, in which the bone may be small; and two pictures of one bone
    may show unlike much. So those of a kind of bone are all seen on one canvas, by which the kind was calibrated; only
    where the kind is unknown, or a picture cannot be of it by its size, on the smallest that holds all they show.

    Raises
    ------
    ReadError
        If a pixel spacing is unknown.
    """
    height_mm = evidence.pair_canvas_mm(embedder.card, bone)
    shown_mm = [content_mm(radiograph) for radiograph in radiographs]
    if height_mm is None or not all(
        can_hold(height_mm, height) and max(height, width) >= _TOO_SMALL * height_mm for height, width in shown_mm
    ):
        return canvas_of_contents(shown_mm)
    return canvas_of_height(height_mm)


def common_canvas(radiographs: Sequence[Radiograph]) -> Canvas:
    """The smallest canvas that holds what every one of the pictures shows.

    Raises
    ------
    ReadError
        If a pixel spacing is unknown.
    """
    return canvas_of_contents([content_mm(radiograph) for radiograph in radiographs])


def canvas_of_contents(sizes_mm: Sequence[tuple[float, float]]) -> Canvas:
    """As `common_canvas`, of contents whose heights and widths are known."""
    height, width = (max(each) for each in zip(*sizes_mm))
    return canvas_for(height, width, long=height > 1.6 * width)


def content_mm(radiograph: Radiograph) -> tuple[float, float]:
    """Height and width of what is bright in a picture."""
    spacing_mm = radiograph.known_spacing_mm()
    low, high = np.quantile(radiograph.pixels, [0.01, 0.995])
    bright = radiograph.pixels > low + _CONTENT_SHARE * (high - low)
    extents = []
    for axis in (1, 0):
        # Rows and columns with hardly a bright pixel are noise or a marker.
        filled = np.flatnonzero(bright.mean(axis=axis) > 0.01)
        extents.append((filled[-1] - filled[0] + 1) * spacing_mm if len(filled) else 0.0)
    return extents[0], extents[1]
