"""The audit trail: a chain that shows tampering, survives kills, and forgets a person without breaking."""

import json
import multiprocessing
import os
import signal
import time

import pytest

from boneprint.errors import StoreError
from boneprint.evidence.audit import Trail, operating_user

FORK = multiprocessing.get_context("fork")


@pytest.fixture
def trail(tmp_path):
    trail = Trail(tmp_path / "bones.h5")
    trail.record(
        "ingest",
        {"bones": 2},
        [{"subject_id": "Ann", "bone_id": "femur of Ann"}, {"subject_id": "Bob", "bone_id": "tibia of Bob"}],
    )
    trail.record(
        "search", {"k": 10}, [{"subject_id": "Ann", "bone_id": "femur of Ann", "distance": 0.25}], who="examiner 7"
    )
    trail.record("remove", {"bones": 1}, [{"subject_id": "Bob", "bone_id": "tibia of Bob"}])
    return trail


def of_ann(named):
    return named.get("subject_id") == "Ann"


def test_every_event_says_who_when_and_what_in_the_order_it_happened(trail):
    events = trail.entries()
    assert [(event.number, event.what) for event in events] == [(1, "ingest"), (2, "search"), (3, "remove")]
    assert [event.who for event in events] == [operating_user(), "examiner 7", operating_user()]
    assert all(event.at.endswith("+00:00") for event in events)
    assert events[1].facts == {"k": 10}
    assert events[1].about[0]["distance"] == 0.25
    assert trail.findings() == []


def test_a_name_in_any_script_and_a_path_that_is_no_utf8_are_kept(trail):
    for name in ("Größe 7", "\udc80\udcff", 'quote " and \\ and\nline'):
        trail.record("ingest", {}, [{"subject_id": name}])
        assert trail.entries()[-1].about[0]["subject_id"] == name
    assert trail.findings() == []


def test_every_changed_byte_and_every_line_taken_out_moved_or_doubled_is_found(trail):
    whole = trail.path.read_bytes()
    lines = whole.splitlines(keepends=True)
    forged = [b"".join(lines[i] for i in order) for order in ([0, 2], [1, 2], [0, 2, 1], [0, 1, 1, 2], [0, 0, 1, 2])]
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= 1
        forged.append(bytes(changed))
    # Cut off at the end: a chain alone cannot show it, which is why `boneprint audit` prints its last hash.
    for content in forged:
        trail.path.write_bytes(content)
        kept = [json.loads(line) for line in content.split(b"\n")[:-1]] if trail.findings() == [] else None
        assert kept is None or kept == [json.loads(line) for line in lines][: len(kept)], content
    trail.path.write_bytes(whole)
    assert trail.findings() == []


def test_a_forger_who_mends_the_hash_of_his_line_is_found_by_the_next_one(trail):
    import hashlib

    lines = trail.path.read_bytes().splitlines()
    event = json.loads(lines[1])
    event["who"] = "somebody else"
    held = {name: value for name, value in event.items() if name not in ("hash", "about")}
    text = json.dumps(held, sort_keys=True, separators=(",", ":")).encode()
    event["hash"] = hashlib.sha256(text).hexdigest()
    trail.path.write_bytes(b"\n".join([lines[0], json.dumps(event).encode(), lines[2], b""]))
    assert ["line 3 does not follow" in finding for finding in trail.findings()] == [True]


def test_forgetting_drops_the_person_keeps_the_event_and_the_chain(trail):
    before = trail.entries()
    assert trail.mentions(of_ann)
    trail.forget(of_ann)
    raw = trail.path.read_bytes()
    assert b"Ann" not in raw
    assert b"femur of" not in raw
    after = trail.entries()
    assert [(e.number, e.at, e.who, e.what, e.hash) for e in after] == [
        (e.number, e.at, e.who, e.what, e.hash) for e in before
    ]
    assert after[0].about[0] is None
    assert after[0].about[1]["subject_id"] == "Bob"
    assert not trail.mentions(of_ann)
    assert trail.findings() == []
    trail.record("search", {})
    assert trail.findings() == []
    assert {entry.name for entry in trail.path.parent.iterdir()} == {"bones.h5-audit"}


def test_who_was_forgotten_cannot_be_found_by_trying_names(trail, tmp_path):
    """Two trails with the same events have no seal in common: each has a salt that is forgotten with the person."""
    (tmp_path / "twin").mkdir()
    twin = Trail(tmp_path / "twin" / "bones.h5")
    twin.record("remove", {"bones": 1}, [{"subject_id": "Bob", "bone_id": "tibia of Bob"}])
    seals = [json.loads(line)["sealed"] for path in (trail.path, twin.path) for line in path.read_bytes().splitlines()]
    flat = [seal for each in seals for seal in each]
    assert len(set(flat)) == len(flat) == 5


@pytest.mark.parametrize("cut", [1, 2, 50, 200])
def test_a_torn_last_line_is_passed_over_and_replaced(trail, cut):
    whole = trail.path.read_bytes()
    trail.path.write_bytes(whole[:-cut])
    assert [event.number for event in trail.entries()] == [1, 2]
    assert trail.findings() == []
    trail.record("search", {})
    assert [event.number for event in trail.entries()] == [1, 2, 3]
    assert trail.entries()[-1].what == "search"
    assert trail.findings() == []


def test_a_damaged_last_line_is_not_built_upon(trail):
    trail.path.write_bytes(trail.path.read_bytes() + b"scribble\n")
    with pytest.raises(StoreError, match="last line is no event") as refusal:
        trail.record("search", {})
    assert "\n" not in str(refusal.value)
    assert len(trail.findings()) == 1


def record_for_ever(path, name, acknowledge):
    trail = Trail(path)
    for number in range(10**9):
        trail.record("search", {"number": number}, [{"subject_id": name * 500}], who=name)
        os.write(acknowledge, f"{number}\n".encode())
        if name == "forgetful":
            trail.forget(lambda named: True)


def test_writers_beside_each_other_and_killed_lose_nothing_that_was_acknowledged(tmp_path):
    path = tmp_path / "bones.h5"
    acknowledged: dict[str, int] = {}
    for _ in range(8):
        pipes = {name: os.pipe() for name in ("one", "two", "forgetful")}
        children = [FORK.Process(target=record_for_ever, args=(path, name, pipe[1])) for name, pipe in pipes.items()]
        for child in children:
            child.start()
        time.sleep(0.15)
        for child in children:
            os.kill(child.pid, signal.SIGKILL)
            child.join()
        for name, (reader, writer) in pipes.items():
            os.close(writer)
            with os.fdopen(reader) as lines:
                acknowledged[name] = acknowledged.get(name, 0) + len(lines.readlines())
    trail = Trail(path)
    trail.record("search", {})
    assert trail.findings() == []
    found = [event.who for event in trail.entries()]
    for name, count in acknowledged.items():
        assert 0 < count <= found.count(name) <= count + 8
