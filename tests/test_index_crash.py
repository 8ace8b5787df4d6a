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
from test_index_enrolment import DIM, contents, expected, make_bone

from boneprint.index import Store, check

FORK = multiprocessing.get_context("fork")


def enrol_until_killed(path, first, acknowledge):
    """Append bone after bone, and checkpoint now and then; one line for each append that has returned."""
    with Store.open(path, writable=True, embedder="fake:1", dim=DIM) as store:
        number = first
        while True:
            store.append([make_bone(number)])
            os.write(acknowledge, f"{number}\n".encode())
            number += 1
            if number % 3 == 0:
                store.checkpoint()


def kill_while_it_enrols(path, first, delay):
    """Numbers of the bones that a writer had acknowledged when it was killed."""
    reader, writer = os.pipe()
    child = FORK.Process(target=enrol_until_killed, args=(path, first, writer))
    child.start()
    os.close(writer)
    time.sleep(delay)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    with os.fdopen(reader) as lines:
        return [int(line) for line in lines]


def assert_kills_lose_nothing(path, kills, seed):
    chance = random.Random(seed)
    done = 0
    for _ in range(kills):
        acknowledged = kill_while_it_enrols(path, done, delay=chance.uniform(0.0, 0.15))
        if not path.exists():
            assert not acknowledged
            continue
        with Store.open(path) as store:
            gallery = store.gallery()
        # The append that was under way is there whole or not at all.
        assert gallery.bones - done - len(acknowledged) in (0, 1)
        done = gallery.bones
        assert contents(gallery) == expected([make_bone(number) for number in range(done)])
        assert all(finding.ok for finding in check(path))
    assert done > 0


def test_ten_kills_lose_nothing_that_was_acknowledged(tmp_path):
    assert_kills_lose_nothing(tmp_path / "bones.h5", kills=10, seed=1)


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path):
    assert_kills_lose_nothing(tmp_path / "bones.h5", kills=200, seed=2)


SCENARIO = """
import sys
sys.path.insert(0, sys.argv[2])
from test_index_enrolment import make_bone
from boneprint.index import Store
with Store.open(sys.argv[1], writable=True, embedder="fake:1", dim=8) as store:
    print("opened", flush=True)
    store.append([make_bone(2), make_bone(3)])
    print("appended", flush=True)
    store.append([make_bone(4)])
    print("appended", flush=True)
    store.checkpoint()
    print("merged", flush=True)
"""
# Bones in the store after each line that the scenario prints; before the first, the prepared store.
STATES = [2, 2, 4, 5, 5]
SYSTEM_CALLS = ("pwrite64", "write", "fsync", "rename", "unlink", "rmdir", "mkdir", "ftruncate")


def run_killed_at(call, number, path):
    """Run the scenario, killed as it enters the given call for the n-th time; lines printed, and whether it was."""
    injection = ["strace", "-qq", "-o", "/dev/null", f"--trace={call}", f"--inject={call}:signal=KILL:when={number}"]
    done = subprocess.run(
        [*injection, sys.executable, "-B", "-c", SCENARIO, str(path), str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return len(done.stdout.split()), done.returncode != 0


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed (apt-get install strace)")
@pytest.mark.parametrize("begun", [False, True], ids=["new store", "store with a pending segment"])
@pytest.mark.parametrize("call", SYSTEM_CALLS)
def test_a_kill_at_each_system_call_leaves_the_old_or_the_new_content(tmp_path, call, begun):
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    states = STATES if begun else [0, 0, 2, 3, 3]
    if begun:
        with Store.open(prepared / "bones.h5", writable=True, embedder="fake:1", dim=DIM) as store:
            store.append([make_bone(0)])
            store.checkpoint()
            store.append([make_bone(1)])
    number = 0
    killed = True
    while killed:
        number += 1
        work = tmp_path / f"{number}"
        shutil.copytree(prepared, work)
        path = work / "bones.h5"
        lines, killed = run_killed_at(call, number, path)
        numbers = list(range(2)) * begun + [2, 3, 4]
        if path.exists():
            with Store.open(path) as reader:
                found = contents(reader.gallery())
            assert len(found) in (states[lines], states[min(lines + 1, 4)]), (call, number, lines)
            assert found == expected([make_bone(n) for n in numbers[: len(found)]])
            assert all(finding.ok for finding in check(path))
        else:
            assert not begun
            assert lines == 0
        with Store.open(path, writable=True, embedder="fake:1", dim=DIM) as writer:
            writer.append([make_bone(9)])
            writer.checkpoint()
            assert make_bone(9).reference.bone_id in contents(writer.gallery())
        assert {entry.name for entry in work.iterdir()} <= {"bones.h5", "bones.h5-lock"}
        shutil.rmtree(work)
    print(f"{call}: {number - 1} crash points")
    # A pending segment has its folder already.
    assert number > 1 or (call == "mkdir" and begun)
