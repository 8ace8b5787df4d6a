"""Crashes: a writer killed at any instant loses nothing that it has acknowledged, and leaves a store that opens."""

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_index_enrolment import DIM, contents, expected, make_full_bone

from boneprint.evidence.audit import Trail
from boneprint.index import Store, check

FORK = multiprocessing.get_context("fork")


def deeds(first, bones):
    """What a writer does without end: enrols, removes, erases and merges; ("append", 3) is bone 3."""
    kept = sorted(bones)
    number = first
    while True:
        yield "append", number
        kept.append(number)
        number += 1
        if number % 3 == 0:
            yield "checkpoint", None
        if number % 4 == 0:
            yield "remove", kept.pop(0)
        if number % 5 == 0 and kept:
            yield "erase", kept.pop(len(kept) // 2)


def done(bones, deed, number):
    """The bones after a deed."""
    return bones | {number} if deed == "append" else bones - {number}


def work_until_killed(path, first, bones, acknowledge):
    """Do one deed after the other; one line for each that has returned."""
    with Store.open(path, writable=True, embedder="fake:1", dim=DIM) as store:
        for deed, number in deeds(first, bones):
            if deed == "append":
                store.append([make_full_bone(number)])
            elif deed == "checkpoint":
                store.checkpoint()
            else:
                store.remove([f"bone-{number}"], erase=deed == "erase")
            os.write(acknowledge, b".")


def kill_while_it_works(path, first, bones, delay, begun):
    """How many deeds a writer had acknowledged when it was killed, so long after its start or after its first deed."""
    reader, writer = os.pipe()
    child = FORK.Process(target=work_until_killed, args=(path, first, bones, writer))
    child.start()
    os.close(writer)
    done_before = len(os.read(reader, 1)) if begun else 0
    time.sleep(delay)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    with os.fdopen(reader) as acknowledged:
        return done_before + len(acknowledged.read())


def states_after(first, bones, count):
    """The bones after so many deeds, and after the one that was under way."""
    for deed, number in deeds(first, bones):
        if count == 0:
            return bones, done(bones, deed, number)
        bones = done(bones, deed, number)
        count -= 1
    raise AssertionError


def assert_kills_lose_nothing(path, kills, seed):
    chance = random.Random(seed)
    bones, total = set(), 0
    for kill in range(kills):
        first = 1000 * kill
        acknowledged = kill_while_it_works(path, first, bones, delay=chance.uniform(0.0, 0.15), begun=kill % 2 == 1)
        total += acknowledged
        if not path.exists():
            assert not acknowledged
            continue
        with Store.open(path) as store:
            found = contents(store.gallery())
        # The deed that was under way has happened or not.
        bones = next(
            state for state in states_after(first, bones, acknowledged) if found == expected(map(make_full_bone, state))
        )
        assert all(finding.ok for finding in check(path))
    assert total >= kills // 2
    print(f"{kills} kills, {total} acknowledged deeds")


def test_ten_kills_lose_nothing_that_was_acknowledged(tmp_path):
    assert_kills_lose_nothing(tmp_path / "bones.h5", kills=10, seed=1)


@pytest.mark.slow
def test_five_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path):
    assert_kills_lose_nothing(tmp_path / "bones.h5", kills=500, seed=2)


SCENARIO = """
import sys
sys.path.insert(0, sys.argv[2])
import boneprint
from test_index_enrolment import make_full_bone
with boneprint.open(sys.argv[1], writable=True, operator="tester") as database:
    print("opened", flush=True)
    database.store.append([make_full_bone(2, dim=128), make_full_bone(4, dim=128)])
    print("appended", flush=True)
    database.remove(bone_id="bone-4")
    print("removed", flush=True)
    database.checkpoint()
    print("merged", flush=True)
    database.store.append([make_full_bone(6, dim=128)])
    print("appended", flush=True)
    database.remove(subject_id="subject-1", erase=True)
    print("erased", flush=True)
"""
# Bones in the store after each line that the scenario prints; subject 1 owns bone 2 (and 3, if it is there).
STATES = [set(), {2, 4}, {2}, {2}, {2, 6}, {6}]
ERASED = 6
SYSTEM_CALLS = ("pwrite64", "write", "fsync", "rename", "unlink", "rmdir", "mkdir", "ftruncate")


def run_killed_at(call, number, path):
    """Run the scenario, killed as it enters the given call for the n-th time; lines printed, and whether it was."""
    injection = [
        "strace",
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        f"--trace={call}",
        f"--inject={call}:signal=KILL:when={number}",
    ]
    ended = subprocess.run(
        [*injection, sys.executable, "-B", "-c", SCENARIO, str(path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    return len(ended.stdout.split()), ended.returncode != 0


def traces_of_subject_1(folder):
    marks = [b"subject-1", *(row.tobytes() for row in make_full_bone(2, dim=128).vectors)]
    return [
        (file.name, mark) for file in folder.rglob("*") if file.is_file() for mark in marks if mark in file.read_bytes()
    ]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)")
@pytest.mark.parametrize("begun", [False, True], ids=["new store", "store with a pending segment"])
@pytest.mark.parametrize("call", SYSTEM_CALLS)
def test_a_kill_at_each_system_call_leaves_the_old_or_the_new_content(tmp_path, call, begun):
    import boneprint

    prepared = tmp_path / "prepared"
    prepared.mkdir()
    there = {0, 3} if begun else set()
    if begun:
        with boneprint.open(prepared / "bones.h5", writable=True) as database:
            database.store.append([make_full_bone(0, dim=128)])
            database.checkpoint()
            database.store.append([make_full_bone(3, dim=128)])
            database.trail.record("search", {}, [{"subject_id": "subject-1"}])
    states = [state | there for state in STATES[:-1]] + [STATES[-1] | there - {3}]
    number = 0
    killed = True
    while killed:
        number += 1
        work = tmp_path / f"{number}"
        shutil.copytree(prepared, work)
        path = work / "bones.h5"
        lines, killed = run_killed_at(call, number, path)
        if path.exists():
            with Store.open(path) as reader:
                found = contents(reader.gallery())
            # Before "opened" there is nothing, then the state after each line, or after the next.
            old, new = states[max(lines - 1, 0)], states[min(lines, len(states) - 1)]
            assert found in [expected(make_full_bone(n, dim=128) for n in state) for state in (old, new)], (
                call,
                number,
                lines,
            )
            assert all(finding.ok for finding in check(path))
            assert Trail(path).findings() == []
        else:
            assert not begun
            assert lines == 0
        if lines == ERASED:
            assert traces_of_subject_1(work) == []
        # Run again, the erasure is brought to its end whatever was left of it.
        with boneprint.open(path, writable=True) as database:
            named = database.trail.mentions(lambda person: person.get("subject_id") == "subject-1")
            if named or any(r.subject_id == "subject-1" for r in database.store.gallery().references):
                database.remove(subject_id="subject-1", erase=True)
            database.checkpoint()
        assert traces_of_subject_1(work) == []
        assert {entry.name for entry in work.iterdir()} <= {"bones.h5", "bones.h5-lock", "bones.h5-audit"}
        shutil.rmtree(work)
    print(f"{call}: {number - 1} crash points")
    assert number > 1 or call in ("mkdir", "rmdir", "ftruncate")
