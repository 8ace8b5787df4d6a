"""Where in a picture a network finds what makes it like a fingerprint: Grad-CAM, and the similarity taken apart."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.stats import spearmanr

from boneprint.embed.finder import GLANCES, Glance
from boneprint.embed.networks import Compact

FloatArray = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Maps:
    """What one picture's similarity to a fingerprint rests on.

    Parameters
    ----------
    similarity : cosine of the picture's fingerprint and the target's
    shares : (h, w) float32, the part of the similarity that each place of the last feature map gives; negative where it
        speaks against. They and ``remainder`` (what the network adds to every picture) sum to the similarity
    grad_cam : (H, W) float32, 0 to 1, at the size of the canvas
    seen : (H, W) float32, the canvas as the network sees it: the bone where its finder put it
    marked : (H, W) bool, where the finder sees bone
    """

    similarity: float
    shares: FloatArray
    remainder: float
    grad_cam: FloatArray
    seen: FloatArray
    marked: NDArray[np.bool_]


def explain(
    network: Compact, image: torch.Tensor, target: FloatArray | None = None, glances: Sequence[Glance] = GLANCES
) -> Maps:
    """Map what makes a picture like a target fingerprint.

    Grad-CAM needs a score to explain; S1 took a bone's class. A fingerprint network has no classes: here it is the
    product of the fingerprint before it is normalised with the target, which stands where the weights of a class would.

    Parameters
    ----------
    network : in evaluation mode
    image : (CHANNELS, H, W), as ``preprocess`` makes it
    target : (D,) unit vector; by default the picture's own fingerprint
    glances : those that the picture was embedded with

    References
    ----------
    Grad-CAM: R. R. Selvaraju et al., ICCV 2017. Similarity map: A. Stylianou, R. Souvenir, R. Pless, "Visualizing deep
    similarity networks", WACV 2019: where all that follows the last feature map is linear, a similarity is a sum over
    its places.
    """
    branch = network.branch(image)
    canvases = branch.placed(image[None].to(branch.stem.weight.device), glances)[:, 0].detach()
    with torch.enable_grad():
        # A slope is wanted for the features, whatever was said of the weights.
        features = branch.features(canvases).detach().requires_grad_()
        raw = branch.reduced(features).sum(dim=0)
    length = raw.detach().norm()
    wanted = (
        raw.detach() / length
        if target is None
        else torch.from_numpy(np.asarray(target, dtype=np.float32)).to(raw.device)
    )
    with torch.enable_grad():
        score = raw @ wanted
    slope = torch.autograd.grad(score, features)[0]
    features = features.detach()
    # The glances are a fraction of a place apart.
    shares = (features * slope).sum(dim=(0, 1)) / length
    similarity = float(score.detach() / length)
    # One weight for each channel: the mean of its slope over all places.
    cam = F.relu((features * slope.mean(dim=(2, 3), keepdim=True)).sum(dim=(0, 1)))
    cam = F.interpolate(cam[None, None], size=canvases.shape[2:], mode="bilinear", align_corners=False)[0, 0]
    return Maps(
        similarity=similarity,
        shares=shares.cpu().numpy(),
        remainder=similarity - float(shares.sum()),
        grad_cam=(cam / cam.max().clamp(min=1e-12)).cpu().numpy(),
        seen=canvases[0, 0].cpu().numpy(),
        marked=(canvases[0, -1] > 0.5).cpu().numpy(),
    )


def randomised(network: Compact, seed: int) -> Compact:
    """A network of the same form that has learnt where a bone is and how it lies, and no more: weights from chance."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        blank = Compact(network.dimension, network.depth)
    for learnt, unlearnt in zip(network.branches(), blank.branches()):
        unlearnt.finder.load_state_dict(learnt.finder.state_dict())
        if learnt.leveller is not None and unlearnt.leveller is not None:
            unlearnt.leveller.load_state_dict(learnt.leveller.state_dict())
    return blank.to(network.tall.stem.weight.device).eval()


def likeness(first: FloatArray, second: FloatArray) -> float:
    """Spearman's rank correlation of two maps of one picture; 0 where one of them is flat, or both are empty.

    References
    ----------
    As in J. Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018: a map that stays the same when the weights
    are random shows the picture, not what the network has learnt.
    """
    if first.size < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return 0.0
    return float(spearmanr(first.ravel(), second.ravel()).statistic)
