"""What is left of batch normalisation (Ioffe and Szegedy, ICML 2015) after training: nothing."""

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold(network: nn.Module) -> None:
    """Make one of every convolution and the normalisation behind it, in evaluation mode: the same function, faster."""
    children = list(network.named_children())
    for (name, module), (next_name, follower) in pairwise(children):
        if isinstance(module, nn.Conv2d) and isinstance(follower, nn.BatchNorm2d):
            setattr(network, name, fuse_conv_bn_eval(module, follower))
            setattr(network, next_name, nn.Identity())
    for _, module in children:
        fold(module)
