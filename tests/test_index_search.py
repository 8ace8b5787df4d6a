"""Search returns bones: held to a brute-force oracle that knows nothing of blocks, prototypes or graphs."""

import os
import subprocess
import sys
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_index_enrolment import make_bone, unit

from boneprint.errors import BoneprintError
from boneprint.index import Gallery, search
from boneprint.index.cells import Cells
from boneprint.index.codes import STEPS, Codes, decoded
from boneprint.index.exact import sweep
from boneprint.index.graph import PrototypeGraph
from boneprint.index.prototypes import cover_of
from boneprint.index.rows import Block, Rows


def gallery_of(bones, **fields):
    vectors = np.concatenate([bone.vectors for bone in bones])
    offsets = np.cumsum([0, *(len(bone.vectors) for bone in bones)], dtype=np.int64)
    angles_deg = np.concatenate([bone.angles_deg for bone in bones])
    references = tuple(bone.reference for bone in bones)
    return Gallery(references, Rows.whole(vectors, offsets), angles_deg, 1, "fake:1", **fields)


def brute_force(gallery, probes, k, subset=None):
    """(distance, bone) of the k nearest, one bone, one probe and one view after the other."""
    ranking = []
    for bone in range(gallery.bones):
        if subset is None or subset[bone]:
            views = gallery.rows.of(bone).astype(np.float64)
            nearest = [min(np.linalg.norm(view - probe) for view in views) for probe in probes.astype(np.float64)]
            ranking.append((np.sqrt(np.mean(np.square(nearest))), bone))
    return sorted(ranking)[:k]


WAYS = {
    "numpy": ("boneprint.index.compiled.INTERPRETED_SEARCHES", 10**9),
    "compiled": ("boneprint.index.compiled.INTERPRETED_SEARCHES", 0),
    "graph": ("boneprint.index.graph.SWEPT_PROTOTYPES", 0),
}


@pytest.fixture(scope="module", autouse=True)
def little_is_proved():
    """These galleries are so small that all of them would be looked at to prove an answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("boneprint.index.walk.PROOF_VIEWS", 60)
        yield


@contextmanager
def searched(way):
    """As galleries are searched first, as they are searched then, and where there are very many prototypes.

    For no longer than it takes: a module's fixture would stay in force in the tests that come after.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(*WAYS[way])
        patch.setattr("boneprint.index.graph.WALKED_CROWDING", 1.0)
        yield


@pytest.fixture(scope="module")
def gallery():
    """400 bones of 1 to 9 views: some tight, some that need many prototypes."""
    return gallery_of([make_bone(n, views=1 + n % 9, dim=24, spread=0.1 + 0.2 * (n % 5)) for n in range(400)])


def probe_of(gallery, bone, count=1, noise=0.3, seed=0):
    views = gallery.rows.of(bone)
    rng = np.random.default_rng(seed)
    chosen = views[rng.integers(len(views), size=count)]
    return unit(chosen + noise * rng.normal(size=chosen.shape) / np.sqrt(gallery.dim))


def assert_same(hits, oracle):
    np.testing.assert_allclose(hits.distances, [distance for distance, _ in oracle], atol=1e-6)
    assert hits.bones.tolist() == [bone for _, bone in oracle]


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=25, deadline=None)
@given(bone=st.integers(0, 399), count=st.integers(1, 3), k=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_exact_search_is_brute_force(gallery, way, bone, count, k, seed):
    probes = probe_of(gallery, bone, count, seed=seed)
    with searched(way):
        assert_same(search(gallery, probes, k), brute_force(gallery, probes, k))


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=40, deadline=None)
@given(bone=st.integers(0, 399), count=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_the_likeliest_are_the_bones_that_exact_search_finds(gallery, way, bone, count, seed):
    probes = probe_of(gallery, bone, count, seed=seed)
    with searched(way):
        exact = search(gallery, probes, 5, exact=True)
        hits = search(gallery, probes, 5, exact=False)
    assert hits.bones[0] == exact.bones[0]
    assert hits.distances[0] == exact.distances[0]
    if hits.certified_exact:
        assert hits.bones.tolist() == exact.bones.tolist()


@pytest.mark.parametrize("way", WAYS)
def test_a_near_probe_is_certified_and_a_far_one_is_not(gallery, way):
    far = unit(np.random.default_rng(1).normal(size=(1, 24)))
    with searched(way):
        assert search(gallery, probe_of(gallery, 9, noise=0.05), 1, exact=False).certified_exact
        assert not search(gallery, far, 10, exact=False).certified_exact
        assert search(gallery, unit(np.ones((1, 24))), 10, exact=True).certified_exact


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("share", [0.03, 0.5])
@pytest.mark.parametrize("exact", [True, False])
def test_only_the_subset_is_searched(gallery, way, share, exact):
    subset = np.random.default_rng(2).random(gallery.bones) < share
    probes = probe_of(gallery, 17, noise=0.1)
    with searched(way):
        hits = search(gallery, probes, 3, subset=subset, exact=exact)
    assert subset[hits.bones].all()
    assert_same(hits, brute_force(gallery, probes, 3, subset))


@pytest.mark.parametrize("way", WAYS)
def test_bones_that_the_index_does_not_cover_are_found_too(way):
    bones = [make_bone(n, views=4, dim=24) for n in range(300)]
    young = gallery_of(bones, indexed=np.arange(250))
    for bone in (3, 249, 250, 299):
        probes = probe_of(young, bone, noise=0.1)
        # With k of 1 none that the index covers is among the nearest, where the probe is of another.
        for k in (1, 4):
            with searched(way):
                assert_same(search(young, probes, k, exact=False), brute_force(young, probes, k))
    covered = young.graph[0].bones if way == "graph" else young.cells[0].bones
    assert covered == 250


@pytest.mark.parametrize("others", [300, 0])
def test_a_stored_graph_of_other_bones_is_not_believed(others, monkeypatch):
    bones = [make_bone(n, views=4, dim=24) for n in range(400)]

    def stored_graph():
        if not others:
            return None
        stale = gallery_of(bones[:others]).graph[0].stored()
        return PrototypeGraph.restored(*stale, bones=len(bones), views=1600, dim=24)

    gallery = gallery_of(bones, indexed=np.arange(400), stored_graph=stored_graph)
    probes = probe_of(gallery, 399, noise=0.1)
    monkeypatch.setattr("boneprint.index.graph.SWEPT_PROTOTYPES", 0)
    with pytest.warns(UserWarning, match="rebuilding"):
        assert_same(search(gallery, probes, 1, exact=False), brute_force(gallery, probes, 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_sweep_measures_each_bone_wherever_its_rows_lie(dtype):
    """Oracle: float64, view by view. Rows in two files, and between them those of bones that were removed."""
    vectors = unit(np.random.default_rng(6).normal(size=(60, 24))).astype(dtype)
    begins, ends = np.array([0, 5, 20, 33, 40, 52]), np.array([5, 6, 31, 39, 52, 60])
    nothing = np.zeros(6, np.uint32), np.zeros(6, np.bool_)
    rows = Rows((Block(vectors[:33]), Block(vectors[33:])), begins, ends, *nothing)
    probes = unit(np.random.default_rng(7).normal(size=(2, 24)))
    distances = np.linalg.norm(vectors[:, None].astype(np.float64) - probes.astype(np.float64), axis=2)
    for bones in ([0, 1, 2, 3, 4, 5], [1, 4], [0, 2, 3], [5]):
        nearest = np.array([distances[begins[bone] : ends[bone]].min(axis=0) for bone in bones])
        found = sweep(rows, probes, np.array(bones))
        np.testing.assert_allclose(found, np.square(nearest).mean(axis=1), atol=2e-3 if dtype == np.float16 else 1e-5)


@pytest.mark.parametrize("dim", [5, 24, 128])
@pytest.mark.parametrize("near", [0.0, 0.01, 1.0])
def test_codes_say_about_how_near_a_ball_is_and_never_that_a_point_in_it_is_farther_than_it_is(dim, near):
    """Oracle: float64, with in each ball the very point that is nearest to the probe."""
    rng = np.random.default_rng(dim)
    rows = unit(rng.normal(size=(600, dim)))
    radii = rng.uniform(0, 1, len(rows)).astype(np.float32)
    codes = Codes.joined([Codes.of(rows[:100], radii[:100]), Codes.of(rows[100:], radii[100:])])
    centres = decoded(rows)
    assert np.abs(rows - centres).max() <= np.abs(rows).max() / STEPS
    for row in range(0, 600, 20):
        probe = unit(rows[row] + near * rng.normal(size=dim) / np.sqrt(dim))
        distances = np.linalg.norm(centres - probe.astype(np.float64), axis=1)
        gaps, bounds = codes.compared(probe)
        np.testing.assert_allclose(gaps, distances, atol=5e-3)
        assert (bounds <= distances - radii).all()
        np.testing.assert_allclose(bounds, distances - radii, atol=5e-3)
        some = np.array([3, 4, 99, 100, 599])
        np.testing.assert_allclose(codes.compared(probe, some), (gaps[some], bounds[some]), atol=1e-6)


@settings(max_examples=40, deadline=None)
@given(views=st.integers(1, 40), spread=st.sampled_from([0.0, 0.2, 0.6, 2.0]), seed=st.integers(0, 2**16))
def test_every_view_lies_in_the_ball_of_its_cell_and_no_cell_is_empty(views, spread, seed):
    rows = make_bone(seed, views=views, dim=24, spread=spread).vectors
    cover = cover_of(rows)
    assert np.unique(cover.owners).tolist() == list(range(len(cover.radii)))
    exact = rows.astype(np.float64)
    for centres, reaches in (
        (cover.prototypes.astype(np.float64), cover.radii),
        (decoded(cover.prototypes), cover.slack),
    ):
        assert (np.linalg.norm(exact - centres[cover.owners], axis=1) <= reaches[cover.owners]).all()
    assert (np.linalg.norm(exact - cover.centre.astype(np.float64), axis=1) <= cover.reach).all()


@pytest.mark.parametrize(
    "cut", ["offsets", "view_offsets", "owners", "codes", "code_units", "code_squares", "code_slack"]
)
def test_stored_cells_come_back_and_those_that_do_not_fit_are_refused(cut):
    bones = [make_bone(n, views=1 + n % 9, dim=24, spread=0.4) for n in range(600)]
    cells = Cells.of((cover_of(bone.vectors) for bone in bones[:300]), 24)
    cells = cells.grown(cover_of(bone.vectors) for bone in bones[300:])
    again = Cells.of((cover_of(bone.vectors) for bone in bones), 24)
    stored, views = cells.stored(), sum(len(bone.vectors) for bone in bones)
    for name, array in again.stored().items():
        np.testing.assert_array_equal(stored[name], array)
    Cells.restored(stored, 3, bones=600, views=views, dim=24)
    for wrong in ({**stored, cut: stored[cut][:-1]}, {name: each for name, each in stored.items() if name != cut}):
        with pytest.raises(ValueError, match="index"):
            Cells.restored(wrong, 3, bones=600, views=views, dim=24)
    with pytest.raises(ValueError, match="version 2"):
        Cells.restored(stored, 2, bones=600, views=views, dim=24)


def kept_gallery(bones, begun=None, **fields):
    """As a store that keeps the cells of the bones that were there at its last checkpoint."""
    begun = len(bones) if begun is None else begun
    cells = Cells.of((cover_of(bone.vectors) for bone in bones[:begun]), bones[0].vectors.shape[1])
    return gallery_of(bones, indexed=np.arange(begun), stored_cells=lambda: cells, **fields)


@pytest.fixture(scope="module")
def kept():
    return kept_gallery(
        [make_bone(n, views=1 + n % 23, dim=24, spread=0.1 + 0.25 * (n % 5)) for n in range(600)], begun=560
    )


@settings(max_examples=25, deadline=None)
@given(
    bone=st.integers(0, 599),
    count=st.integers(1, 3),
    k=st.integers(1, 30),
    noise=st.sampled_from([0.0, 0.3, 1.0]),
    share=st.sampled_from([1.0, 0.6]),
    exact=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_the_compiled_loops_find_what_numpy_finds_and_certify_no_more_than_is_true(
    kept, bone, count, k, noise, share, exact, seed
):
    probes = probe_of(kept, bone, count, noise=noise, seed=seed)
    subset = np.random.default_rng(seed).random(kept.bones) < share
    found = {}
    for name in ("numpy", "compiled"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(*WAYS[name])
            found[name] = search(kept, probes, k, subset=subset, exact=exact)
    first, second = found.values()
    assert first.bones.tolist() == second.bones.tolist()
    np.testing.assert_array_equal(first.distances, second.distances)
    np.testing.assert_array_equal(first.nearest_views, second.nearest_views)
    assert first.proved_to == pytest.approx(second.proved_to, abs=1e-5)
    oracle = brute_force(kept, probes, k, subset)
    if exact:
        assert_same(second, oracle)
    for hits in (first, second):
        proved = int((hits.distances <= hits.proved_to).sum())
        np.testing.assert_allclose(hits.distances[:proved], [distance for distance, _ in oracle[:proved]], atol=1e-6)
        # Each is as far as its nearest view, also where that lies in another cell than the one it was found by.
        for bone_found, distance in zip(hits.bones[:3].tolist(), hits.distances[:3].tolist()):
            only = np.arange(kept.bones) == bone_found
            assert brute_force(kept, probes, 1, only)[0][0] == pytest.approx(distance, abs=1e-6)


def test_where_numba_cannot_keep_what_it_compiles_numpy_goes_on(kept, monkeypatch):
    asked = []

    def full(*_):
        asked.append("compiled")
        raise OSError(28, "No space left on device")

    probes = probe_of(kept, 11)
    expected = search(kept, probes, 5, exact=False)
    monkeypatch.setattr(*WAYS["compiled"])
    monkeypatch.setattr("boneprint.index.compiled._given_up", False)
    monkeypatch.setattr("boneprint.index.kernels.nearest", full)
    for _ in range(2):
        assert search(kept, probes, 5, exact=False).bones.tolist() == expected.bones.tolist()
    assert asked == ["compiled"]


def test_an_exact_answer_is_proved_without_looking_at_everything(monkeypatch):
    """Bones lie in two groups, opposite to each other: half of them is never read, and so never verified."""
    towards = np.eye(24, dtype=np.float32)[0] * 3
    bones = [make_bone(n, views=20, dim=24, spread=0.2) for n in range(400)]
    for n, bone in enumerate(bones):
        bone.vectors[:] = unit(bone.vectors + (towards if n < 100 else -towards))
    kept = kept_gallery(bones)
    kept.rows.unverified[:] = True
    kept.rows.checksums[:100] = [zlib.crc32(bone.vectors.tobytes()) for bone in bones[:100]]
    probes = probe_of(kept, 5, noise=0.1)
    monkeypatch.setattr(*WAYS["compiled"])
    hits = search(kept, probes, 3, exact=True)
    assert hits.certified_exact
    assert kept.rows.unverified[100:].all()
    kept.rows.unverified[:] = False
    assert_same(hits, brute_force(kept, probes, 3))


def test_the_first_answers_of_a_process_need_no_numba_and_later_ones_no_folder_for_it(tmp_path):
    """Where numba finds no folder to write compiled loops to, they are compiled anew."""
    script = """
import sys
import numpy as np
from test_index_search import kept_gallery, make_bone, probe_of
from boneprint.index import compiled, search
gallery = kept_gallery([make_bone(n, views=20, dim=24, spread=0.5) for n in range(300)])
probes = probe_of(gallery, 7)
first = search(gallery, probes, 5, exact=False)
assert "numba" not in sys.modules
import numba.core.caching
numba.core.caching.CacheImpl._locator_classes = []
compiled.INTERPRETED_SEARCHES = 0
later = search(gallery, probes, 5, exact=False)
assert "boneprint.index.kernels" in sys.modules
assert later.bones.tolist() == first.bones.tolist()
"""
    paths = [str(Path(__file__).parent), *sys.path]
    # How fast they are does not matter here; not optimised they are compiled in three quarters of the time.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "NUMBA_OPT": "0"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, cwd=tmp_path)


def test_a_restored_graph_that_grows_keeps_its_bones_and_finds_the_new_ones():
    """Oracle: the nearest of all prototypes, one by one. Bones of 48 views in all directions have eight each."""
    covers = [cover_of(make_bone(n, views=48, dim=24, spread=2.0).vectors) for n in range(600)]
    graph = PrototypeGraph.built(covers[:500], 24)
    graph = PrototypeGraph.restored(*graph.stored(), bones=500, views=500 * 48, dim=24).grown(covers[500:])
    assert graph.crowding == 4
    found = []
    for n, cover in enumerate(covers):
        np.testing.assert_array_equal(graph.cover(n).prototypes, cover.prototypes)
        probe = unit(cover.prototypes[:1] + 0.05)
        nearest = min(range(600), key=lambda m: np.linalg.norm(covers[m].prototypes - probe, axis=1).min())
        bones, gaps = graph.walked(probe, 2, share=1.0)
        found.append(nearest in bones)
        for bone, gap in zip(bones.tolist(), gaps.tolist()):
            assert gap >= np.linalg.norm(covers[bone].prototypes - probe, axis=1).min() - 1e-3
    assert np.mean(found[:500]) > 0.99
    assert np.mean(found[500:]) > 0.99


@pytest.mark.parametrize("way", WAYS)
def test_nearest_views_are_those_of_each_probe(gallery, way):
    first, last = gallery.rows.begins[8], gallery.rows.ends[8] - 1
    for exact in (True, False):
        with searched(way):
            hits = search(gallery, gallery.rows.of(8)[[-1, 0]], 2, exact=exact)
        assert hits.nearest_views[0].tolist() == [last, first]
        assert (hits.bones[0], hits.distances[0]) == (8, 0.0)
        assert hits.nearest_views.shape == (2, 2)


def test_several_probes_are_fused_as_root_mean_square():
    gallery = gallery_of([make_bone(0, views=1)])
    probes = np.concatenate([gallery.rows.of(0), -gallery.rows.of(0)])
    assert search(gallery, probes, 1).distances[0] == pytest.approx(np.sqrt((0 + 2**2) / 2))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("k", [20, 120])
def test_equal_bones_come_in_the_order_of_the_gallery(way, exact, k):
    """With k of 20 there are bones enough that not all of them are looked at one by one."""
    twins = [make_bone(5, views=1 + n % 3, dim=24, bone_id=str(n), spread=0) for n in range(150)]
    others = [make_bone(n, dim=24) for n in range(1000, 1100)]
    gallery = gallery_of([*others, *twins])
    with searched(way):
        hits = search(gallery, probe_of(gallery, 100, noise=0.2), k, exact=exact)
    assert hits.bones.tolist() == list(range(100, 100 + k))
    assert len(set(hits.distances.tolist())) == 1


@pytest.mark.parametrize("exact", [True, False, None])
def test_more_than_there_are_gives_all(gallery, exact):
    hits = search(gallery, probe_of(gallery, 1), 1000, exact=exact)
    assert sorted(hits.bones.tolist()) == list(range(400))
    assert (np.diff(hits.distances) >= 0).all()
    assert hits.certified_exact


GOOD = unit(np.ones((1, 24)))


@pytest.mark.parametrize(
    ("probes", "k", "subset", "said"),
    [
        (GOOD, 0, None, "k is 0"),
        (GOOD[:, :8], 1, None, "(P, 24)"),
        (GOOD[0], 1, None, "(P, 24)"),
        (GOOD[:0], 1, None, "(P, 24)"),
        (GOOD.astype(np.float64), 1, None, "float32"),
        (GOOD * np.float32(2), 1, None, "expected 1 within"),
        (GOOD * np.float32("nan"), 1, None, "NaN"),
        (GOOD, 1, np.ones(3, bool), "bool (400,)"),
        (GOOD, 1, np.zeros(400, bool), "left by the filter"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_in_one_line(gallery, probes, k, subset, said):
    with pytest.raises(BoneprintError) as refusal:
        search(gallery, probes, k, subset=subset)
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_an_empty_gallery_says_to_ingest_first():
    empty = np.zeros((0, 24), np.float32)
    gallery = Gallery((), Rows.whole(empty, np.zeros(1, np.int64)), np.zeros(0, np.float32), 0, "fake:1")
    with pytest.raises(BoneprintError, match="`boneprint ingest` first"):
        search(gallery, GOOD, 1)


def test_a_gallery_whose_shapes_disagree_is_refused(gallery):
    with pytest.raises(BoneprintError, match="expected N references"):
        Gallery(gallery.references[1:], gallery.rows, gallery.angles_deg, 1, "fake:1")
