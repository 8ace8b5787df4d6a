"""Search returns bones: held to a brute-force oracle that knows nothing of blocks, prototypes or graphs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_index_enrolment import make_bone, unit

from boneprint.errors import BoneprintError
from boneprint.index import Gallery, search
from boneprint.index.codes import Codes
from boneprint.index.exact import sweep, sweep_scattered
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


@pytest.fixture(scope="module", params=["centres", "prototypes", "graph"])
def way(request):
    """As galleries are searched where a bone has one prototype, where it has several, and where those are very many."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param != "centres":
            patch.setattr("boneprint.index.graph.WALKED_CROWDING", 1.0)
        if request.param == "graph":
            patch.setattr("boneprint.index.graph.SWEPT_PROTOTYPES", 0)
        yield


@pytest.fixture(scope="module")
def gallery(way):
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


@settings(max_examples=25, deadline=None)
@given(bone=st.integers(0, 399), count=st.integers(1, 3), k=st.integers(1, 12), seed=st.integers(0, 2**16))
def test_exact_search_is_brute_force(gallery, bone, count, k, seed):
    probes = probe_of(gallery, bone, count, seed=seed)
    assert_same(search(gallery, probes, k), brute_force(gallery, probes, k))


@settings(max_examples=40, deadline=None)
@given(bone=st.integers(0, 399), count=st.integers(1, 3), seed=st.integers(0, 2**16))
def test_the_graph_finds_the_bone_that_exact_search_finds(gallery, bone, count, seed):
    probes = probe_of(gallery, bone, count, seed=seed)
    exact = search(gallery, probes, 5, exact=True)
    hits = search(gallery, probes, 5, exact=False)
    assert hits.bones[0] == exact.bones[0]
    assert hits.distances[0] == exact.distances[0]
    if hits.certified_exact:
        assert hits.bones.tolist() == exact.bones.tolist()


def test_a_near_probe_is_certified_and_a_far_one_is_not(gallery):
    assert search(gallery, probe_of(gallery, 9, noise=0.05), 1, exact=False).certified_exact
    assert not search(gallery, unit(np.random.default_rng(1).normal(size=(1, 24))), 10, exact=False).certified_exact
    assert search(gallery, unit(np.ones((1, 24))), 10, exact=True).certified_exact


@pytest.mark.parametrize("share", [0.03, 0.5])
@pytest.mark.parametrize("exact", [True, False])
def test_only_the_subset_is_searched(gallery, share, exact):
    subset = np.random.default_rng(2).random(gallery.bones) < share
    probes = probe_of(gallery, 17, noise=0.1)
    hits = search(gallery, probes, 3, subset=subset, exact=exact)
    assert subset[hits.bones].all()
    assert_same(hits, brute_force(gallery, probes, 3, subset))


def test_bones_that_the_graph_does_not_cover_are_found_too(gallery):
    bones = [make_bone(n, views=4, dim=24) for n in range(300)]
    young = gallery_of(bones, indexed=np.arange(250))
    for bone in (3, 249, 250, 299):
        probes = probe_of(young, bone, noise=0.1)
        assert_same(search(young, probes, 4, exact=False), brute_force(young, probes, 4))
    assert young.graph[0].bones == 250


@pytest.mark.parametrize("others", [300, 0])
def test_a_stored_graph_of_other_bones_is_not_believed(others):
    bones = [make_bone(n, views=4, dim=24) for n in range(400)]

    def stored_graph():
        if not others:
            return None
        stale = gallery_of(bones[:others]).graph[0].stored()
        return PrototypeGraph.restored(*stale, bones=len(bones), dim=24)

    gallery = gallery_of(bones, indexed=np.arange(400), stored_graph=stored_graph)
    probes = probe_of(gallery, 399, noise=0.1)
    with pytest.warns(UserWarning, match="rebuilding"):
        assert_same(search(gallery, probes, 1, exact=False), brute_force(gallery, probes, 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("swept", [sweep, sweep_scattered])
def test_a_sweep_measures_each_bone_wherever_its_rows_lie(swept, dtype):
    """Oracle: float64, view by view. Rows in two files, and between them those of bones that were removed."""
    vectors = unit(np.random.default_rng(6).normal(size=(60, 24))).astype(dtype)
    begins, ends = np.array([0, 5, 20, 33, 40, 52]), np.array([5, 6, 31, 39, 52, 60])
    nothing = np.zeros(6, np.uint32), np.zeros(6, np.bool_)
    rows = Rows((Block(vectors[:33]), Block(vectors[33:])), begins, ends, *nothing)
    probes = unit(np.random.default_rng(7).normal(size=(2, 24)))
    distances = np.linalg.norm(vectors[:, None].astype(np.float64) - probes.astype(np.float64), axis=2)
    for bones in ([0, 1, 2, 3, 4, 5], [1, 4], [0, 2, 3], [5]):
        nearest = np.array([distances[begins[bone] : ends[bone]].min(axis=0) for bone in bones])
        found = swept(rows, probes, np.array(bones))
        np.testing.assert_allclose(found, np.square(nearest).mean(axis=1), atol=2e-3 if dtype == np.float16 else 1e-5)


@pytest.mark.parametrize("dim", [5, 24, 128])
@pytest.mark.parametrize("near", [0.0, 0.01, 1.0])
def test_codes_say_about_how_near_a_ball_is_and_never_that_a_point_in_it_is_farther_than_it_is(dim, near):
    """Oracle: float64, with in each ball the very point that is nearest to the probe."""
    rng = np.random.default_rng(dim)
    rows = unit(rng.normal(size=(600, dim)))
    radii = rng.uniform(0, 1, len(rows)).astype(np.float32)
    ends = np.unique([*rng.integers(1, 600, 100), 600])
    begins = np.concatenate([[0], ends[:-1]])
    codes = Codes.of([rows[:100], rows[100:]], radii)
    for row in range(0, 600, 20):
        probe = unit(rows[row] + near * rng.normal(size=dim) / np.sqrt(dim))
        distances = np.linalg.norm(rows.astype(np.float64) - probe, axis=1)
        gaps, bounds = codes.nearest(probe, begins, ends)
        np.testing.assert_allclose(gaps, np.minimum.reduceat(distances, begins), atol=0.015)
        assert (bounds <= np.minimum.reduceat(distances - radii, begins)).all()
        np.testing.assert_allclose(bounds, np.minimum.reduceat(distances - radii, begins), atol=0.03)


def test_a_restored_graph_that_grows_keeps_its_bones_and_finds_the_new_ones():
    """Oracle: the nearest of all prototypes, one by one. Bones of 48 views in all directions have eight each."""
    covers = [cover_of(make_bone(n, views=48, dim=24, spread=2.0).vectors) for n in range(600)]
    graph = PrototypeGraph.built(covers[:500], 24)
    graph = PrototypeGraph.restored(*graph.stored(), bones=500, dim=24).grown(covers[500:])
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


def test_nearest_views_are_those_of_each_probe(gallery):
    first, last = gallery.rows.begins[8], gallery.rows.ends[8] - 1
    for exact in (True, False):
        hits = search(gallery, gallery.rows.of(8)[[-1, 0]], 2, exact=exact)
        assert hits.nearest_views[0].tolist() == [last, first]
        assert (hits.bones[0], hits.distances[0]) == (8, 0.0)
        assert hits.nearest_views.shape == (2, 2)


def test_several_probes_are_fused_as_root_mean_square():
    gallery = gallery_of([make_bone(0, views=1)])
    probes = np.concatenate([gallery.rows.of(0), -gallery.rows.of(0)])
    assert search(gallery, probes, 1).distances[0] == pytest.approx(np.sqrt((0 + 2**2) / 2))


@pytest.mark.parametrize("exact", [True, False])
def test_equal_bones_come_in_the_order_of_the_gallery(exact):
    twins = [make_bone(5, views=1 + n % 3, dim=24, bone_id=str(n), spread=0) for n in range(150)]
    others = [make_bone(n, dim=24) for n in range(1000, 1100)]
    gallery = gallery_of([*others, *twins])
    hits = search(gallery, probe_of(gallery, 100, noise=0.2), 120, exact=exact)
    assert hits.bones.tolist() == list(range(100, 220))
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
