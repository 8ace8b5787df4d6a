"""RTK (itk-rtk): the forward projectors of a reconstruction toolkit, on the CPU."""

from importlib.metadata import version

import itk
import numpy as np
import numpy.typing as npt
from itk import RTK

from rivals.engine import Frame, timed
from rivals.request import Refused, Request, View

# RTK derives its angles from a detector only together with a source; a parallel beam's may stand anywhere before it.
ANY_MM = 1000.0


class Rtk:
    """``projector`` names RTK's filter: ``Joseph``."""

    def __init__(self, request: Request, projector: str):
        self.method = f"{projector} (linear interpolation)"
        self.version = version("itk-rtk")
        self._threads = request.threads
        self._body = itk.image_view_from_array(request.mu_per_mm)
        self._body.SetSpacing(request.spacing_mm.tolist())
        self._body.SetOrigin(request.origin_mm.tolist())
        image = type(self._body)
        self._projector = getattr(RTK, f"{projector}ForwardProjectionImageFilter")[image, image]

    def render(self, view: View) -> Frame:
        view, columns = view.unmirrored()
        geometry = geometry_of(view)

        def project() -> npt.NDArray[np.float32]:
            stack = itk.image_view_from_array(np.zeros((1, view.rows, view.columns), np.float32))
            pitch_mm = np.array([*view.pitch_mm, 1.0])
            stack.SetSpacing(pitch_mm.tolist())
            stack.SetOrigin((-(np.array([view.columns, view.rows, 1]) - 1) / 2 * pitch_mm).tolist())
            projector = self._projector.New()
            projector.SetGeometry(geometry)
            projector.SetNumberOfWorkUnits(self._threads)
            projector.SetInput(0, stack)
            projector.SetInput(1, self._body)
            projector.Update()
            return itk.array_from_image(projector.GetOutput())[0]

        frame = timed(project)
        return Frame(frame.image[::-1, columns], frame.wall_s, frame.cpu_s)


def geometry_of(view: View) -> RTK.ThreeDCircularProjectionGeometry:
    """RTK's nine parameters for this view; its rows run up, so that columns x rows points to the source."""
    geometry = RTK.ThreeDCircularProjectionGeometry.New()
    source = view.foot_mm + ANY_MM * view.normal if view.parallel else view.source_mm
    if view.parallel and abs(view.beam @ view.normal + 1) > 1e-9:
        raise Refused("RTK's parallel beam meets its detector at a right angle only")
    posed = geometry.AddProjection(
        source.tolist(), view.detector_centre_mm.tolist(), view.along_row.tolist(), (-view.along_column).tolist()
    )
    if not posed:
        raise RuntimeError(f"RTK found no angles for {view}")
    if not view.parallel:
        return geometry
    parallel = RTK.ThreeDCircularProjectionGeometry.New()
    parallel.AddProjectionInRadians(
        geometry.GetSourceToIsocenterDistances()[0],
        0.0,  # RTK's sign for a parallel beam
        geometry.GetGantryAngles()[0],
        geometry.GetProjectionOffsetsX()[0],
        geometry.GetProjectionOffsetsY()[0],
        geometry.GetOutOfPlaneAngles()[0],
        geometry.GetInPlaneAngles()[0],
        0.0,
        0.0,
    )
    return parallel
