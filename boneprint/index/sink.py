"""The file that HDF5 is written to, which never tells libhdf5 that the disk is full."""

import os
from pathlib import Path
from types import TracebackType
from typing import Self


class Sink:
    """A new file as the file object that h5py writes to; the first failure is raised when the block ends.

    libhdf5 1.14 crashes the process when a write fails while it closes a file. Here every write succeeds as far as it
    knows; a file that could not be written whole is thrown away anyhow.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b", buffering=0)
        self._position = 0
        self._failure: OSError | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if self._failure is not None:
            raise self._failure from error

    def fileno(self) -> int:
        """The descriptor, for mapping what was written."""
        return self._file.fileno()

    def ok(self) -> bool:
        """Whether everything so far is in the file."""
        return self._failure is None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position, as of any file."""
        if whence == os.SEEK_END:
            offset += os.fstat(self.fileno()).st_size
        elif whence == os.SEEK_CUR:
            offset += self._position
        self._position = offset
        return offset

    def tell(self) -> int:
        """The position."""
        return self._position

    def write(self, chunk: bytes | memoryview) -> int:
        """Write all of it, or remember why not."""
        rest = memoryview(chunk).cast("B")
        length = len(rest)
        try:
            while rest and self._failure is None:
                written = os.pwrite(self.fileno(), rest, self._position)
                self._position += written
                rest = rest[written:]
        except OSError as error:
            self._failure = error
        self._position += len(rest)
        return length

    def readinto(self, target: memoryview) -> int:
        """Read what was written; zeros where nothing was, as in a sparse file."""
        found = os.pread(self.fileno(), len(target), self._position)
        target[:] = found.ljust(len(target), b"\0")
        self._position += len(target)
        return len(target)

    def read(self, count: int) -> bytes:
        """Like `readinto`."""
        target = bytearray(count)
        self.readinto(memoryview(target))
        return bytes(target)

    def truncate(self, size: int) -> int:
        """Set the length of the file, or remember why not."""
        try:
            os.ftruncate(self.fileno(), size)
        except OSError as error:
            self._failure = self._failure or error
        return size

    def flush(self) -> None:
        """Do nothing: nothing is buffered here, and `publish` makes it durable."""
