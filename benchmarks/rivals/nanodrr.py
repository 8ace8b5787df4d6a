"""nanodrr on CPU tensors: ray marching by `grid_sample`, given our rays in world coordinates."""

from importlib.metadata import version

import numpy as np
import numpy.typing as npt
import torch
from nanodrr.data import Subject
from nanodrr.drr import render
from torchio import ScalarImage

from rivals.engine import Frame, timed
from rivals.request import Request, View

SAMPLES = 500  # nanodrr's default


class NanoDrr:
    """``backend`` is nanodrr's own word; on a CPU only ``torch`` runs."""

    def __init__(self, request: Request, backend: str):
        torch.set_num_threads(request.threads)
        self._backend = backend
        self.method = f"trilinear, {SAMPLES} samples a ray"
        self.version = version("nanodrr")
        affine = np.diag([*request.spacing_mm, 1.0])
        affine[:3, 3] = request.origin_mm
        body = ScalarImage(tensor=torch.from_numpy(request.mu_per_mm.T[None].copy()), affine=affine)
        self._subject = Subject.from_images(body, convert_to_mu=False)

    def render(self, view: View) -> Frame:
        sources, pixels = (torch.from_numpy(end).float()[None] for end in view.rays_mm())

        def integrate() -> npt.NDArray[np.float32]:
            with torch.inference_mode():
                image = render(
                    self._subject,
                    k_inv=torch.eye(3)[None],  # not used: rays are given
                    rt_inv=torch.eye(4)[None],  # camera = world
                    sdd=torch.ones(1),
                    height=view.rows,
                    width=view.columns,
                    n_samples=SAMPLES,
                    src=sources,
                    tgt=pixels,
                    backend=self._backend,
                )
                return image[0, 0].numpy()

        return timed(integrate)
