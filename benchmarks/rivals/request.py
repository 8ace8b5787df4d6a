"""What a rival is asked to render, and the detector geometry that every adapter needs.

The body lies on a grid whose axes are x, y, z with the middle of the grid at (0, 0, 0) mm. Pixel (i, j) of a view
lies at ``detector_centre + (j - (columns - 1) / 2) * column_step + (i - (rows - 1) / 2) * row_step``.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

# An engine without parallel beams is given a source this far away. Through 256 mm of body two rays 100 mm apart
# converge by 100 * 256 / 2**20 = 0.02 mm. A power of two survives the float32 of plastimatch's options; from 2**23 mm
# its exact tracing returns zeros (measured, 1.9.4).
FAR_MM = 2.0**20


class Refused(Exception):  # noqa: N818, an answer of the adapter, not a fault
    """This engine cannot do what was asked; the message says why, and how to change that where one can."""


@dataclass(frozen=True)
class View:
    """One source and one flat detector, in mm.

    ``source_mm`` of a parallel beam stands ``FAR_MM`` before the detector, along the beam. Steps are the vectors from a
    pixel to the next one along a row and along a column; they are perpendicular to each other.
    """

    source_mm: Array
    detector_centre_mm: Array
    column_step_mm: Array
    row_step_mm: Array
    rows: int
    columns: int
    parallel: bool

    @property
    def pitch_mm(self) -> tuple[float, float]:
        """Distance between pixels along a row, and along a column."""
        return float(np.linalg.norm(self.column_step_mm)), float(np.linalg.norm(self.row_step_mm))

    @property
    def along_row(self) -> Array:
        return self.column_step_mm / np.linalg.norm(self.column_step_mm)

    @property
    def along_column(self) -> Array:
        return self.row_step_mm / np.linalg.norm(self.row_step_mm)

    @property
    def normal(self) -> Array:
        """Unit vector across the detector, on the side of the source."""
        normal = np.cross(self.along_column, self.along_row)
        return normal * np.sign(normal @ (self.source_mm - self.detector_centre_mm))

    @property
    def source_to_plane_mm(self) -> float:
        return float(self.normal @ (self.source_mm - self.detector_centre_mm))

    @property
    def foot_mm(self) -> Array:
        """Where the perpendicular from the source meets the detector's plane."""
        return self.source_mm - self.source_to_plane_mm * self.normal

    @property
    def mirrored(self) -> bool:
        """Whether columns run to the left for an eye at the source that sees rows run down."""
        return bool(np.cross(self.along_row, self.along_column) @ self.normal > 0)

    def unmirrored(self) -> tuple["View", slice]:
        """The same detector with columns to the right of rows, and the slice that puts the asked columns back."""
        if not self.mirrored:
            return self, slice(None)
        return replace(self, column_step_mm=-self.column_step_mm), slice(None, None, -1)

    @property
    def beam(self) -> Array:
        """Unit vector from the source to the detector's centre; every ray's direction if parallel."""
        beam = self.detector_centre_mm - self.source_mm
        return beam / np.linalg.norm(beam)

    def rays_mm(self) -> tuple[Array, Array]:
        """Where rays start, (1, 3) or (rows * columns, 3), and the pixels where they end, (rows * columns, 3)."""
        i = np.arange(self.rows)[:, None, None] - (self.rows - 1) / 2
        j = np.arange(self.columns)[None, :, None] - (self.columns - 1) / 2
        pixels = (self.detector_centre_mm + j * self.column_step_mm + i * self.row_step_mm).reshape(-1, 3)
        if not self.parallel:
            return self.source_mm[None], pixels
        # As far before the middle of the body as the farthest pixel is behind it: before the body, and within float32.
        return pixels - 2 * np.linalg.norm(pixels, axis=1).max() * self.beam, pixels


@dataclass(frozen=True)
class Request:
    """A body, its views, and how often and by how many threads each is rendered.

    ``mu_per_mm`` is (Z, Y, X) float32, ``spacing_mm`` (3,) in x, y, z.
    """

    mu_per_mm: npt.NDArray[np.float32]
    spacing_mm: Array
    views: tuple[View, ...]
    repeats: int
    threads: int

    @property
    def origin_mm(self) -> Array:
        """Centre of voxel (0, 0, 0), in x, y, z."""
        return -(np.array(self.mu_per_mm.shape[::-1]) - 1) / 2 * self.spacing_mm

    @classmethod
    def load(cls, path: Path) -> "Request":
        """Read what benchmarks/drr.py wrote; the arrays are those of the module's first paragraph."""
        with np.load(path) as given:
            parallel = bool(given["parallel"])
            centres = given["detector_centre_mm"].astype(float)
            if parallel:
                beams = given["direction"] / np.linalg.norm(given["direction"], axis=1, keepdims=True)
                sources = centres - FAR_MM * beams
            else:
                sources = given["source_mm"].astype(float)
            rows, columns = int(given["rows"]), int(given["columns"])
            views = tuple(
                View(source, centre, column_step.astype(float), row_step.astype(float), rows, columns, parallel)
                for source, centre, column_step, row_step in zip(
                    sources, centres, given["column_step_mm"], given["row_step_mm"], strict=True
                )
            )
            for view in views:
                if abs(view.along_row @ view.along_column) > 1e-6:
                    raise Refused(f"{path}: column_step_mm and row_step_mm are not perpendicular")
            return cls(
                np.ascontiguousarray(given["mu_per_mm"], np.float32),
                given["spacing_mm"].astype(float),
                views,
                int(given["repeats"]),
                int(given["threads"]),
            )
