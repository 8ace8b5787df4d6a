"""Metric-learning losses over a batch of labelled unit vectors."""

from typing import Final

import torch
import torch.nn.functional as F

from boneprint.errors import BoneprintError

MINING: Final = ("all", "batch-hard", "semi-hard")


def supervised_contrastive(vectors: torch.Tensor, labels: torch.Tensor, temperature: float = 0.1) -> torch.Tensor:
    """Pull views of one bone together and push all others away, softly.

    Parameters
    ----------
    vectors : (N, D), unit rows
    labels : (N,) bone of each row; every bone appears at least twice

    References
    ----------
    P. Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, equation 2.
    """
    logits = vectors @ vectors.T / temperature
    itself = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    logits = logits.masked_fill(itself, float("-inf"))
    log_share = F.log_softmax(logits, dim=1)
    positive = (labels[:, None] == labels[None, :]) & ~itself
    summed = torch.where(positive, log_share, torch.zeros_like(log_share)).sum(dim=1)
    return -(summed / positive.sum(dim=1)).mean()


def triplet(
    vectors: torch.Tensor,
    labels: torch.Tensor,
    margin: float = 0.1,
    squared: bool = True,
    mining: str = "batch-hard",
) -> torch.Tensor:
    """S1's triplet loss max(0, |a - p|^2 - |a - n|^2 + margin), averaged over the triplets that are mined.

    Parameters
    ----------
    vectors : (N, D), unit rows
    labels : (N,) bone of each row; a row without another of its bone is no anchor
    margin : by which a wrong bone shall be farther than the right one
    squared : as in S1; else distances themselves are compared
    mining : "all": every triplet of the batch. "batch-hard": for each anchor the farthest picture of its bone and the
        nearest of another. "semi-hard": for each pair of one bone the nearest wrong one beyond the right one, or the
        farthest where none is

    Returns
    -------
    scalar, on the device of the vectors; 0 where no triplet can be made

    References
    ----------
    J. Cavojska et al., Commun. Biol. 3:337, 2020 (S1). Batch-hard: A. Hermans, L. Beyer, B. Leibe, "In defense of the
    triplet loss for person re-identification", arXiv:1703.07737, 2017. Semi-hard: F. Schroff, D. Kalenichenko, J.
    Philbin, "FaceNet", CVPR 2015.
    """
    if mining not in MINING:
        raise BoneprintError(f"mining '{mining}' is unknown; choose one of: {', '.join(MINING)}.")
    distance = _squared_distances(vectors)
    if not squared:
        # The root has no slope at 0, where a picture meets itself or its equal.
        distance = distance.clamp(min=1e-12).sqrt()
    right, wrong = _pairs(labels)
    far = torch.finfo(distance.dtype).max
    if mining == "batch-hard":
        positive = distance.masked_fill(~right, -far).amax(dim=1)
        negative = distance.masked_fill(~wrong, far).amin(dim=1)
        valid = right.any(dim=1) & wrong.any(dim=1)
    elif mining == "semi-hard":
        positive = distance
        beyond = wrong[:, None, :] & (distance[:, None, :] > distance[:, :, None])
        nearest = distance[:, None, :].expand_as(beyond).masked_fill(~beyond, far).amin(dim=2)
        farthest = distance.masked_fill(~wrong, -far).amax(dim=1)[:, None]
        negative = torch.where(beyond.any(dim=2), nearest, farthest)
        valid = right & wrong.any(dim=1)[:, None]
    else:
        positive, negative = distance[:, :, None], distance[:, None, :]
        valid = right[:, :, None] & wrong[:, None, :]
    loss = F.relu(positive - negative + margin)
    return torch.where(valid, loss, torch.zeros_like(loss)).sum() / valid.sum().clamp(min=1)


def triplet_accuracy(vectors: torch.Tensor, labels: torch.Tensor, margin: float = 0.1) -> torch.Tensor:
    """Share of all triplets of a batch with |a - p|^2 + margin < |a - n|^2, as S1 counts it.

    Returns
    -------
    scalar, on the device of the vectors; NaN where no triplet can be made
    """
    distance = _squared_distances(vectors)
    right, wrong = _pairs(labels)
    valid = right[:, :, None] & wrong[:, None, :]
    apart = distance[:, :, None] + margin < distance[:, None, :]
    return (apart & valid).sum() / valid.sum()


def _squared_distances(vectors: torch.Tensor) -> torch.Tensor:
    """(N, N) squared distances of unit rows, in float32 also where the network runs in half precision."""
    with torch.autocast(vectors.device.type, enabled=False):
        vectors = vectors.float()
        return (2 - 2 * (vectors @ vectors.T)).clamp(min=0)


def _pairs(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, N) each: which pairs are of one bone, without a picture and itself; and which are of two."""
    same = labels[:, None] == labels[None, :]
    itself = torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same & ~itself, ~same
