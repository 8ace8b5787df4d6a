"""From radiographs to fingerprints."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from boneprint.embed import weights
from boneprint.embed.card import SHIPPED, embedder_id, read_card
from boneprint.embed.cohort import read_cohort
from boneprint.embed.finder import GLANCES, VIEW_GLANCES, Glance
from boneprint.embed.networks import Compact
from boneprint.embed.preprocess import canvas_pixels, normalise, place_all, preprocess
from boneprint.nouns import Canvas, Radiograph

_BATCH = 64


class Embedder:
    """A fingerprint network ready for use, on the GPU where there is one.

    Attributes
    ----------
    id : name and weights hash; a store accepts the vectors of one id only
    card : training, calibration and limits, as in the JSON file beside the weights
    cohort : strangers, by whom distances from a bone are measured
    """

    def __init__(self, path: Path = SHIPPED) -> None:
        network, self.card = weights.load(path)
        self.id = embedder_id(self.card)
        self.cohort = read_cohort(path, self.card)
        self._device = weights.device()
        self._network = weights.ready(network, self._device)

    def embed(self, radiographs: Sequence[Radiograph], canvas: Canvas) -> NDArray[np.float32]:
        """Fingerprint natural radiographs.

        Parameters
        ----------
        radiographs : N pictures with known pixel spacing
        canvas : the field of view they are put on; only vectors of one canvas can be compared

        Returns
        -------
        (N, 128) float32, unit rows

        Raises
        ------
        ReadError
            If a pixel spacing is unknown or absurd.
        """
        return self._embedded(preprocess(radiographs, canvas), GLANCES)

    def embed_views(self, views: Sequence[Radiograph], canvas: Canvas) -> NDArray[np.float32]:
        """Fingerprint what was rendered of a CT, as `embed` but with fewer glances: they are many, and clean."""
        return self._embedded(preprocess(views, canvas), VIEW_GLANCES)

    @torch.inference_mode()
    def embed_tensors(self, images: torch.Tensor, spacing_mm: float, canvas: Canvas) -> torch.Tensor:
        """As `embed_views`, of views that a device has rendered, without bringing them to the host.

        Parameters
        ----------
        images : (N, h, w) float32 of one spacing, bright where more was absorbed
        spacing_mm : pixel pitch in the plane of the bone

        Returns
        -------
        (N, 128) float32, unit rows, on the embedder's device
        """
        placed = place_all(images.to(self._device), spacing_mm, canvas)
        parts = torch.split(placed, _BATCH)
        return torch.cat([self._fingerprints(normalise(part, canvas_pixels(canvas)), VIEW_GLANCES) for part in parts])

    @torch.inference_mode()
    def _embedded(self, images: torch.Tensor, glances: Sequence[Glance]) -> NDArray[np.float32]:
        parts = [self._fingerprints(part.to(self._device), glances).cpu() for part in torch.split(images, _BATCH)]
        vectors: NDArray[np.float32] = torch.cat(parts).numpy()
        return vectors

    def _fingerprints(self, frames: torch.Tensor, glances: Sequence[Glance]) -> torch.Tensor:
        # S1's networks have no finder, and look once.
        network = self._network
        vectors: torch.Tensor = network(frames, glances) if isinstance(network, Compact) else network(frames)
        return vectors.float()


def load_embedder(path: Path = SHIPPED) -> Embedder:
    """The shipped embedder, or one from a weights file of the user's; loaded once for each content of the file."""
    return _loaded(path, read_card(path)["weights_sha256"])


@cache
def _loaded(path: Path, sha256: str) -> Embedder:
    return Embedder(path)
