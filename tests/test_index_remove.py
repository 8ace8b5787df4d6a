"""Removal hides at once; erasure leaves no byte. Held by searching the raw bytes of every file."""

import numpy as np
import pytest
from test_index_enrolment import DIM, contents, expected, make_bone

from boneprint.errors import StoreError
from boneprint.index import Store, check, search

PICTURES = [f"PNG of view {number}".encode() for number in range(3)]
SOLID = np.random.default_rng(8).bytes(5000)


def bone(number):
    """A bone with pictures, a solid and metadata that no other bone shares."""
    made = make_bone(number, subject_id=f"person-{number:03d}", species=f"species-{number:03d}")
    pictures = tuple(b"%s of bone %03d" % (picture, number) for picture in PICTURES)
    solid = b"grid of bone %03d" % number + SOLID[number:]
    return type(made)(made.reference, made.vectors, made.angles_deg + number, pictures, solid)


def traces(made, half=False):
    """Byte strings that only this bone has: rows, halves of rows, texts, pictures, its solid."""
    vectors = made.vectors.astype(np.float16 if half else np.float32)
    reference = made.reference
    texts = (reference.bone_id, reference.subject_id, reference.source, reference.source_hash, reference.species)
    found = [text.encode() for text in texts] + list(made.pictures) + [made.angles_deg.tobytes()]
    found += [made.solid, made.solid[:20]]
    for row in vectors:
        found += [row.tobytes(), row[: DIM // 2].tobytes(), row[DIM // 2 :].tobytes()]
    return found


def files_with(folder, made, half=False):
    return [
        (path.name, trace)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        for trace in traces(made, half)
        if trace in path.read_bytes()
    ]


@pytest.fixture(params=[False, True], ids=["single precision", "half precision"])
def half(request):
    return request.param


@pytest.fixture
def path(tmp_path, half):
    """Bones 10 and 11 in the base, 12 and 13 in segments."""
    path = tmp_path / "bones.h5"
    with Store.open(path, writable=True, embedder="fake:1", dim=DIM, half=half) as store:
        store.append([bone(10), bone(11)])
        store.checkpoint()
        store.append([bone(12)])
        store.append([bone(13)])
    return path


def ids(store):
    return [reference.bone_id for reference in store.gallery().references]


def test_a_removed_bone_is_hidden_at_once_from_readers_that_are_open(path):
    with Store.open(path) as reader, Store.open(path, writable=True) as writer:
        before = reader.gallery()
        assert writer.remove(["bone-10", "bone-13"]) == 4
        assert ids(reader) == ids(writer) == ["bone-11", "bone-12"]
        assert len(before.references) == 4
        for probe in bone(10).vectors:
            assert 10 not in [
                int(reader.gallery().references[b].bone_id[5:]) for b in search(reader.gallery(), probe[None], 9).bones
            ]
        assert sorted(reference.bone_id for reference in writer.hidden) == ["bone-10", "bone-13"]
        assert all(finding.ok for finding in check(path))


def test_a_checkpoint_leaves_out_what_was_removed_and_keeps_the_rest_bit_for_bit(path, half):
    with Store.open(path, writable=True) as store:
        before = contents(store.gallery())
        store.remove(["bone-11"])
        store.checkpoint()
        assert contents(store.gallery()) == {name: before[name] for name in ("bone-10", "bone-12", "bone-13")}
        assert store.hidden == []
        assert files_with(path.parent, bone(11), half) == []


@pytest.mark.parametrize("gone", [[10], [11], [12], [10, 13], [10, 11, 12, 13]])
def test_erasing_leaves_no_byte_of_vectors_metadata_pictures_or_solids_in_any_file(path, half, gone):
    assert len(files_with(path.parent, bone(gone[0]), half)) >= len(traces(bone(gone[0]), half)), "the search can see"
    with Store.open(path, writable=True) as store:
        store.remove([f"bone-{number}" for number in gone], erase=True)
        for number in gone:
            assert files_with(path.parent, bone(number), half) == []
        kept = [bone(number) for number in range(10, 14) if number not in gone]
        assert ids(store) == [made.reference.bone_id for made in kept]
        for made in kept:
            assert files_with(path.parent, made, half) != []
    assert all(finding.ok for finding in check(path))


def test_erasing_takes_what_was_only_hidden_before_with_it(path, half):
    with Store.open(path, writable=True) as store:
        store.remove(["bone-10"])
        assert files_with(path.parent, bone(10), half) != []
        store.remove([], erase=True)
        assert files_with(path.parent, bone(10), half) == []


def test_a_removed_bone_can_be_enrolled_again(path, half):
    with Store.open(path, writable=True) as store:
        store.remove(["bone-10"])
        store.append([bone(10)])
        assert ids(store) == ["bone-11", "bone-12", "bone-13", "bone-10"]
        store.checkpoint()
        assert ids(store) == ["bone-11", "bone-12", "bone-13", "bone-10"]
        if not half:
            assert contents(store.gallery()) == expected([bone(number) for number in (11, 12, 13, 10)])


def test_a_bone_that_is_not_enrolled_cannot_be_removed(path):
    with Store.open(path, writable=True) as store:
        store.remove(["bone-10"])
        for unknown in ("bone-10", "bone-99"):
            with pytest.raises(StoreError, match=unknown):
                store.remove(["bone-11", unknown])
        assert ids(store) == ["bone-11", "bone-12", "bone-13"]
    with Store.open(path) as reader, pytest.raises(StoreError, match="writable=True"):
        reader.remove(["bone-11"])


def test_pictures_come_back_and_are_readable_with_h5py_alone(path):
    import h5py

    with Store.open(path, writable=True) as store:
        for _ in range(2):
            gallery = store.gallery()
            for at, number in enumerate(range(10, 14)):
                assert gallery.picture(int(gallery.rows.begins[at]) + 1) == bone(number).pictures[1]
            store.checkpoint()
    with h5py.File(path) as file:
        offsets = file["pictures/offsets"][()]
        assert file["pictures/data"][offsets[4] : offsets[5]].tobytes() == bone(11).pictures[1]


def test_a_gallery_without_pictures_has_none(tmp_path):
    with Store.open(tmp_path / "bones.h5", writable=True, embedder="fake:1", dim=DIM) as store:
        store.append([make_bone(0)])
        assert store.gallery().picture(0) is None
        store.append([bone(1)])
        assert [store.gallery().picture(row) for row in (2, 3)] == [None, bone(1).pictures[0]]


def solids_of(store):
    """The solid of every enrolled bone, by its id."""
    gallery = store.gallery()
    return {reference.bone_id: gallery.solid(at) for at, reference in enumerate(gallery.references)}


def test_solids_come_back_from_segments_and_base_and_are_readable_with_h5py_alone(path):
    import h5py

    enrolled = {f"bone-{number}": bone(number).solid for number in range(10, 14)}
    with Store.open(path, writable=True) as store:
        assert solids_of(store) == enrolled
        store.checkpoint()
        assert solids_of(store) == enrolled
        with pytest.raises(IndexError):
            store.gallery().solid(4)
    with h5py.File(path) as file:
        offsets = file["solids/offsets"][()]
        assert file["solids/data"][offsets[1] : offsets[2]].tobytes() == bone(11).solid


def test_bones_with_and_without_solids_live_in_one_store(tmp_path):
    """Those of a store that was begun without them stay without; a removed bone does not shift the others'."""
    with Store.open(tmp_path / "bones.h5", writable=True, embedder="fake:1", dim=DIM) as store:
        store.append([make_bone(0), make_bone(1)])
        assert solids_of(store) == {"bone-0": None, "bone-1": None}
        store.checkpoint()
        store.append([bone(2), make_bone(3), bone(4)])
        store.remove(["bone-0", "bone-2"])
        left = {"bone-1": None, "bone-3": None, "bone-4": bone(4).solid}
        for grow in (False, True):
            assert solids_of(store) == left
            store.checkpoint(grow=grow)
        store.remove(["bone-4"], erase=True)
        assert solids_of(store) == {"bone-1": None, "bone-3": None}
    assert all(finding.ok for finding in check(tmp_path / "bones.h5"))


def test_erasing_makes_the_graph_anew_without_the_bone(tmp_path):
    """1,100 bones of 50 views are more than the 50,000 up to which there is no graph."""
    bones = [make_bone(number, views=50, dim=16, spread=0.25) for number in range(1100)]
    path = tmp_path / "bones.h5"
    with Store.open(path, writable=True, embedder="fake:1", dim=16) as store:
        store.append(bones)
        store.checkpoint()
        prototypes, _ = store.gallery().graph
        cover = prototypes.cover(7)
        marks = [row.tobytes() for row in (*cover.prototypes, cover.centre)]
        assert all(mark in path.read_bytes() for mark in marks)
        store.remove(["bone-8"])
        # The graph still knows bone 8; no search does.
        hits = search(store.gallery(), bones[8].vectors[:1], 5, exact=False)
        oracle = search(store.gallery(), bones[8].vectors[:1], 5, exact=True)
        assert hits.distances[0] == oracle.distances[0] > 0
        store.remove(["bone-7"], erase=True)
        raw = path.read_bytes()
        assert not any(mark in raw for mark in marks)
        found = search(store.gallery(), bones[900].vectors[:1], 1, exact=False)
        assert store.gallery().references[found.bones[0]].bone_id == "bone-900"
        assert store.gallery().graph[0].bones == 1098
