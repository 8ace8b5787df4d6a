"""The audit trail: who did what to a database and when, in a chain of hashes that shows whether a line was changed.

``NAME.h5-audit`` holds one JSON object a line::

    {"about": [{"bone_id": "bone-1", "salt": "9c...", "subject_id": "S-1"}], "at": "2026-11-20T12:00:00+00:00",
     "facts": {"bones": 1, "generation": 8}, "hash": "77...", "number": 3, "previous": "5f...", "sealed": ["0a..."],
     "what": "ingest", "who": "examiner"}

``hash`` is the SHA-256 of the line's other fields but ``about``, and ``previous`` the hash of the line before. Persons
are named in ``about`` alone, and the chain holds only the SHA-256 of each of these objects (``sealed``). So a person
can be dropped (the object becomes null) and the chain still holds; and because each object has a random salt of its
own, nobody can find out by trying names whom it spoke of.
"""

import errno
import fcntl
import getpass
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from boneprint.errors import StoreError
from boneprint.index.publish import TEMPORARY, publish, sync

_BEGINNING = "0" * 64
# A line is read from the end of the file in steps of this.
_STEP_BYTES = 65_536


@dataclass(frozen=True)
class Entry:
    """One event: ``what`` was done, by whom, when, and whom it was ``about``.

    An erased person is None in ``about``. ``at`` is in UTC (ISO 8601).
    """

    number: int
    at: str
    who: str
    what: str
    facts: Mapping[str, Any]
    about: tuple[Mapping[str, Any] | None, ...]
    hash: str


class Trail:
    """The trail of one database; any number of processes may add to it."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + "-audit")

    def record(
        self, what: str, facts: Mapping[str, Any], about: Iterable[Mapping[str, Any]] = (), *, who: str | None = None
    ) -> None:
        """Add an event; when this returns it survives a power cut.

        Parameters
        ----------
        what : "ingest", "search", "superimpose", "remove", "erase"
        facts : what may be kept for ever; names no person
        about : one object for each person that it is about, e.g. with ``subject_id`` and ``bone_id``
        who : the user of the operating system by default

        Raises
        ------
        StoreError
            If the trail cannot be written, or its last line is damaged.
        """
        with self._told(), self._locked() as file:
            last, end = _last_line(file)
            try:
                before: dict[str, Any] = json.loads(last) if last else {"number": 0, "hash": _BEGINNING}
                number, previous = int(before["number"]) + 1, str(before["hash"])
            except (ValueError, KeyError, TypeError):
                raise StoreError(
                    f"{self.path}: damaged: its last line is no event. Keep a copy and look at it with "
                    "`boneprint audit`; moved away, a new trail begins."
                ) from None
            named = [{**each, "salt": secrets.token_hex(16)} for each in about]
            event = {
                "number": number,
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "who": who or operating_user(),
                "what": what,
                "facts": dict(facts),
                "sealed": [_digest(each) for each in named],
                "previous": previous,
            }
            # What follows the last whole line was never acknowledged: its writer was killed, or the disk was full.
            file.truncate(end)
            file.seek(end)
            line = _text({**event, "hash": _digest(event), "about": named}) + b"\n"
            if file.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file.fileno())
            if end == 0:
                sync(self.path.parent)

    def entries(self) -> list[Entry]:
        """All events, the first one first; what `findings` finds fault with is passed over."""
        return [
            Entry(e["number"], e["at"], e["who"], e["what"], e["facts"], tuple(e["about"]), e["hash"])
            for e in (_event(line) for line in self._lines())
            if e is not None
        ]

    def findings(self) -> list[str]:
        """What is wrong with the trail, one line each; nothing if every hash is right and follows the one before."""
        found = []
        previous, number = _BEGINNING, 0
        for place, line in enumerate(self._lines(), 1):
            event = _event(line)
            if event is None:
                found.append(f"{self.path}: line {place} is no event: it was damaged or changed")
                continue
            held = {name: value for name, value in event.items() if name not in ("hash", "about")}
            named = [
                each for each, seal in zip(event["about"], event["sealed"]) if each is None or _digest(each) == seal
            ]
            if (
                _digest(held) != event["hash"]
                or len(named) != len(event["sealed"])
                or len(named) != len(event["about"])
            ):
                found.append(f"{self.path}: line {place} does not match its hash: it was damaged or changed")
            elif (event["previous"], event["number"]) != (previous, number + 1):
                found.append(
                    f"{self.path}: line {place} does not follow line {place - 1}: lines were changed or taken out"
                )
            previous, number = event["hash"], event["number"]
        return found

    def mentions(self, forgotten: Callable[[Mapping[str, Any]], bool]) -> bool:
        """Whether any event is about such a person."""
        return any(each is not None and forgotten(each) for entry in self.entries() for each in entry.about)

    def forget(self, forgotten: Callable[[Mapping[str, Any]], bool]) -> None:
        """Drop persons from every event and keep the events; of the file as it was nothing is left.

        Raises
        ------
        StoreError
            If the trail cannot be written.
        """
        if not self.path.exists():
            return
        with self._told(), self._locked() as file:
            file.seek(0)
            kept = b"".join(_without(line, forgotten) for line in file.read().splitlines(keepends=True))
            publish(self.path, lambda temporary: _fill(temporary, kept))

    def tidy(self) -> None:
        """Remove what a killed `forget` left; for the database's one writer, who alone forgets."""
        with self._told():
            self.path.with_name(self.path.name + TEMPORARY).unlink(missing_ok=True)

    def _lines(self) -> list[bytes]:
        """Whole lines; what follows the last one was never acknowledged."""
        try:
            return self.path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read ({error.strerror}). Check the permissions.") from error

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        """The file, with nobody else writing to it."""
        while True:
            self.path.touch()
            with self.path.open("r+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                # While we waited, an erasure may have put a new file in its place.
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                        yield file
                        return

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"{self.path}: the audit trail could not be written ({error.strerror or error}). "
                "Make room on a disk that can be written, and run it again."
            ) from error


def operating_user() -> str:
    """Who works at this computer, as the operating system says."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in some containers
        return f"uid {os.getuid()}"


def _last_line(file: BinaryIO) -> tuple[bytes, int]:
    """The last whole line without its end, and where it ends; an empty one of an empty file."""
    size = start = file.seek(0, os.SEEK_END)
    tail = b""
    while start and tail.count(b"\n") < 2:
        start = max(start - _STEP_BYTES, 0)
        file.seek(start)
        tail = file.read(size - start)
    whole = tail[: tail.rfind(b"\n") + 1]
    return whole[:-1].rpartition(b"\n")[2], size - len(tail) + len(whole)


def _event(line: bytes) -> dict[str, Any] | None:
    """The event of a line; None if it is none."""
    try:
        event = json.loads(line)
        whole = (
            isinstance(event["about"], list) and isinstance(event["sealed"], list) and isinstance(event["facts"], dict)
        )
        texts = all(isinstance(event[name], str) for name in ("at", "who", "what", "hash", "previous"))
        return dict(event) if whole and texts and isinstance(event["number"], int) else None
    except (ValueError, KeyError, TypeError):
        return None


def _without(line: bytes, forgotten: Callable[[Mapping[str, Any]], bool]) -> bytes:
    event = _event(line)
    if event is None or not any(each is not None and forgotten(each) for each in event["about"]):
        return line
    return (
        _text({**event, "about": [None if each is None or forgotten(each) else each for each in event["about"]]})
        + b"\n"
    )


def _text(value: Mapping[str, Any]) -> bytes:
    # One way to write it, in ASCII: the hash must come out the same in every program.
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode("ascii")


def _digest(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(value)).hexdigest()


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)
