"""Disks that fail: the power is cut, there is no more room, nothing can be written. Loop devices need root."""

import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import pytest
from test_index_crash import FORK, deeds, done, states_after, work_until_killed
from test_index_enrolment import DIM, contents, expected, make_full_bone

from boneprint.errors import StoreError
from boneprint.index import Store, check, search

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mkfs.ext4") is None or not Path("/dev/loop-control").exists(),
    reason="mounting a loop device needs root, mkfs.ext4 and /dev/loop-control",
)
# No mercy for a forgotten fsync: ext4 by itself would write a file's data before it renames it over another.
STRICT = "loop,noauto_da_alloc,commit=300"


@contextmanager
def mounted(what, where, options, kind="ext4"):
    where.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", kind, "-o", options, str(what), str(where)], check=True)
    try:
        yield where
    finally:
        subprocess.run(["umount", str(where)], check=True)


def formatted(image, mib):
    with image.open("wb") as file:
        file.truncate(mib * 2**20)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    return image


def cut_power(image, copy, child, acknowledged):
    """What the disk holds at one instant, and how many deeds had been acknowledged by then."""
    os.kill(child.pid, signal.SIGSTOP)
    while True:
        time.sleep(0.02)
        before = image.stat().st_mtime_ns
        count = os.fstat(acknowledged).st_size
        shutil.copyfile(image, copy)
        if image.stat().st_mtime_ns == before:
            break
    os.kill(child.pid, signal.SIGCONT)
    return count


def assert_power_cuts_lose_nothing(folder, images, seed):
    chance = random.Random(seed)
    image, copy = formatted(folder / "disk", 24), folder / "copy"
    cuts = 0
    with mounted(image, folder / "mnt", STRICT) as disk:
        bones, first = set(), 0
        while cuts < images:
            log = os.open(folder / "acknowledged", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            child = FORK.Process(target=work_until_killed, args=(disk / "bones.h5", first, bones, log))
            child.start()
            # One writer a few cuts long, so that it has not got too many bones to carry about.
            for _ in range(min(10, images - cuts)):
                time.sleep(chance.uniform(0.01, 0.2))
                count = cut_power(image, copy, child, log)
                with mounted(copy, folder / "after", "loop") as after:
                    assert_store_is_one_of(after / "bones.h5", states_after(first, bones, count))
                cuts += 1
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            count = os.fstat(log).st_size
            os.close(log)
            bones = assert_store_is_one_of(disk / "bones.h5", states_after(first, bones, count))
            first += 1000
            with Store.open(disk / "bones.h5", writable=True) as store:
                spare = sorted(bones)[4:]
                store.remove([f"bone-{number}" for number in spare], erase=True)
                bones = bones - set(spare)
    print(f"{cuts} images after a power cut")


def assert_store_is_one_of(path, states):
    """Opens it, verifies it, and says which of the states it is in; there may be none yet."""
    if not path.exists():
        assert set() in states
        return set()
    with Store.open(path) as store:
        found = contents(store.gallery())
    assert all(finding.ok for finding in check(path))
    return next(state for state in states if found == expected(map(make_full_bone, state)))


def test_three_power_cuts_lose_nothing_that_was_acknowledged(tmp_path):
    assert_power_cuts_lose_nothing(tmp_path, images=3, seed=1)


@pytest.mark.slow
def test_a_hundred_power_cuts_lose_nothing_that_was_acknowledged(tmp_path):
    assert_power_cuts_lose_nothing(tmp_path, images=100, seed=2)


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_on_a_full_disk_every_deed_happens_or_is_refused_in_one_line(tmp_path, kind):
    full = cache(partial(make_full_bone, views=800))
    what = formatted(tmp_path / "disk", 2) if kind == "ext4" else "none"
    with mounted(what, tmp_path / "mnt", "loop" if kind == "ext4" else "size=1m", kind) as disk:
        path = disk / "bones.h5"
        bones: set[int] = set()
        refusals = []
        with Store.open(path, writable=True, embedder="fake:1", dim=DIM) as store:
            for count, (deed, number) in enumerate(deeds(0, set())):
                refused = len(refusals)
                try:
                    if deed == "append":
                        store.append([full(number)])
                    elif deed == "checkpoint":
                        store.checkpoint()
                    elif number in bones:
                        store.remove([f"bone-{number}"], erase=deed == "erase")
                except StoreError as refusal:
                    refusals.append((deed, str(refusal)))
                else:
                    bones = done(bones, deed, number)
                # Whatever is lost stays lost: not everything is read after every deed, which would take long.
                if len(refusals) > refused or count % 5 == 0:
                    assert contents(store.gallery()) == expected(map(full, bones))
                if number and number > 120:
                    break
        assert len(refusals) > 3
        assert all("could not be written" in said and "\n" not in said for _, said in refusals)
        with Store.open(path) as reader:
            assert contents(reader.gallery()) == expected(map(full, bones))
        assert all(finding.ok for finding in check(path))


def test_on_a_read_only_disk_a_store_is_searched_and_not_written(tmp_path):
    image = formatted(tmp_path / "disk", 8)
    with (
        mounted(image, tmp_path / "mnt", "loop") as disk,
        Store.open(disk / "bones.h5", writable=True, embedder="fake:1", dim=DIM) as store,
    ):
        store.append([make_full_bone(0), make_full_bone(1)])
        store.checkpoint()
        store.append([make_full_bone(2)])
    with mounted(image, tmp_path / "mnt", "loop,ro") as disk:
        path = disk / "bones.h5"
        with Store.open(path) as reader:
            assert contents(reader.gallery()) == expected(map(make_full_bone, range(3)))
            assert search(reader.gallery(), make_full_bone(2).vectors[:1], 1).bones.tolist() == [2]
        assert all(finding.ok for finding in check(path))
        with pytest.raises(StoreError, match="could not be written") as refusal:
            Store.open(path, writable=True)
        assert "\n" not in str(refusal.value)
