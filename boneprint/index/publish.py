"""Publication: a file appears whole, durable and at once, or not at all. And the lock that keeps writers apart."""

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from boneprint.errors import StoreError

TEMPORARY = ".tmp"


def publish(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` make the file under a temporary name, make it durable, and give it its name.

    When this returns, the file survives a power cut. Killed at any instant before, it leaves the old file, or none, and
    at most a temporary one, which the next writer removes. One writer at a time: the temporary name is fixed.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        write(temporary)
        sync(temporary)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    # The name is an entry of the folder: without this the rename may be lost with the power.
    sync(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder, if it is not there, that survives a power cut."""
    if not path.is_dir():
        path.mkdir()
        sync(path.parent)


def sync(path: Path) -> None:
    """Make a file, or the names in a folder, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class WriterLock:
    """One writer per store, on one machine or a file system that shares locks; freed by the system when a process dies.

    The lock file ``NAME.h5-lock`` holds one line that names the holder.
    """

    def __init__(self, store: Path) -> None:
        self._store = store
        self._path = store.with_name(store.name + "-lock")
        # Closed by another thread than opened it, a thread-local lock would stay held.
        self._lock = FileLock(self._path, thread_local=False)

    def acquire(self) -> None:
        """Become the writer; StoreError naming the holder if there is another."""
        # Read first: the filelock of some years ago emptied the file even when it then failed to lock it.
        holder = self._holder()
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise StoreError(
                f"{self._store}: being written by {holder or self._holder() or 'another process'}, "
                "expected no other writer. Wait until it has finished, or end it; readers need not wait."
            ) from None
        since = datetime.now(UTC).isoformat(timespec="seconds")
        self._path.write_text(f"pid {os.getpid()} on {socket.gethostname()} since {since}\n", encoding="utf-8")

    def release(self) -> None:
        """Let the next writer come."""
        with suppress(OSError):
            self._path.write_text("", encoding="utf-8")
        self._lock.release()

    def _holder(self) -> str:
        try:
            return " ".join(self._path.read_text(encoding="utf-8").split())
        except (OSError, UnicodeDecodeError):
            return ""
