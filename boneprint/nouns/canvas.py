"""Fields of view in mm: what keeps real-world proportions from CT to fingerprint."""

from dataclasses import dataclass

from boneprint.errors import BoneprintError


@dataclass(frozen=True)
class Canvas:
    """A field of view that a radiograph is put on by its pixel spacing; its height names it."""

    height_mm: float
    width_mm: float


# Long bones (2:1, as in S1's 400 x 800 views) from a cat's to a tall person's femur (up to about 530 mm), and square
# fields for everything else up to a chest. Heights are unique.
LONG_CANVASES = (Canvas(140.0, 70.0), Canvas(280.0, 140.0), Canvas(560.0, 280.0))
SQUARE_CANVASES = (Canvas(120.0, 120.0), Canvas(240.0, 240.0), Canvas(480.0, 480.0))


def canvas_for(height_mm: float, width_mm: float, *, long: bool) -> Canvas:
    """The smallest canvas that holds a specimen of this size, else the largest of its family."""
    family = LONG_CANVASES if long else SQUARE_CANVASES
    return next((c for c in family if height_mm <= c.height_mm and width_mm <= c.width_mm), family[-1])


def canvas_of_height(height_mm: float) -> Canvas:
    """The canvas that a stored reference names.

    Raises
    ------
    BoneprintError
        If no canvas of this version has that height.
    """
    for canvas in (*LONG_CANVASES, *SQUARE_CANVASES):
        if canvas.height_mm == height_mm:
            return canvas
    raise BoneprintError(
        f"canvas of {height_mm:g} mm is unknown to this version of boneprint; open the store with the version that "
        "wrote it (the first lines of the file name it)."
    )
