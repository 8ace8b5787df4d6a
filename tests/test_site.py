"""The network doors of a site, against a real Orthanc (Debian: orthanc, orthanc-dicomweb)."""

import base64
import json
import shutil
import subprocess
import threading
import time
import urllib.request
from contextlib import ExitStack, closing
from pathlib import Path
from random import SystemRandom
from socket import socket

import pytest
from click.testing import CliRunner
from conftest import COHORT_SEED

import boneprint
from boneprint.cli import main
from boneprint.errors import ReadError
from boneprint.receive import received
from boneprint.remote import fetched

ORTHANC = shutil.which("Orthanc") or shutil.which("orthanc")
DICOMWEB = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PERSON = f"SIM-{COHORT_SEED}-0002"
needs_orthanc = pytest.mark.skipif(not ORTHANC, reason="Orthanc not installed: apt-get install orthanc")
needs_dicomweb = pytest.mark.skipif(
    not (ORTHANC and DICOMWEB.exists()), reason="no DICOMweb: apt-get install orthanc orthanc-dicomweb"
)


def free_ports(count=1):
    """Ports that nobody listens on, below those that the system gives to whoever connects in the meantime."""
    found = []
    with ExitStack() as held:
        while len(found) < count:
            port = SystemRandom().randrange(20_000, 32_000)
            probe = held.enter_context(closing(socket()))
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found.append(port)
    return found


class Server:
    """An Orthanc of our own, asked over its REST API."""

    def __init__(self, folder):
        self.http, self.dicom, self.listener = free_ports(3)
        (folder / "orthanc.json").write_text(
            json.dumps(
                {
                    "StorageDirectory": str(folder / "store"),
                    "IndexDirectory": str(folder / "store"),
                    "HttpPort": self.http,
                    "DicomPort": self.dicom,
                    "DicomAet": "ORTHANC",
                    "AuthenticationEnabled": True,
                    "RegisteredUsers": {"site": "secret"},
                    "RemoteAccessAllowed": False,
                    "Plugins": [str(DICOMWEB)] if DICOMWEB.exists() else [],
                    "DicomModalities": {"boneprint": ["BONEPRINT", "127.0.0.1", self.listener]},
                }
            )
        )
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen([ORTHANC, str(folder / "orthanc.json")], stdout=log, stderr=log)

    def ask(self, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.http}{path}", data=body)
        request.add_header("Authorization", "Basic " + base64.b64encode(b"site:secret").decode())
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def wait(self):
        for _ in range(200):
            try:
                return self.ask("/system")
            except OSError:
                time.sleep(0.1)
        raise AssertionError("Orthanc does not answer")


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory, cohort_dir):
    """A server that holds the CTs of two people."""
    server = Server(tmp_path_factory.mktemp("orthanc"))
    try:
        server.wait()
        for person in (PERSON, f"SIM-{COHORT_SEED}-0001"):
            for path in sorted((cohort_dir / person).iterdir()):
                server.ask("/instances", path.read_bytes())
        yield server
    finally:
        server.process.terminate()
        server.process.wait(timeout=30)


@pytest.fixture(scope="module")
def study(orthanc):
    """Orthanc's id and the UID of the study of one person."""
    (found,) = (
        (each, said["MainDicomTags"]["StudyInstanceUID"])
        for each in orthanc.ask("/studies")
        if (said := orthanc.ask(f"/studies/{each}"))["PatientMainDicomTags"]["PatientID"] == PERSON
    )
    return found


@needs_orthanc
def test_what_a_pacs_sends_is_enrolled(orthanc, study, tmp_path):
    db, key = tmp_path / "x.h5", tmp_path / "site.key"
    key.write_bytes(bytes(range(32)))
    told = {}

    def listen():
        arguments = ["receive", "--db", db, "--port", orthanc.listener, "--studies", 1, "--site-key", key]
        told["result"] = CliRunner().invoke(main, [str(each) for each in arguments])

    thread = threading.Thread(target=listen)
    thread.start()
    for _ in range(100):
        try:
            orthanc.ask("/modalities/boneprint/echo", b"{}")
            break
        except OSError:
            time.sleep(0.1)
    orthanc.ask("/modalities/boneprint/store", study[0].encode())
    thread.join(timeout=120)
    assert told["result"].exit_code == 0
    assert "1 enrolled, 0 failed" in told["result"].stderr
    assert PERSON not in told["result"].output  # what the door says ends up in logs
    with boneprint.open(db) as database:
        (reference,) = database.store.gallery().references
    assert reference.bone == "femur"
    assert reference.source == "withheld"
    assert reference.subject_id.startswith("P-")


@needs_orthanc
def test_a_peer_that_is_not_allowed_is_turned_away(orthanc, study):
    with received(port=orthanc.listener, allowed=["OTHER"]), pytest.raises(OSError, match="500"):
        orthanc.ask("/modalities/boneprint/store", study[0].encode())


@needs_dicomweb
def test_a_study_at_a_dicomweb_url_is_a_probe(orthanc, study, bones_h5):
    url = f"http://site:secret@127.0.0.1:{orthanc.http}/dicom-web/studies/{study[1]}"
    result = CliRunner().invoke(main, ["search", url, "--db", str(bones_h5), "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["candidates"][0]["subject_id"] == PERSON


@needs_dicomweb
def test_a_study_that_is_not_there_is_an_error_without_the_password(orthanc):
    with pytest.raises(ReadError) as refused:
        fetched(f"http://site:secret@127.0.0.1:{orthanc.http}/dicom-web/studies/1.2.3")
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_what_is_no_study_or_answers_not_is_an_error():
    with pytest.raises(ReadError, match="expected http"):
        fetched("http://127.0.0.1/somewhere")
    with pytest.raises(ReadError, match="Check the address"):
        fetched(f"http://127.0.0.1:{free_ports()[0]}/dicom-web/studies/1.2.3")


def test_a_port_that_is_taken_is_an_error():
    with received(port=0) as door, pytest.raises(ReadError, match="--port"), received(port=door.port):
        pass
