"""Bone out of a CT: the table goes, the bone stays, wet or dry, whichever way it was sliced."""

import numpy as np
import pytest

from boneprint.bone.isolate import by_labels, isolate, split
from boneprint.errors import ReadError
from boneprint.nouns import Volume

SPACING = 2.0
SHAPE = (70, 80, 90)
AFFINE = np.diag([SPACING, SPACING, SPACING, 1.0])
AFFINE[:3, 3] = [-90, -80, 5]
Z, Y, X = np.mgrid[tuple(slice(size) for size in SHAPE)] * SPACING  # mm from the first voxel


def tube(cavity_hu, *, low=20.0, high=120.0, x=90.0, y=60.0):
    """A shaft 28 mm wide with a cavity of 14 mm, bent by some millimetres; HU, NaN outside."""
    radius = np.hypot(X - x - 4 * np.sin(Z / 60), Y - y)
    hu = np.full(SHAPE, np.nan)
    hu[(radius < 14) & (low <= Z) & (high >= Z)] = 1400
    hu[(radius < 7) & (low + 6 <= Z) & (high - 6 >= Z)] = cavity_hu
    return hu


def couch(hu=350.0, top=110.0):
    """Two bright shells 6 mm thick around foam, the full length of the scan."""
    out = np.full(SHAPE, np.nan)
    out[(top <= Y) & (top + 40 > Y)] = -930
    out[((top <= Y) & (top + 6 > Y)) | ((top + 34 <= Y) & (top + 40 > Y))] = hu
    return out


def scan(*layers, noise=15.0, affine=AFFINE):
    """Layers over air, the first on top."""
    hu = np.full(SHAPE, -1000.0)
    for layer in reversed(layers):
        hu = np.where(np.isnan(layer), hu, layer)
    hu += np.random.default_rng(0).normal(0, noise, SHAPE)
    return Volume(np.clip(np.rint(hu), -1000, 3000).astype(np.int16), affine)


def thigh(hu=50.0):
    out = np.full(SHAPE, np.nan)
    out[np.hypot(X - 90, Y - 60) < 48] = hu
    return out


def on_grid(part, like=SHAPE, affine=AFFINE):
    """A cropped volume's HU, back on the whole grid."""
    start = np.rint(np.linalg.solve(affine[:3, :3], part.affine[:3, 3] - affine[:3, 3])).astype(int)[::-1]
    hu = np.full(like, -1000)
    hu[tuple(slice(a, a + n) for a, n in zip(start, part.hu.shape, strict=True))] = part.hu
    return hu


BONE = ~np.isnan(tube(0))


@pytest.mark.parametrize("top", [108.0, 112.0])  # touching the skin, and with a gap
def test_a_thigh_leaves_its_table(top):
    volume = scan(tube(-50), thigh(), couch(top=top))
    hu = on_grid(isolate(volume))
    assert np.array_equal(hu[BONE], volume.hu[BONE])  # marrow too
    assert (hu[Y >= 80] == -1000).all()
    assert (hu > -1000).sum() < 1.5 * BONE.sum()


@pytest.mark.parametrize("couch_hu", [350.0, 230.0, 60.0])
@pytest.mark.parametrize("top", [74.0, 84.0])  # the bone lying on it, and held above it
def test_a_dry_bone_leaves_its_table(couch_hu, top):
    volume = scan(tube(-1000), couch(couch_hu, top))
    hu = on_grid(isolate(volume))
    clear = BONE & (top - 8 > Y)
    assert np.array_equal(hu[clear], volume.hu[clear])
    assert (hu[BONE] >= 200).mean() > 0.6
    assert (hu[top + 6 <= Y] == -1000).all()
    away = (top <= Y) & (np.abs(X - 90) > 30)
    assert (hu[away] == -1000).all()


def test_a_dry_bone_in_air_keeps_every_voxel():
    volume = scan(tube(-1000), noise=0)
    hu = on_grid(isolate(volume))
    assert np.array_equal(hu, volume.hu)


def test_a_straight_shaft_cut_at_both_ends_is_no_table():
    volume = scan(tube(-1000, low=-20, high=500), couch(top=84))
    bone = ~np.isnan(tube(0, low=-20, high=500))
    hu = on_grid(isolate(volume))
    assert np.array_equal(hu[bone], volume.hu[bone])
    assert (hu[Y >= 90] == -1000).all()


def test_sparse_marrow_in_a_wide_bone_end_is_kept():
    """A hollow ball 60 mm wide: its cavity is no slice's small hole, but closed on all sides."""
    radius = np.sqrt((X - 90) ** 2 + (Y - 70) ** 2 + (Z - 70) ** 2)
    ball = np.full(SHAPE, np.nan)
    ball[radius < 30] = 900
    ball[radius < 26] = 60
    volume = scan(ball, thigh())
    assert np.array_equal(on_grid(isolate(volume))[radius < 30], volume.hu[radius < 30])


def test_metal_is_kept():
    nail = np.full(SHAPE, np.nan)
    nail[(np.hypot(X - 90, Y - 60) < 4) & (Z >= 40) & (Z <= 60)] = 3000
    volume = scan(nail, tube(-50), thigh(), couch())
    assert on_grid(isolate(volume))[~np.isnan(nail)].min() > 2800


def test_specks_are_dropped():
    volume = scan(tube(-50), thigh())
    hu = volume.hu.copy()
    hu[10, 20, 45] = 900
    assert on_grid(isolate(Volume(hu, volume.affine)))[10, 20, 45] == -1000


def test_the_crop_keeps_its_place_in_the_patient():
    volume = scan(tube(-50), thigh(), couch())
    cropped = isolate(volume)
    assert np.prod(cropped.hu.shape) < 0.3 * np.prod(SHAPE)
    (centre,) = cropped.to_patient(np.argwhere(cropped.hu > 200)[:, ::-1].mean(axis=0)[None].astype(float))
    expected = [(place[BONE].mean()) for place in (X, Y, Z)] + AFFINE[:3, 3]
    assert centre == pytest.approx(expected, abs=0.5)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (1, 2, 0)])
@pytest.mark.parametrize("wet", [True, False])
def test_the_same_bone_comes_out_whichever_way_it_was_sliced(axes, wet):
    volume = scan(tube(-50), thigh(), couch()) if wet else scan(tube(-1000), couch(top=74))
    columns = [2 - axis for axis in axes][::-1]  # array axes are z, y, x; affine columns x, y, z
    affine = AFFINE[:, [*columns, 3]]
    turned = isolate(Volume(np.ascontiguousarray(volume.hu.transpose(axes)), affine))
    again = on_grid(turned, tuple(SHAPE[axis] for axis in axes), affine).transpose(np.argsort(axes))
    assert np.array_equal(again, on_grid(isolate(volume)))


def test_a_file_cut_off_at_minus_200_has_air_around_its_bone():
    volume = scan(tube(-1000))
    hu = on_grid(isolate(Volume(np.maximum(volume.hu, -200), volume.affine)))
    assert not ((hu > -1000) & (hu <= -200)).any()
    assert (hu[~BONE] == -1000).all()


@pytest.mark.parametrize("layers", [(thigh(),), (thigh(), couch(60)), ()])
def test_nothing_bony_is_said(layers):
    with pytest.raises(ReadError, match="nothing bony") as refused:
        isolate(scan(*layers))
    assert "\n" not in str(refused.value)


def two_bones(gap_mm):
    return tube(-50, x=60), tube(-50, low=40, high=100, x=60 + 28 + gap_mm + 8)


def test_two_bones_are_split_the_larger_first():
    parts = split(scan(*two_bones(10), noise=0))
    assert [part.name for part in parts] == ["part-1", "part-2"]
    sizes = [(part.volume.hu > 200).sum() for part in parts]
    assert sizes[0] > 1.3 * sizes[1]
    assert all(part.notes == () for part in parts)
    assert sum(sizes) == sum((~np.isnan(bone) & (bone > 200)).sum() for bone in two_bones(10))


def test_a_thin_bridge_between_two_bones_is_cut():
    bridge = np.full(SHAPE, np.nan)
    bridge[(np.abs(Y - 60) < 2) & (np.abs(Z - 70) < 2) & (X >= 60) & (X <= 106)] = 400
    volume = scan(*two_bones(10), bridge, noise=0)
    assert len(split(volume, neck_mm=0)) == 1
    assert len(split(volume, neck_mm=2)) == 2


def test_a_part_at_the_border_of_the_scan_is_noted():
    cut, whole = split(scan(tube(-1000, low=-20), tube(-1000, x=130), noise=0))
    assert "cut off" in cut.notes[0]
    assert whole.notes == ()


@pytest.fixture
def labelled():
    left, right = two_bones(10)
    labels = np.zeros(SHAPE, np.uint8)
    labels[~np.isnan(left)] = 3
    labels[~np.isnan(right)] = 9
    labels[~np.isnan(thigh()) & (labels == 0)] = 20
    return scan(left, right, thigh()), labels


def test_labels_with_bone_names_become_bones_with_their_side(labelled):
    volume, labels = labelled
    parts = by_labels(volume, labels, {3: "hip_right", 9: "Left femur", 20: "gluteus_maximus_left"})
    assert [(part.name, part.bone, part.laterality) for part in parts] == [
        ("hip_right", "hip", "R"),
        ("Left femur", "femur", "L"),
    ]
    hu = on_grid(parts[0].volume)
    assert np.array_equal(hu[labels == 3], volume.hu[labels == 3])
    assert (hu[labels != 3] == -1000).all()  # the margin never reaches into another label


def test_labels_without_names_are_kept_where_they_hold_bone(labelled):
    volume, labels = labelled
    parts = by_labels(volume, labels, {})
    assert [(part.name, part.bone, part.laterality) for part in parts] == [
        ("label-3", None, None),
        ("label-9", None, None),
    ]


@pytest.mark.parametrize(
    ("name", "bone", "side"),
    [
        ("rib_left_4", "rib_4", "L"),
        ("vertebrae_L5", "vertebrae_l5", None),
        ("clavicula_right", "clavicula", "R"),
        ("sacrum", "sacrum", None),
        ("Femur (L)", "femur", "L"),
    ],
)
def test_names_of_bones_are_understood(labelled, name, bone, side):
    volume, labels = labelled
    (part,) = by_labels(volume, labels, {3: name})
    assert (part.bone, part.laterality) == (bone, side)


@pytest.mark.parametrize("name", ["iliac_artery_left", "costal_cartilages", "spinal_cord", "brain", "iliopsoas_left"])
def test_what_only_sounds_like_bone_is_left_out(labelled, name):
    volume, labels = labelled
    with pytest.raises(ReadError, match="no label holds a bone"):
        by_labels(volume, labels, {3: name})


def test_labels_on_another_grid_are_refused(labelled):
    volume, labels = labelled
    with pytest.raises(ReadError, match="grid"):
        by_labels(volume, labels[1:], {})
