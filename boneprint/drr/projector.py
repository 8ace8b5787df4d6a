"""One door to all projectors: where the body is decides which one integrates."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, overload

import numpy as np
from numpy.typing import NDArray

from boneprint.drr import shear_warp, siddon
from boneprint.drr.absorber import Absorber
from boneprint.drr.geometry import Detector, Pose, Rays

if TYPE_CHECKING:
    from torch import Tensor

    from boneprint.drr.tensor import TensorAbsorber


@overload
def project(
    body: Absorber, poses: Sequence[Pose], detector: Detector, *, method: Literal["fast", "siddon"] = "fast"
) -> NDArray[np.float32]: ...


@overload
def project(body: "TensorAbsorber", poses: "Tensor | Sequence[Pose]", detector: Detector) -> "Tensor": ...


def project(
    body: "Absorber | TensorAbsorber",
    poses: "Tensor | Sequence[Pose]",
    detector: Detector,
    *,
    method: Literal["fast", "siddon"] = "fast",
) -> "NDArray[np.float32] | Tensor":
    """Integrate every channel of a body along the rays of each view.

    Parameters
    ----------
    body : `Absorber` (numpy, CPU) or `TensorAbsorber` (torch, its device; differentiable in the poses)
    poses : V poses; for a `TensorAbsorber` also their parameters, a (V, 6) tensor
    detector : the same for all of them
    method : "siddon" is exact and slow, for an `Absorber` only

    Returns
    -------
    (V, M, H, W) float32, an array or a tensor as the body is
        Channel times mm; for `Absorber.of` mm of soft tissue, bone and metal. 0 where a ray misses the body.

    Raises
    ------
    GeometryError
        If the body does not lie between source and detector, or the beam opens too wide.
    """
    if not isinstance(body, Absorber):
        from boneprint.drr import tensor

        return tensor.project(body, poses, detector)
    single = {"fast": shear_warp.project, "siddon": siddon.project}[method]
    views = [single(body, Rays.of(pose, detector)) for pose in poses]
    return np.stack(views) if views else np.empty((0, len(body.levels), detector.rows, detector.columns), np.float32)
