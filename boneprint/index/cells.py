"""Cells: which views of a bone lie about which of its prototypes, and those prototypes as bytes. A cache."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from boneprint.index.codes import Codes
from boneprint.index.prototypes import Cover

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

# Raised when what is stored of prototypes, or of the graph over them, changes its meaning: it is then made anew.
INDEX_VERSION = 3
# Bones coded at once: what is copied for that is then about a MB.
_CODED_BONES = 256


@dataclass(frozen=True, eq=False)
class Cells:
    """Q cells of G bones; see `Cover`.

    Parameters
    ----------
    offsets : (G + 1,) int64; those of bone n are cells offsets[n] to offsets[n + 1]
    view_offsets : (G + 1,) int64; views of bone n are view_offsets[n] to view_offsets[n + 1] of ``owners``
    owners : (M,) uint8, which of its bone's cells a view lies in
    codes : Q prototypes, and how far a view of their cell may be from them
    """

    offsets: IntArray
    view_offsets: IntArray
    owners: NDArray[np.uint8]
    codes: Codes

    @classmethod
    def of(cls, covers: Iterable[Cover], dim: int) -> Self:
        """The cells of some bones, of D = ``dim``."""
        nothing, start = np.zeros((0, dim), np.float32), np.zeros(1, np.int64)
        return cls(start, start, np.zeros(0, np.uint8), Codes.of(nothing, nothing[:, 0])).grown(covers)

    def grown(self, covers: Iterable[Cover]) -> Self:
        """With more bones behind its own."""
        counts, views, owners, codes = [self.offsets], [self.view_offsets], [self.owners], [self.codes]
        for some in _batches(covers, _CODED_BONES):
            counts.append(counts[-1][-1] + np.cumsum([len(cover.radii) for cover in some], dtype=np.int64))
            views.append(views[-1][-1] + np.cumsum([len(cover.owners) for cover in some], dtype=np.int64))
            owners += [cover.owners for cover in some]
            prototypes = np.concatenate([cover.prototypes for cover in some])
            codes.append(Codes.of(prototypes, np.concatenate([cover.slack for cover in some])))
        return type(self)(np.concatenate(counts), np.concatenate(views), np.concatenate(owners), Codes.joined(codes))

    @classmethod
    def restored(cls, arrays: Mapping[str, NDArray[Any]], version: Any, *, bones: int, views: int, dim: int) -> Self:
        """What `stored` gave, as it is.

        Raises
        ------
        ValueError
            If it is of another version, or does not belong to ``bones`` bones with ``views`` views of dimension
            ``dim``.
        """
        if version != INDEX_VERSION:
            raise ValueError(f"index version {version}, expected {INDEX_VERSION}")
        try:
            codes = Codes(arrays["codes"], arrays["code_units"], arrays["code_squares"], arrays["code_slack"])
            found = cls(
                np.asarray(arrays["offsets"], np.int64),
                np.asarray(arrays["view_offsets"], np.int64),
                arrays["owners"],
                codes,
            )
        except KeyError as error:
            raise ValueError(f"index without {error}") from error
        count = len(codes.units)
        if not (
            found.offsets.shape == found.view_offsets.shape == (bones + 1,)
            and (found.offsets[0], found.offsets[-1]) == (0, count)
            and (np.diff(found.offsets) > 0).all()
            and (found.view_offsets[0], found.view_offsets[-1]) == (0, views)
            and found.owners.shape == (views,)
            and codes.codes.shape == (count, dim)
            and codes.squares.shape == codes.slack.shape == (count,)
        ):
            raise ValueError(
                f"index of {len(found.offsets) - 1} bones, {len(found.owners)} views; expected {bones} with {views} "
                f"of {dim} numbers"
            )
        return found

    def stored(self) -> dict[str, NDArray[Any]]:
        """Arrays from which `restored` makes it again."""
        return {
            "offsets": self.offsets,
            "view_offsets": self.view_offsets,
            "owners": self.owners,
            "codes": self.codes.codes,
            "code_units": self.codes.units,
            "code_squares": self.codes.squares,
            "code_slack": self.codes.slack,
        }

    @property
    def bones(self) -> int:
        """G, the number of bones."""
        return len(self.offsets) - 1

    def __len__(self) -> int:
        """Q, the number of cells."""
        return len(self.codes.units)

    def owners_of(self, bone: int) -> NDArray[np.uint8]:
        """(V,) which of its cells each view of a bone lies in."""
        return self.owners[self.view_offsets[bone] : self.view_offsets[bone + 1]]


STORED_CELLS = ("offsets", "view_offsets", "owners", "codes", "code_units", "code_squares", "code_slack")


def _batches(covers: Iterable[Cover], size: int) -> Iterable[list[Cover]]:
    some: list[Cover] = []
    for cover in covers:
        some.append(cover)
        if len(some) == size:
            yield some
            some = []
    if some:
        yield some
