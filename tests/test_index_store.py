"""The store: what goes in comes out, on every generation, for every reader; and what is no store is refused."""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_index_enrolment import DIM, contents, expected, make_bone

from boneprint.errors import StoreError
from boneprint.index import Store, check
from boneprint.index.segment import identity_of, read_segment
from boneprint.index.small import Layouts
from boneprint.index.write import Content, write_segment

EMBEDDER = "fake:1"


def write(path, *appends):
    with Store.open(path, writable=True, embedder=EMBEDDER, dim=DIM) as store:
        for bones in appends:
            store.append(bones)


def read(path):
    with Store.open(path) as store:
        return store.gallery()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "bones.h5"


# File names may hold bytes that are no UTF-8 (PEP 383); NUL is refused (see test_index_enrolment).
names = st.text(st.characters(codec="utf-8", exclude_characters="\0") | st.sampled_from("\udc80\udcff"), max_size=12)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "subject_id": names,
                "bone": names,
                "laterality": st.none() | names.filter(bool),
                "source": names,
                "source_hash": names,
                "part": names,
                "canvas_mm": st.floats(allow_nan=False),
            }
        ),
        min_size=1,
        max_size=6,
    )
)
def test_any_references_come_back_as_they_went_in(references):
    bones = [make_bone(number, views=1 + number, **fields) for number, fields in enumerate(references)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bones.h5"
        write(path, bones[:1], bones[1:])
        assert contents(read(path)) == expected(bones)
        with Store.open(path, writable=True) as store:
            store.checkpoint()
        assert contents(read(path)) == expected(bones)


def test_bones_stay_bit_for_bit_and_in_order_through_append_reopen_and_checkpoint(path):
    bones = [make_bone(number, views=1 + number % 4) for number in range(12)]
    write(path, bones[:5], bones[5:6])
    with Store.open(path, writable=True, embedder=EMBEDDER) as store:
        assert (store.generation, store.pending) == (2, 2)
        assert store.checkpoint() == 2
        assert store.pending == 0
        assert store.append(bones[6:]) == 3
        assert contents(store.gallery()) == expected(bones)
        store.checkpoint()
    gallery = read(path)
    assert contents(gallery) == expected(bones)
    assert [reference.bone_id for reference in gallery.references] == [bone.reference.bone_id for bone in bones]
    assert (gallery.generation, gallery.embedder, gallery.dim) == (3, EMBEDDER, DIM)
    assert ("0" * 63 + "7", "whole") in gallery.enrolled
    assert len(gallery.enrolled) == 12


def test_at_rest_a_store_is_one_file_that_any_hdf5_reader_opens(path):
    write(path, [make_bone(0), make_bone(1)])
    with Store.open(path, writable=True) as store:
        store.checkpoint()
    left = {entry.name for entry in path.parent.iterdir()}
    assert left - {"bones.h5-lock"} == {"bones.h5"}
    with h5py.File(path) as file:
        assert file["vectors"].shape == (6, DIM)
        assert file["references/source"].asstr()[1] == "/ct/Größe 1"
        assert file["angles_deg"].attrs["units"] == "degree"
        assert file["references/canvas_mm"].attrs["units"] == "mm"


def test_a_gallery_never_changes_and_the_next_one_is_new(path):
    first, second = make_bone(0), make_bone(1)
    write(path, [first])
    with Store.open(path) as reader, Store.open(path, writable=True) as writer:
        for merge in (False, True):
            before = reader.gallery()
            assert reader.gallery() is before
            writer.append([second] if not merge else [make_bone(2)])
            if merge:
                writer.checkpoint()
            after = reader.gallery()
            assert after.generation == before.generation + 1
            assert len(contents(before)) == len(contents(after)) - 1
        assert contents(before) == expected([first, second])
        with pytest.raises(ValueError, match="read-only"):
            after.rows.of(0)[0] = 0


def test_readers_see_whole_generations_only_while_a_writer_appends_and_checkpoints(path):
    write(path, [make_bone(0)])
    script = (
        "import sys; sys.path.insert(0, sys.argv[2])\n"
        "from test_index_enrolment import make_bone\n"
        "from boneprint.index import Store\n"
        "with Store.open(sys.argv[1], writable=True) as store:\n"
        "    for number in range(1, 40):\n"
        "        store.append([make_bone(2 * number), make_bone(2 * number + 1)])\n"
        "        if number % 3 == 0: store.checkpoint()\n"
    )
    with (
        subprocess.Popen([sys.executable, "-c", script, str(path), str(Path(__file__).parent)]) as writer,
        Store.open(path) as reader,
    ):
        generation = 0
        while writer.poll() is None:
            gallery = reader.gallery()
            assert gallery.bones == 2 * gallery.generation - 1
            assert gallery.generation >= generation
            generation = gallery.generation
        assert writer.returncode == 0
        assert contents(reader.gallery()) == expected([make_bone(n) for n in [0, *range(2, 80)]])


def test_a_second_writer_is_told_who_the_first_one_is(path):
    script = "import sys; from boneprint.index import Store\nStore.open(sys.argv[1], writable=True)"
    with Store.open(path, writable=True, embedder=EMBEDDER, dim=DIM) as first:
        with pytest.raises(StoreError, match=f"pid {os.getpid()} on "):
            Store.open(path, writable=True, embedder=EMBEDDER)
        second = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
        assert "being written by pid" in second.stderr
        first.append([make_bone(0)])
    with Store.open(path, writable=True, embedder=EMBEDDER) as next_one:
        assert next_one.generation == 1


def test_nothing_to_append_makes_no_generation(path):
    with Store.open(path, writable=True, embedder=EMBEDDER, dim=DIM) as store:
        assert store.append([]) == 0
        assert store.checkpoint() == 0


def test_a_store_opened_for_reading_or_closed_is_not_written(path):
    write(path, [make_bone(0)])
    with Store.open(path) as reader, pytest.raises(StoreError, match="writable=True"):
        reader.append([make_bone(1)])
    with pytest.raises(StoreError, match="closed"):
        reader.gallery()


def test_a_full_disk_is_said_in_one_line_and_costs_nothing_that_was_stored(path):
    with Store.open(path, writable=True, embedder=EMBEDDER, dim=DIM) as store:
        store.append([make_bone(0)])
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        try:
            for room in (0, 100, 8_192, 9_000):
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
                with pytest.raises(StoreError, match="could not be written") as refusal:
                    store.append([make_bone(1, views=2000)])
                assert "\n" not in str(refusal.value)
                with pytest.raises(StoreError, match="could not be written"):
                    store.checkpoint()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert contents(store.gallery()) == expected([make_bone(0)])
        assert store.append([make_bone(1)]) == 2
    assert contents(read(path)) == expected([make_bone(0), make_bone(1)])


def test_an_append_that_failed_at_its_last_step_has_happened_and_is_not_overwritten(path, monkeypatch):
    with Store.open(path, writable=True, embedder=EMBEDDER, dim=DIM) as store:
        store.append([make_bone(0)])
        steps = iter([None, OSError("the folder cannot be made durable")])

        def fsync(descriptor):
            if failure := next(steps):
                raise failure

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fsync)
            with pytest.raises(StoreError, match="cannot be made durable"):
                store.append([make_bone(1)])
        with pytest.raises(StoreError, match="enrolled already"):
            store.append([make_bone(1)])
        assert store.append([make_bone(2)]) == 3
        assert contents(store.gallery()) == expected([make_bone(n) for n in range(3)])


def foreign_hdf5(path):
    with h5py.File(path, "w") as file:
        file["vectors"] = np.zeros((3, DIM), np.float32)


def newer_format(path):
    write(path, [make_bone(0)])
    path.write_bytes(path.read_bytes().replace(b"store, format 2\n", b"store, format 3\n", 1))


def cut_short(path):
    write(path, [make_bone(0)])
    path.write_bytes(path.read_bytes()[:-100])


def cut_very_short(path):
    write(path, [make_bone(0)])
    path.write_bytes(path.read_bytes()[:300])


def lost_segment(path):
    write(path, [make_bone(0)], [make_bone(1)])
    (path.parent / "bones.h5-wal" / "0000000001.h5").unlink()


def lost_base(path):
    write(path, [make_bone(0)])
    path.unlink()


def foreign_segment(path):
    write(path, [make_bone(0)])
    other = path.with_name("other.h5")
    write(other, [make_bone(0)])
    shutil.copytree(other.with_name("other.h5-wal"), path.with_name("bones.h5-wal"), dirs_exist_ok=True)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.write_text("bones\n"), "no boneprint store"),
        (lambda path: path.write_bytes(b""), "an empty file"),
        (lambda path: path.mkdir(), "cannot be read"),
        (foreign_hdf5, "an HDF5 file, but no boneprint store"),
        (newer_format, "Upgrade boneprint"),
        (cut_short, "damaged"),
        (cut_very_short, "damaged"),
        (lost_segment, "0000000001.h5 is missing"),
        (lost_base, "holds segments that belong to it"),
        (foreign_segment, "Move this file away"),
    ],
)
def test_what_is_no_whole_store_is_refused_in_one_line_with_a_way_out(path, spoil, said):
    spoil(path)
    for writable in (False, True):
        with pytest.raises(StoreError) as refusal:
            Store.open(path, writable=writable)
        message = str(refusal.value)
        assert str(path) in message
        assert "\n" not in message
        assert said in message
        said = said if path.exists() or spoil is lost_base else "embedder"
    assert not all(finding.ok for finding in check(path))


@pytest.mark.parametrize("writable", [False, True])
def test_a_store_of_another_embedder_is_refused_naming_both(path, writable):
    write(path, [make_bone(0)])
    with pytest.raises(StoreError, match=r"made by fake:1, expected fake:2; .* `boneprint reindex") as refusal:
        Store.open(path, writable=writable, embedder="fake:2")
    assert "\n" not in str(refusal.value)


def test_a_new_store_does_not_adopt_the_segments_of_a_lost_one(path):
    lost_base(path)
    with pytest.raises(StoreError, match="move that folder away"):
        Store.open(path, writable=True, embedder="fake:2", dim=DIM)


def test_no_heavy_library_is_loaded():
    script = "import sys, boneprint.index; print(*{'torch', 'scipy', 'pydicom'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), names, st.none() | names.filter(bool)), min_size=2, max_size=5), st.booleans()
)
def test_a_small_segment_is_byte_for_byte_the_file_that_hdf5_writes(bones, half):
    """Oracle: h5py. Of three segments, the first is laid out by libhdf5 and the others are copies."""
    layouts = Layouts()
    empty = Content("store", EMBEDDER, DIM, half, generation=0)
    with tempfile.TemporaryDirectory() as folder:
        for generation in (1, 2, 3):
            some = [
                make_bone(10 * generation + n, views=views, subject_id=subject, notes=notes)
                for n, (views, subject, notes) in enumerate(bones)
            ]
            content = replace(
                empty,
                generation=generation,
                references=[bone.reference for bone in some],
                vectors=[bone.vectors for bone in some],
                counts=np.array([len(bone.vectors) for bone in some]),
                angles_deg=np.concatenate([bone.angles_deg for bone in some]),
            )
            path, oracle = Path(folder) / f"{generation}.h5", Path(folder) / "oracle.h5"
            written = layouts.written(content)
            written.write(path)
            write_segment(oracle, content)
            assert path.read_bytes() == oracle.read_bytes()
            ours, read = written.segment(path, identity_of(path)), read_segment(path)
            np.testing.assert_array_equal(ours.block.rows, read.block.rows)
            np.testing.assert_array_equal(ours.offsets, read.offsets)
            np.testing.assert_array_equal(ours.angles_deg, read.angles_deg)
            for name in ("identity", "store_id", "embedder", "generation", "references", "removed", "outdated"):
                assert getattr(ours, name) == getattr(read, name)
            assert ours.block.rows.dtype == read.block.rows.dtype
            ours.verify_all()


def test_what_is_not_small_and_plain_is_left_to_hdf5():
    layouts = Layouts()
    empty = Content("store", EMBEDDER, DIM, False, generation=1)
    assert layouts.written(replace(empty, removed=["bone-1"])) is None
    for views, solids in ((600, ()), (3, [b"solid"])):
        bone = make_bone(1, views=views)
        content = replace(
            empty,
            references=[bone.reference],
            vectors=[bone.vectors],
            counts=np.array([views]),
            angles_deg=bone.angles_deg,
            solids=solids,
        )
        assert layouts.written(content) is None
