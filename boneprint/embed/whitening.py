"""The last step of training: what differs between pictures of one bone counts less.

A network is trained on cheap pictures, and looks at dearer ones ever after. How far the fingerprints of a radiograph
and of the bone's own nearest view lie apart, and in which directions, is measured on bones that were not trained on; a
linear map makes it the same in all directions. What is linear can be taken up by the network's last layer: neither its
form nor its cost changes. Speaker recognition calls this within-class covariance normalisation.

References
----------
A. O. Hatch, S. Kajarekar, A. Stolcke, "Within-class covariance normalization for SVM-based speaker recognition",
Interspeech 2006.
"""

import torch

from boneprint.embed.networks import Branch

# Of the mean variance, added to that of each direction: few bones tell little of how small the smallest is. Chosen on
# calibration bones.
SHRINKAGE = 0.3


def whitening(differences: torch.Tensor, shrinkage: float = SHRINKAGE) -> torch.Tensor:
    """The symmetric map under which differences between pictures of one bone are as large in every direction.

    Parameters
    ----------
    differences : (N, D), fingerprints of radiographs less those of the nearest views of their own bones
    shrinkage : share of the mean variance that is added in every direction; without end, the map is the identity

    Returns
    -------
    (D, D) float64; its eigenvalues have a geometric mean of 1
    """
    each = differences.double()
    variance, directions = torch.linalg.eigh(each.T @ each / len(each))
    stretch = (variance + shrinkage * variance.mean()).rsqrt()
    stretch = stretch / stretch.log().mean().exp()
    by: torch.Tensor = (directions * stretch) @ directions.T
    return by


@torch.no_grad()
def fold_in(branch: Branch, by: torch.Tensor) -> None:
    """Let a branch of the network map its fingerprints before they are normalised."""
    layer = branch.reduce
    layer.weight.copy_((by @ layer.weight.double()).float())
    layer.bias.copy_((by @ layer.bias.double()).float())
