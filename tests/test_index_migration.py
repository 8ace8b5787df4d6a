"""Stores of older formats open, are written to, and become the present format at a checkpoint."""

import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_index_enrolment import DIM, contents, expected, make_bone

from boneprint.index import Store, check, search

# Written by boneprint 0.1.0 (commit c1b34b3): bones 0 and 1 in the base, bone 2 in a pending segment.
FORMAT_1 = Path(__file__).parent / "stores" / "format-1.zip"


@pytest.fixture
def path(tmp_path):
    with zipfile.ZipFile(FORMAT_1) as packed:
        packed.extractall(tmp_path)
    return tmp_path / "bones.h5"


def version_of(path):
    with h5py.File(path) as file:
        return int(file.attrs["format_version"])


def test_a_store_of_format_1_is_read_as_it_was_written(path):
    assert version_of(path) == 1
    before = path.read_bytes()
    with Store.open(path, embedder="fake:1") as store:
        gallery = store.gallery()
    assert contents(gallery) == expected(map(make_bone, range(3)))
    assert [reference.species for reference in gallery.references] == [None] * 3
    assert [gallery.solid(bone) for bone in range(3)] == [None] * 3
    assert not gallery.tilts_deg.any()
    assert search(gallery, make_bone(2).vectors[:1], 1).bones.tolist() == [2]
    assert all(finding.ok for finding in check(path))
    assert path.read_bytes() == before


def test_it_is_added_to_and_removed_from_and_a_checkpoint_brings_it_to_the_present_format(path):
    with Store.open(path, writable=True, embedder="fake:1", dim=DIM) as store:
        store.append([make_bone(3, species="human")])
        store.remove(["bone-1"])
        left = expected([make_bone(0), make_bone(2), make_bone(3, species="human")])
        assert contents(store.gallery()) == left
        store.checkpoint()
        assert contents(store.gallery()) == left
    assert version_of(path) == 2
    assert all(finding.ok for finding in check(path))


def test_a_checkpoint_alone_brings_an_old_base_to_the_present_format(path):
    with Store.open(path, writable=True) as store:
        store.checkpoint()
        assert version_of(path) == 2
        before = path.read_bytes()
        store.checkpoint()
        assert path.read_bytes() == before


def test_a_damaged_store_of_format_1_is_refused(path):
    raw = bytearray(path.read_bytes())
    rng = np.random.default_rng(3)
    for position in rng.integers(len(raw), size=100).tolist():
        raw[position] ^= 8
        path.write_bytes(raw)
        assert not all(finding.ok for finding in check(path)), position
        raw[position] ^= 8
