"""Many readers beside one writer: no error, and every answer belongs to one generation."""

import multiprocessing
import os
import time

import pytest
from test_index_enrolment import DIM, make_bone

from boneprint.index import Store, check, search

FORK = multiprocessing.get_context("fork")
READERS = 8
MINUTES = float(os.environ.get("BONEPRINT_READER_MINUTES", "10"))
# Generations with odd numbers add four bones; each next one takes away the last of these, and all that are this old.
ADDED, LIVED = 4, 39


def bones_of(generation):
    """Numbers of the bones that a generation holds."""
    even = generation - generation % 2
    return {
        ADDED * made + n
        for made in range(1, generation + 1, 2)
        for n in range(ADDED)
        if made > even - LIVED and not (n == ADDED - 1 and made < even)
    }


def write_until(path, end):
    with Store.open(path, writable=True) as store:
        while time.monotonic() < end:
            generation = store.generation + 1
            if generation % 2:
                store.append([make_bone(ADDED * generation + n) for n in range(ADDED)])
            else:
                gone = bones_of(generation - 1) - bones_of(generation)
                store.remove([f"bone-{number}" for number in gone], erase=generation % 10 == 0)
            if generation % 7 == 0:
                store.checkpoint()


def read_until(path, end, answers):
    count, last = 0, 0
    with Store.open(path) as store:
        while time.monotonic() < end:
            gallery = store.gallery()
            assert gallery.generation >= last
            last = gallery.generation
            numbers = sorted(bones_of(last))
            assert sorted(int(reference.bone_id[5:]) for reference in gallery.references) == numbers
            chosen = numbers[count % len(numbers)]
            hits = search(gallery, make_bone(chosen).vectors[1:2], 1)
            assert gallery.references[hits.bones[0]].bone_id == f"bone-{chosen}"
            assert hits.distances[0] == 0
            count += 1
    answers.put((count, last))


def assert_readers_see_whole_generations(path, seconds):
    with Store.open(path, writable=True, embedder="fake:1", dim=DIM) as store:
        store.append([make_bone(ADDED + n) for n in range(ADDED)])
    end = time.monotonic() + seconds
    answers = FORK.Queue()
    children = [FORK.Process(target=write_until, args=(path, end))]
    children += [FORK.Process(target=read_until, args=(path, end, answers)) for _ in range(READERS)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * (1 + READERS)
    found = [answers.get() for _ in range(READERS)]
    assert all(count > 0 for count, _ in found)
    with Store.open(path) as store:
        assert max(last for _, last in found) <= store.generation
        assert store.generation > 10
        print(f"{sum(count for count, _ in found)} answers, {store.generation} generations in {seconds:.0f} s")
    assert all(finding.ok for finding in check(path))


def test_eight_readers_beside_a_writer_for_four_seconds(tmp_path):
    assert_readers_see_whole_generations(tmp_path / "bones.h5", 4)


@pytest.mark.slow
def test_eight_readers_beside_a_writer_for_ten_minutes(tmp_path):
    """BONEPRINT_READER_MINUTES sets another time."""
    assert_readers_see_whole_generations(tmp_path / "bones.h5", 60 * MINUTES)
