"""Fields of view in mm: what keeps real-world proportions from CT to fingerprint."""

from dataclasses import dataclass

from boneprint.errors import BoneprintError


@dataclass(frozen=True)
class Canvas:
    """A field of view that a radiograph is put on by its pixel spacing; its height names it."""

    height_mm: float
    width_mm: float


# Long bones (2:1, as in S1's 400 x 800 views) from a cat's to a tall person's femur (up to about 530 mm), and square
# fields for everything else up to a chest. One is the root of two times as high as the one before (to 10 mm), so that a
# bone fills seven tenths of its canvas at least. Heights are unique.
LONG_CANVASES = tuple(Canvas(height, height / 2) for height in (140.0, 200.0, 280.0, 400.0, 560.0))
SQUARE_CANVASES = tuple(Canvas(height, height) for height in (120.0, 170.0, 240.0, 340.0, 480.0))


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
