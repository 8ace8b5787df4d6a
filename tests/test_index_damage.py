"""Damage: no flipped bit goes unseen, none crashes the process, and the graph is only a cache."""

import shutil
import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from test_index_enrolment import DIM, contents, expected, make_bone, unit

from boneprint.errors import StoreError
from boneprint.index import Store, check, search
from boneprint.index.cells import STORED_CELLS

FLIPS = 300


def flip(path, position, bit=0):
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1 << bit]))


def place_of(path, dataset):
    """Offset and length of a dataset, from the seal: plain text in front of the HDF5 data."""
    for line in path.read_bytes()[:8192].decode().splitlines():
        if line.startswith("part ") and line.endswith(f" {dataset}"):
            return [int(number) for number in line.split()[1:3]]
    raise KeyError(dataset)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "bones.h5"
    with Store.open(path, writable=True, embedder="fake:1", dim=DIM) as store:
        store.append([make_bone(0), make_bone(1)])
        store.checkpoint()
        store.append([make_bone(2)])
    return path


@pytest.mark.parametrize("name", ["bones.h5", "bones.h5-wal/0000000002.h5"])
def test_every_flipped_bit_of_a_small_store_is_refused_and_reported(path, name):
    victim = path.parent / name
    whole = victim.read_bytes()
    rng = np.random.default_rng(1)
    # Half of them in the seal's text and the last kilobytes, where the columns lie.
    positions = np.concatenate([rng.integers(len(whole), size=FLIPS // 2), rng.integers(1500, size=FLIPS // 2)])
    for position in positions.tolist():
        flip(victim, position, bit=int(rng.integers(8)))
        with pytest.raises(StoreError) as refusal:
            Store.open(path)
        assert "\n" not in str(refusal.value)
        assert any(not finding.ok and finding.file == victim for finding in check(path)), position
        victim.write_bytes(whole)
    assert all(finding.ok for finding in check(path))


@pytest.mark.parametrize("name", ["bones.h5", "bones.h5-wal/0000000002.h5"])
def test_every_cut_file_is_refused_and_reported(path, name):
    victim = path.parent / name
    whole = victim.read_bytes()
    for length in np.random.default_rng(2).integers(len(whole), size=FLIPS // 3).tolist():
        victim.write_bytes(whole[:length])
        with pytest.raises(StoreError) as refusal:
            Store.open(path)
        assert "\n" not in str(refusal.value)
        assert any(not finding.ok and finding.file == victim for finding in check(path)), length


@pytest.mark.parametrize("dataset", ["vectors", "angles_deg", "offsets", "references/bone_id", "references/canvas_mm"])
def test_the_check_names_the_damaged_dataset(path, dataset):
    offset, length = place_of(path, dataset)
    flip(path, offset + length // 2)
    (finding,) = [finding for finding in check(path) if not finding.ok]
    assert dataset in finding.message
    assert "backup" in finding.message


def test_the_check_tells_what_is_in_order_and_what_is_left_over(path):
    (path.parent / "bones.h5.tmp").write_bytes(b"half a base")
    findings = check(path)
    assert [finding.ok for finding in findings] == [True, True, True]
    assert "2 bones, 6 views" in findings[0].message
    assert "left over" in findings[2].message
    with Store.open(path, writable=True) as store:
        assert len(store.check()) == 2


def test_a_checkpoint_does_not_carry_damaged_vectors_on(path):
    with Store.open(path, writable=True) as store:
        flip(path, place_of(path, "vectors")[0])
        with pytest.raises(StoreError, match="vectors does not match its checksum"):
            store.checkpoint()


def test_a_damaged_solid_is_an_error_when_it_is_fetched_and_a_finding_of_the_check(tmp_path):
    """More than 32 MiB of them are not read when a store is opened; the others are served beside the damaged one."""
    path = tmp_path / "bones.h5"
    grids = [np.random.default_rng(number).bytes(9 * 2**20) for number in range(4)]
    with Store.open(path, writable=True, embedder="fake:1", dim=DIM) as store:
        store.append([replace(make_bone(number), solid=grid) for number, grid in enumerate(grids)])
        store.checkpoint()
    offset, length = place_of(path, "solids/data")
    assert length == sum(map(len, grids)) > 32 * 2**20
    flip(path, offset + len(grids[0]) + 1234)
    with Store.open(path, writable=True) as store:
        gallery = store.gallery()
        assert [gallery.solid(bone) for bone in (0, 2, 3)] == [grids[0], grids[2], grids[3]]
        with pytest.raises(StoreError, match=r"solids/data \(number 2\) does not match its checksum"):
            gallery.solid(1)
        # It is not carried on either.
        store.append([make_bone(4)])
        with pytest.raises(StoreError, match="solids/data does not match its checksum"):
            store.checkpoint()
    (finding,) = [finding for finding in check(path) if not finding.ok]
    assert "solids/data" in finding.message


@pytest.mark.parametrize("dataset", ["solids/data", "solids/offsets", "solids/checksums"])
def test_damaged_solids_of_a_small_store_are_found_when_it_is_opened(tmp_path, dataset):
    path = tmp_path / "bones.h5"
    with Store.open(path, writable=True, embedder="fake:1", dim=DIM) as store:
        store.append([replace(make_bone(0), solid=b"a grid"), make_bone(1)])
        store.checkpoint()
    flip(path, place_of(path, dataset)[0] + 1)
    with pytest.raises(StoreError, match=dataset):
        Store.open(path)
    (finding,) = [finding for finding in check(path) if not finding.ok]
    assert dataset in finding.message


# The graph: 1,200 bones of 56 views are more than the 50,000 up to which all are looked at, and, for exact search, more
# than one block.
BONES, VIEWS, WIDTH = 1200, 56, 32


def many_bones():
    return [make_bone(number, views=VIEWS, dim=WIDTH, spread=0.25) for number in range(BONES)]


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "bones.h5"
    with Store.open(path, writable=True, embedder="fake:1", dim=WIDTH) as store:
        store.append(many_bones())
        store.checkpoint()
    return path


@pytest.fixture
def large_copy(large, tmp_path):
    return shutil.copy(large, tmp_path / "bones.h5")


def probes_of(gallery, bones):
    rng = np.random.default_rng(4)
    views = np.stack([gallery.rows.of(bone)[VIEWS // 2] for bone in bones])
    return unit(views + 0.5 * rng.normal(size=views.shape) / np.sqrt(WIDTH))


def assert_finds_what_exact_search_finds(gallery, count=60):
    for bone, probe in zip(range(0, BONES, BONES // count), probes_of(gallery, np.arange(0, BONES, BONES // count))):
        exact = search(gallery, probe[None], 3, exact=True)
        hits = search(gallery, probe[None], 3)
        assert hits.bones[0] == exact.bones[0] == bone
        assert hits.distances[0] == exact.distances[0]
        assert hits.nearest_views[0] == exact.nearest_views[0]


def test_a_large_gallery_is_searched_by_its_stored_graph_with_the_same_best_bone(large):
    with Store.open(large) as store, warnings.catch_warnings():
        warnings.simplefilter("error")
        gallery = store.gallery()
        assert not gallery.rows.of(0).flags.owndata
        assert_finds_what_exact_search_finds(gallery)
    assert contents(gallery) == expected(many_bones())


def test_pending_bones_are_found_beside_the_graph_and_then_in_it(large_copy):
    late = make_bone(BONES, views=VIEWS, dim=WIDTH)
    with Store.open(large_copy, writable=True) as store:
        store.append([late])
        for _ in range(2):
            assert search(store.gallery(), late.vectors[:1], 1).bones.tolist() == [BONES]
            # One bone among 1,200 is not worth an index of its own yet.
            assert not store.worth_merging
            store.checkpoint()
        assert store.gallery().graph[0].bones == BONES + 1
        assert_finds_what_exact_search_finds(store.gallery(), count=6)


def test_an_index_that_grew_with_every_checkpoint_finds_what_exact_search_finds(tmp_path):
    path, bones = tmp_path / "bones.h5", many_bones()
    with Store.open(path, writable=True, embedder="fake:1", dim=WIDTH) as store:
        for first, last in pairwise([0, 1000, 1001, 1100, BONES]):
            store.append(bones[first:last])
            store.checkpoint(grow=True)
            assert store.gallery().graph[0].bones == last
        assert_finds_what_exact_search_finds(store.gallery())
        # An index cannot shrink: without this bone it is made anew.
        store.remove(["bone-7"])
        store.checkpoint(grow=True)
        assert store.gallery().graph[0].bones == BONES - 1
    assert [finding.ok for finding in check(path)] == [True]


@pytest.mark.parametrize(
    "dataset", ["codes", "owners", "code_slack", "hnsw_data_level0", "hnsw_link_lists", "centres", "radii"]
)
def test_a_damaged_graph_is_rebuilt_with_a_warning_and_mended_by_a_checkpoint(large_copy, dataset, monkeypatch):
    if dataset not in STORED_CELLS:
        # As where there are so many prototypes that the graph is walked.
        monkeypatch.setattr("boneprint.index.graph.SWEPT_PROTOTYPES", 0)
    offset, length = place_of(large_copy, f"graph/{dataset}")
    flip(large_copy, offset + length // 2)
    assert [finding.ok for finding in check(large_copy)] == [False]
    with Store.open(large_copy) as store:
        gallery = store.gallery()
        with pytest.warns(UserWarning, match=f"graph/{dataset}.*rebuilding"):
            search(gallery, gallery.rows.of(0)[:1], 1)
        assert_finds_what_exact_search_finds(gallery, count=6)
    with Store.open(large_copy, writable=True) as store:
        store.checkpoint()
    assert [finding.ok for finding in check(large_copy)] == [True]


def test_the_same_bones_make_the_same_graph(large, tmp_path):
    twin = tmp_path / "bones.h5"
    with Store.open(twin, writable=True, embedder="fake:1", dim=WIDTH) as store:
        store.append(many_bones()[:1100])
        store.checkpoint()
        store.append(many_bones()[1100:])
        store.checkpoint()
    for dataset in (
        "vectors",
        "graph/radii",
        "graph/owners",
        "graph/codes",
        "graph/hnsw_data_level0",
        "graph/hnsw_link_lists",
    ):
        first, second = ((offset, path) for path in (large, twin) for offset in [place_of(path, dataset)])
        assert _bytes(*first) == _bytes(*second)


def _bytes(place, path):
    offset, length = place
    return path.read_bytes()[offset : offset + length]


def dataset_at(whole, position):
    """The dataset that this byte belongs to; empty in the file's structure."""
    for line in whole[:8192].decode().splitlines():
        if line.startswith("part "):
            _, offset, length, *_, name = line.split()
            if 0 <= position - int(offset) < int(length):
                return name
    return ""


def answered(path, probes):
    """The nearest bone to each probe, and whether a warning said that the index is made anew."""
    with Store.open(path) as store, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        gallery = store.gallery()
        nearest = [int(search(gallery, probe[None], 1).bones[0]) for probe in probes]
    return nearest, any("rebuilding" in str(warning.message) for warning in told)


def assert_damage_is_said_or_harmless(path, seed, rounds):
    """Flips anywhere in a store with a graph: an error, or a warning and the right answer; and the check sees it.

    Up to 500,000 prototypes a search does not read the graph over them, nor the balls that go with it. Damage there is
    said by the first search that would.
    """
    whole = path.read_bytes()
    rng = np.random.default_rng(seed)
    asked = np.array([3, 700, 1199])
    with Store.open(path) as store:
        probes = probes_of(store.gallery(), asked)
    said = {"refused": 0, "answered": 0}
    for position in rng.integers(len(whole), size=rounds).tolist():
        flip(path, position, bit=int(rng.integers(8)))
        assert not all(finding.ok for finding in check(path)), position
        dataset = dataset_at(whole, position)
        unread = dataset.startswith("graph/") and dataset.removeprefix("graph/") not in STORED_CELLS
        try:
            answer, warned = answered(path, probes)
            if unread:
                assert (answer, warned) == (asked.tolist(), False)
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr("boneprint.index.graph.SWEPT_PROTOTYPES", 0)
                    answer, warned = answered(path, probes)
        except StoreError as refusal:
            said["refused"] += "\n" not in str(refusal)
        else:
            assert answer == asked.tolist()
            said["answered"] += warned
        path.write_bytes(whole)
    assert sum(said.values()) == rounds
    print(said)


def test_damage_anywhere_in_a_store_with_a_graph_is_said(large_copy):
    assert_damage_is_said_or_harmless(large_copy, seed=1, rounds=6)


@pytest.mark.slow
def test_two_hundred_flips_in_a_store_with_a_graph_are_said(large_copy):
    assert_damage_is_said_or_harmless(large_copy, seed=2, rounds=200)


def test_damaged_rows_of_a_very_large_store_are_found_before_they_are_used(tmp_path):
    """More than 32 MiB of vectors are not read when the store is opened, but bone by bone as they are searched."""
    path = tmp_path / "bones.h5"
    bones = [make_bone(number, views=100, dim=128, spread=0.3) for number in range(680)]
    with Store.open(path, writable=True, embedder="fake:1", dim=128) as store:
        store.append(bones)
        store.checkpoint()
    offset, length = place_of(path, "vectors")
    assert length > 32 * 2**20
    flip(path, offset + 4 * 128 * 100 * 350 + 77)
    with Store.open(path) as store:
        gallery = store.gallery()
        assert search(gallery, bones[5].vectors[:1], 1).bones.tolist() == [5]
        for exact in (True, False):
            with pytest.raises(StoreError, match=r"bone 351\) does not match its checksum"):
                search(gallery, bones[350].vectors[:1], 1, exact=exact)
    (finding,) = check(path)
    assert "vectors" in finding.message
