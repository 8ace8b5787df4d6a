"""A DICOM network door: what a PACS sends (C-STORE) is laid into a folder for each association, and handed on."""

import queue
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from boneprint.errors import ReadError

_MOST_BYTES = 16 * 2**30  # of one association, as of an archive: ten whole bodies
_VERIFICATION = "1.2.840.10008.1.1"  # C-ECHO, by which a PACS asks whether we are there
_SUCCESS, _NO_ROOM, _NOT_UNDERSTOOD = 0x0000, 0xA700, 0xC000  # PS3.4 B.2.3


@dataclass(frozen=True, eq=False)
class Door:
    """Where studies come in; ``port`` is the one that is listened at."""

    port: int
    _ready: "queue.Queue[tempfile.TemporaryDirectory[str]]" = field(repr=False)

    def studies(self) -> Iterator["tempfile.TemporaryDirectory[str]"]:
        """The folder of each association that has ended and sent something; waits for the next. Clean it up."""
        while True:
            try:
                yield self._ready.get(timeout=0.5)  # a bare wait would not let an interruption in
            except queue.Empty:
                continue


@dataclass(eq=False)
class _Inbox:
    folder: "tempfile.TemporaryDirectory[str]"
    files: int = 0
    size: int = 0


@contextmanager
def received(
    *, host: str = "127.0.0.1", port: int = 11112, ae_title: str = "BONEPRINT", allowed: Sequence[str] = ()
) -> Iterator[Door]:
    """Listen for associations.

    Parameters
    ----------
    host, port : address; port 0 takes a free one
    ae_title : ours
    allowed : titles of those that may send; empty for all. A title is no secret: keep the port within the site

    Raises
    ------
    ReadError
        If pynetdicom is not installed or the port is taken.
    """
    try:
        from pynetdicom import AE, AllStoragePresentationContexts, evt
    except ImportError as error:
        raise ReadError("receive: pynetdicom is not installed. Install it: pip install 'boneprint[site]'.") from error
    from pydicom.uid import AllTransferSyntaxes

    ready: queue.Queue[tempfile.TemporaryDirectory[str]] = queue.Queue()
    inboxes: dict[Any, _Inbox] = {}

    def opened(event: Any) -> None:
        inboxes[event.assoc] = _Inbox(tempfile.TemporaryDirectory(prefix="boneprint-"))

    def stored(event: Any) -> int:
        inbox = inboxes.get(event.assoc)
        if inbox is None:
            return _NOT_UNDERSTOOD
        try:
            content = event.encoded_dataset()
            inbox.size += len(content)
            if inbox.size > _MOST_BYTES:
                return _NO_ROOM
            inbox.files += 1
            # A number for a name: nothing that a peer sends becomes a path.
            Path(inbox.folder.name, f"{inbox.files:06d}").write_bytes(content)
        except OSError:
            return _NO_ROOM
        except Exception:  # whatever a malformed message makes the decoder raise; the peer is told, others go on
            return _NOT_UNDERSTOOD
        return _SUCCESS

    def closed(event: Any) -> None:
        inbox = inboxes.pop(event.assoc, None)
        if inbox is None:
            return
        if inbox.files:
            ready.put(inbox.folder)
        else:
            inbox.folder.cleanup()

    entity = AE(ae_title=ae_title)
    entity.require_calling_aet = list(allowed)
    entity.require_called_aet = True
    for context in AllStoragePresentationContexts:
        entity.add_supported_context(str(context.abstract_syntax), list(AllTransferSyntaxes))
    entity.add_supported_context(_VERIFICATION)
    handlers: list[Any] = [
        (evt.EVT_ACCEPTED, opened),
        (evt.EVT_C_STORE, stored),
        (evt.EVT_CONN_CLOSE, closed),
    ]
    try:
        server: Any = entity.start_server((host, port), block=False, evt_handlers=handlers)
    except OSError as error:
        raise ReadError(f"receive: {host}:{port}: {error.strerror or error}. Give another --port.") from error
    try:
        yield Door(int(server.server_address[1]), ready)
    finally:
        server.shutdown()
        while not ready.empty():
            ready.get().cleanup()
