"""The fingerprints of a gallery: blocks that stay in their files, each bone verified when it is first looked at."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from boneprint.index.seal import damaged

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]

# How far from 1 the length of an enrolled or searched row may be. Normalising in float32 leaves about 1e-7, in float16
# 1e-3 (its eps): such rows, and those that were not normalised at all, are refused.
UNIT_TOLERANCE = 1e-4
# A row that was then rounded to float16: each number is off by at most half its eps, 2**-11, and so is the length.
HALF_TOLERANCE = UNIT_TOLERANCE + 2**-11 + 1e-5
# Rows per conversion or matrix product: 65,536 x 128 float32 are 32 MiB.
BLOCK_ROWS = 65_536


@dataclass(frozen=True, eq=False)
class Block:
    """The rows of one file.

    Parameters
    ----------
    rows : (M, D) float32 or float16, read-only
    checksums : (N,) uint32, CRC-32 of the bytes of each bone's rows; None where the rows have been verified whole
    file : for messages
    """

    rows: NDArray[Any]
    checksums: NDArray[np.uint32] | None = None
    file: Path = Path("memory")


@dataclass(frozen=True, eq=False)
class Rows:
    """(M, D) unit rows of N bones, in blocks; rows are numbered through all of them.

    Parameters
    ----------
    blocks : at least one
    begins, ends : (N,) int64, rising; views of bone n are the rows begins[n] to ends[n], all in one block. Rows that
        no bone claims are those of bones that were removed
    checksums : (N,) uint32
    unverified : (N,) bool, which bones have not been compared with their checksums; changes as they are looked at
    """

    blocks: tuple[Block, ...]
    begins: IntArray
    ends: IntArray
    checksums: NDArray[np.uint32] = field(repr=False)
    unverified: NDArray[np.bool_] = field(repr=False)

    @classmethod
    def whole(cls, vectors: NDArray[Any], offsets: IntArray) -> Self:
        """One verified block; views of bone n are vectors[offsets[n] : offsets[n + 1]]."""
        bones = len(offsets) - 1
        nothing = np.zeros(bones, np.uint32), np.zeros(bones, np.bool_)
        return cls((Block(vectors),), offsets[:-1], offsets[1:], *nothing)

    @property
    def dim(self) -> int:
        """D, the length of a row."""
        return int(self.blocks[0].rows.shape[1])

    @property
    def half(self) -> bool:
        """Whether the rows are float16."""
        return self.blocks[0].rows.dtype == np.float16

    @property
    def tolerance(self) -> float:
        """How far from 1 the length of a row may be."""
        return HALF_TOLERANCE if self.half else UNIT_TOLERANCE

    def counts(self, bones: IntArray | None = None) -> IntArray:
        """Number of views of each bone, or of some (B,)."""
        return self.ends - self.begins if bones is None else self.ends[bones] - self.begins[bones]

    def of(self, bone: int) -> NDArray[Any]:
        """The (V, D) rows of one bone, as they are stored.

        Raises
        ------
        StoreError
            If they do not match their checksum.
        """
        block, start = self._block(int(self.begins[bone]))
        rows: NDArray[Any] = block.rows[self.begins[bone] - start : self.ends[bone] - start]
        if self.unverified[bone]:
            if zlib.crc32(rows.view(np.uint8).data) != self.checksums[bone]:
                raise damaged(block.file, f"vectors (bone {bone + 1}) does not match its checksum")
            self.unverified[bone] = False
        return rows

    def runs(self, bones: IntArray) -> Iterator[FloatArray]:
        """The rows of some bones (B,), rising, in that order, as few (R, D) float32 arrays as that takes.

        Raises
        ------
        StoreError
            If those of a bone do not match their checksum.
        """
        self.verify(bones)
        begins, ends = self.begins[bones], self.ends[bones]
        # A run ends where the next bone's rows do not follow, or lie in another block.
        apart = begins[1:] != ends[:-1]
        if len(self.blocks) > 1:
            apart |= np.isin(begins[1:], self._starts)
        firsts = begins[np.concatenate([[True], apart])[: len(bones)]]
        lasts = ends[np.concatenate([apart, [True]])[: len(bones)]]
        places, starts = np.searchsorted(self._starts, firsts, side="right") - 1, self._starts.tolist()
        for first, last, place in zip(firsts.tolist(), lasts.tolist(), places.tolist(), strict=True):
            rows, start = self.blocks[place].rows, starts[place]
            for row in range(first, last, BLOCK_ROWS):
                yield rows[row - start : min(row + BLOCK_ROWS, last) - start].astype(np.float32, copy=False)

    def verify(self, bones: IntArray) -> None:
        """Compare some bones with their checksums, unless that was done; StoreError if one does not match."""
        for bone in bones[self.unverified[bones]].tolist():
            self.of(bone)

    @cached_property
    def _starts(self) -> IntArray:
        return np.cumsum([0, *(len(block.rows) for block in self.blocks[:-1])], dtype=np.int64)

    def _block(self, row: int) -> tuple[Block, int]:
        if len(self.blocks) == 1:
            return self.blocks[0], 0
        starts = self._starts
        place = int(np.searchsorted(starts, row, side="right")) - 1
        return self.blocks[place], int(starts[place])
