"""What may enter a store. Other tests of the index take their bones from here."""

from dataclasses import replace

import numpy as np
import pytest

from boneprint.errors import StoreError
from boneprint.index import Store
from boneprint.nouns import Enrolment, Reference

DIM = 8


def unit(rows):
    rows = np.asarray(rows, dtype=np.float64)
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def make_bone(number, views=3, dim=DIM, spread=0.3, **reference):
    """A bone that is a pure function of its number."""
    rng = np.random.default_rng(number)
    known = {
        "bone_id": f"bone-{number}",
        "subject_id": f"subject-{number // 2}",
        "bone": "femur",
        "laterality": [None, "L", "R"][number % 3],
        "source": f"/ct/Größe {number}",
        "source_hash": f"{number:064x}",
        "part": "whole",
        "canvas_mm": 480.0 + number,
    }
    vectors = unit(rng.normal(size=dim) + spread * rng.normal(size=(views, dim)))
    angles_deg = np.linspace(-20, 20, views, dtype=np.float32)
    return Enrolment(Reference(**(known | reference)), vectors, angles_deg)


def make_full_bone(number, **options):
    """Likewise, with everything that a store can keep of a bone."""
    made = make_bone(number, species="human", quality=f'{{"cut": {number}}}', notes=f"note {number}", **options)
    pictures = tuple(b"PNG %d of bone %d" % (view, number) for view in range(len(made.vectors)))
    tilts_deg = np.linspace(-6, 6, len(made.vectors), dtype=np.float32)
    solid = np.random.default_rng(number).bytes(2000)
    return replace(made, pictures=pictures, solid=solid, tilts_deg=tilts_deg)


def contents(gallery):
    """Everything about each bone, by its id, in comparable form."""
    return {
        reference.bone_id: (
            reference,
            gallery.rows.of(bone).tobytes(),
            gallery.angles_deg[a:b].tobytes(),
            [gallery.direction(view)[1] for view in range(a, b)],
            [gallery.picture(row) for row in range(a, b)],
            gallery.solid(bone),
        )
        for bone, (reference, a, b) in enumerate(zip(gallery.references, gallery.rows.begins, gallery.rows.ends))
    }


def expected(bones):
    return {
        bone.reference.bone_id: (
            bone.reference,
            bone.vectors.tobytes(),
            bone.angles_deg.tobytes(),
            [0.0] * len(bone.vectors) if bone.tilts_deg is None else bone.tilts_deg.tolist(),
            list(bone.pictures) or [None] * len(bone.vectors),
            bone.solid or None,
        )
        for bone in bones
    }


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "bones.h5", writable=True, embedder="fake:1", dim=DIM) as opened:
        opened.append([make_bone(0)])
        yield opened


def changed(**fields):
    return replace(make_bone(1), **fields)


@pytest.mark.parametrize(
    ("bones", "said"),
    [
        ([make_bone(0)], "enrolled already"),
        ([make_bone(1), make_bone(1)], "enrolled already"),
        ([make_bone(1, dim=DIM + 1)], "(V, 8)"),
        ([changed(vectors=np.zeros((0, DIM), np.float32), angles_deg=np.zeros(0, np.float32))], "at least one view"),
        ([changed(vectors=make_bone(1).vectors.astype(np.float64))], "float32"),
        ([changed(vectors=make_bone(1).vectors * np.float32(1.01))], "expected 1 within"),
        ([changed(vectors=make_bone(1).vectors * np.float32("nan"))], "NaN"),
        ([changed(angles_deg=np.zeros(2, np.float32))], "one for each"),
        ([changed(tilts_deg=np.zeros(2, np.float32))], "a number for each"),
        ([changed(tilts_deg=np.full(3, np.nan, np.float32))], "a number for each"),
        ([changed(tilts_deg=np.zeros(3))], "tilts of type float64"),
        ([make_bone(1, bone_id="")], "empty bone_id"),
        ([make_bone(1, laterality="")], "empty laterality"),
        ([make_bone(1, source="a\0b")], "NUL"),
        ([make_bone(1, subject_id="\ud800")], "surrogate"),
    ],
)
def test_what_would_spoil_the_store_is_refused_in_one_line_and_leaves_no_trace(store, bones, said):
    with pytest.raises(StoreError) as refusal:
        store.append([make_bone(2), *bones])
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert contents(store.gallery()) == expected([make_bone(0)])
    assert store.append([make_bone(1)]) == 2


def test_tilts_of_views_outlive_a_checkpoint_and_an_erasure_and_are_level_where_nothing_is_said(store):
    tilts = np.array([-6.0, 0.0, 6.0], np.float32)
    store.append([changed(tilts_deg=tilts)])
    store.append([make_bone(2)])
    assert [store.gallery().direction(view)[1] for view in range(9)] == [0, 0, 0, *tilts, 0, 0, 0]
    store.checkpoint()
    store.remove(["bone-0"], erase=True)
    assert [store.gallery().direction(view)[1] for view in range(6)] == [*tilts, 0, 0, 0]


def test_an_unknown_angle_is_kept_as_nan(store):
    store.append([changed(angles_deg=np.full(3, np.nan, np.float32))])
    assert np.isnan(store.gallery().angles_deg[3:]).all()
