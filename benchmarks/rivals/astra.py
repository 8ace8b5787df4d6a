"""ASTRA's CPU projector: 2D, so a parallel beam across z is rendered slice by slice. Its 3D needs CUDA."""

from concurrent.futures import ThreadPoolExecutor

import astra
import numpy as np
import numpy.typing as npt

from rivals.engine import Frame, timed
from rivals.request import Refused, Request, View


class Astra:
    """``projector`` is ASTRA's own word: ``line``."""

    def __init__(self, request: Request, projector: str):
        self.method = f"2D {projector} kernel, slice by slice"
        self.version = astra.__version__
        self._projector = projector
        self._slices = request.mu_per_mm
        self._spacing_mm = request.spacing_mm
        self._pool = ThreadPoolExecutor(request.threads)  # ASTRA has no threads of its own here, and frees the GIL
        if not np.isclose(request.spacing_mm[0], request.spacing_mm[1]):
            raise Refused("ASTRA's CPU projectors take square pixels only: spacing in x and in y differ")
        for view in request.views:
            refuse(view)
        y, x = request.mu_per_mm.shape[1:]
        dx, dy = request.spacing_mm[:2]
        # ASTRA's y runs up where the array's rows run down: `render` turns the sign of y.
        self._grid = astra.create_vol_geom(y, x, -x * dx / 2, x * dx / 2, -y * dy / 2, y * dy / 2)

    def render(self, view: View) -> Frame:
        middle = np.arange(view.rows) - (view.rows - 1) / 2
        z_mm = view.detector_centre_mm[2] + middle * view.row_step_mm[2]
        wanted = np.floor(z_mm / self._spacing_mm[2] + len(self._slices) / 2).astype(int)
        inside = (wanted >= 0) & (wanted < len(self._slices))
        flip = np.array([1.0, -1.0])
        fan = np.concatenate([end[:2] * flip for end in (view.beam, view.detector_centre_mm, view.column_step_mm)])

        def project() -> npt.NDArray[np.float32]:
            image = np.zeros((view.rows, view.columns), np.float32)
            detector = astra.create_proj_geom("parallel_vec", view.columns, fan[None])
            projector = astra.create_projector(self._projector, detector, self._grid)
            slices = np.unique(wanted[inside])
            lines = dict(zip(slices, self._pool.map(lambda k: self._line(projector, k), slices), strict=True))
            image[inside] = [lines[k] for k in wanted[inside]]
            astra.projector.delete(projector)
            return image

        return timed(project)

    def _line(self, projector: int, k: int) -> npt.NDArray[np.float32]:
        """One slice seen from the side."""
        identifier, line = astra.create_sino(self._slices[k], projector)
        astra.data2d.delete(identifier)
        return line[0]


def refuse(view: View) -> None:
    """Only a parallel beam across z, rows along z."""
    if not view.parallel:
        raise Refused("ASTRA has 3D cone beams on CUDA only; its CPU projectors are 2D")
    if abs(view.beam[2]) > 1e-6 or np.abs(view.along_column[:2]).max() > 1e-6:
        raise Refused("ASTRA's CPU projectors are 2D: the beam must run across z and detector columns along z")
