"""Metric-learning losses over a batch of labelled unit vectors."""

import torch
import torch.nn.functional as F


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
