"""When the compiled loops are loaded: not before a process has searched so often that it pays."""

from itertools import count
from types import ModuleType

# To load numba and the loops takes as long as many searches, and far longer where they must be compiled first. What
# asks a few times, as a command does, is answered by numpy before that.
INTERPRETED_SEARCHES = 50

_searches = count(1)
_given_up = False


def loops() -> ModuleType | None:
    """The compiled loops, for one more search; None while numpy will do."""
    # By the number of searches and not by time: a process that asks the same is answered the same.
    if next(_searches) <= INTERPRETED_SEARCHES or _given_up:
        return None
    from boneprint.index import kernels

    return kernels


def give_up() -> None:
    """Leave it to numpy: numba could not keep what it had compiled (the disk is full), and would try every time."""
    global _given_up
    _given_up = True
