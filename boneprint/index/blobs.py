"""Byte strings that the store keeps as they are: pictures of views, grids of bones."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from boneprint.index.seal import damaged


@dataclass(frozen=True, eq=False)
class Blobs:
    """N byte strings, one after the other; some may be empty.

    Parameters
    ----------
    name, file : for messages
    data : (B,) uint8
    offsets : (N + 1,) int64; string n is bytes offsets[n] to offsets[n + 1]
    checksums : (N,) uint32, CRC-32 of each; None where they have checksums of their own

    Raises
    ------
    ValueError
        If the shapes do not agree.
    """

    name: str
    file: Path
    data: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    checksums: NDArray[np.uint32] | None = None

    def __post_init__(self) -> None:
        offsets = self.offsets
        if (
            offsets[0] != 0
            or offsets[-1] != len(self.data)
            or (np.diff(offsets) < 0).any()
            or (self.checksums is not None and self.checksums.shape != (len(offsets) - 1,))
        ):
            raise ValueError(f"{len(offsets)} offsets of {self.name} and {len(self.data):,} bytes do not agree")

    @classmethod
    def none(cls, name: str, file: Path, count: int) -> Self:
        """``count`` empty strings."""
        return cls(name, file, np.zeros(0, np.uint8), np.zeros(count + 1, np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __bool__(self) -> bool:
        """Whether any is not empty."""
        return len(self.data) > 0

    def raw(self, number: int) -> memoryview:
        """One of them as it lies in the file."""
        return self.data[self.offsets[number] : self.offsets[number + 1]].data

    def verified(self, number: int) -> bytes:
        """A copy of one of them; StoreError if it does not match its checksum."""
        found = bytes(self.raw(number))
        if self.checksums is not None and zlib.crc32(found) != self.checksums[number]:
            raise damaged(self.file, f"{self.name}/data (number {number + 1}) does not match its checksum")
        return found
