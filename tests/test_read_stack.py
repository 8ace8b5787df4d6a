"""Uneven, tilted and incomplete stacks, and several slices in one file: the same body, or a refusal."""

import numpy as np
import pydicom
import pytest

from boneprint import drr
from boneprint.errors import ReadError
from boneprint.nouns import Volume
from boneprint.read import find_series, write_ct_series

# Slice places of a real GE HiSpeed head (tests/test_read_real.py): 4 mm through the base, then 7 mm, tilt 18.5 degrees.
GE_MM = np.concatenate([[0], np.cumsum([4.0] * 13 + [1.08] + [7.0] * 13)])
TILT_DEG = 18.5
SPACING_MM = 1.0


def head(xyz):
    """HU of a synthetic head at (..., 3) patient mm: an ellipsoid skull of 8 mm, brain, and three straight rods."""
    x, y, z = np.moveaxis(xyz, -1, 0)
    radius = np.sqrt((x / 66) ** 2 + (y / 82) ** 2 + (z / 90) ** 2)
    hu = np.where(radius < 1, 1200.0, -1000.0)
    hu[radius < 0.9] = 40.0
    for rod_x, rod_y in ((-30, -20), (25, 10), (0, 40)):  # along the body's own axis
        hu[np.hypot(x - rod_x, y - rod_y) < 6] = 1500.0
    return hu


def places(affine, shape):
    z, y, x = np.mgrid[tuple(slice(size) for size in shape)]
    return np.stack([x, y, z], axis=-1) @ affine[:3, :3].T + affine[:3, 3]


def change(path, **tags):
    dataset = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def load(folder, **options):
    (source,) = find_series(folder).sources
    return source.load(**options)


def write_at(folder, along_mm, tilt_deg=0.0, side=190):
    """The head, sliced at places along the patient's z by a gantry tilted about x."""
    tilt = np.deg2rad(tilt_deg)
    down = np.array([0, np.cos(tilt), -np.sin(tilt)])
    first = np.array([-side / 2, -side / 2 * np.cos(tilt), -along_mm[-1] / 2 + side / 2 * np.sin(tilt)])
    slices = []
    for along in along_mm:
        affine = np.eye(4)
        affine[:3, 1] = down * SPACING_MM
        affine[:3, 3] = first + np.array([0, 0, along])
        slices.append(head(places(affine, (1, side, side)))[0])
    even = np.diag([SPACING_MM, SPACING_MM, 1.0, 1.0])
    paths = write_ct_series(folder, Volume(np.stack(slices).astype(np.int16), even), subject_id="S1")
    for path, along in zip(paths, along_mm, strict=True):
        change(
            path,
            ImageOrientationPatient=[1, 0, 0, *(float(round(value, 8)) for value in down)],
            ImagePositionPatient=[float(round(value, 6)) for value in first + np.array([0, 0, along])],
            GantryDetectorTilt=str(tilt_deg),
        )
    return paths


def projection(volume, angle_deg):
    detector = drr.Detector(200, 200, 1.0)
    return drr.project(drr.Absorber.of(volume), [drr.Pose(angle_deg)], detector)[0].sum(axis=0)


def edges(picture):
    """First and last column, to a fraction of a pixel, where each row reaches a third of its brightest."""
    level = picture[len(picture) // 2].max() / 3
    out = np.full((len(picture), 2), np.nan)
    for row, values in enumerate(picture):
        above = np.flatnonzero(values > level)
        if len(above) and above[0] > 0 and above[-1] + 1 < len(values):
            for side, (inside, outside) in enumerate(((above[0], above[0] - 1), (above[-1], above[-1] + 1))):
                share = (values[inside] - level) / (values[inside] - values[outside])
                out[row, side] = inside + share * (outside - inside)
    return out


@pytest.fixture(scope="module")
def ge_like(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ge")
    write_at(folder, GE_MM, TILT_DEG)
    return load(folder).volume


@pytest.fixture(scope="module")
def truth():
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = [-80, -90, -95]
    return Volume(head(places(affine, (190, 180, 160))).astype(np.int16), affine)


@pytest.mark.parametrize("angle_deg", [0, 90])
def test_a_tilted_uneven_head_projects_like_an_upright_one(ge_like, truth, angle_deg):
    found, true = (edges(projection(volume, angle_deg)) for volume in (ge_like, truth))
    seen = ~np.isnan(found + true).any(axis=1)
    seen &= np.abs(np.arange(len(seen)) - len(seen) / 2) < 40  # where the skull's side is steep; both scans reach there
    assert seen.sum() > 60
    off_mm = np.abs(found - true)[seen]
    # One voxel. From one slice to the next, 7 mm on, the skull's side moves by up to 2.5 mm; between them it is half
    # there, and seen up to half of that away: the same head without a tilt, at the same places, is no better (1.02 mm).
    assert np.quantile(off_mm, 0.95) <= 1.0
    assert off_mm.max() <= 2.5 / 2 + 0.1
    assert off_mm.mean() <= 0.5


@pytest.mark.parametrize("angle_deg", [0, 90])
def test_a_tilted_head_of_fine_slices_has_the_silhouette_of_an_upright_one(truth, tmp_path, angle_deg):
    write_at(tmp_path, np.arange(0, GE_MM[-1], 1.5), TILT_DEG)
    found, true = (edges(projection(volume, angle_deg)) for volume in (load(tmp_path).volume, truth))
    off_mm = np.abs(found - true)[60:140]
    assert off_mm.max() <= 0.5  # half a voxel, in every row


def test_straight_rods_stay_straight_in_a_tilted_uneven_head(ge_like):
    rods = np.argwhere(ge_like.hu > 1400)
    xyz = ge_like.to_patient(rods[:, ::-1].astype(float))
    inside = np.abs(xyz[:, 2]) < 45
    for x, y in ((-30, -20), (25, 10), (0, 40)):
        near = xyz[inside & (np.hypot(xyz[:, 0] - x, xyz[:, 1] - y) < 12)]
        for low in range(-45, 45, 10):
            middle = near[(near[:, 2] >= low) & (near[:, 2] < low + 10), :2].mean(axis=0)
            assert middle == pytest.approx([x, y], abs=1.0)


def test_a_resampled_stack_interpolates_between_its_slices(tmp_path):
    hu = np.repeat(np.array([0, 300, 400, 900, 1000, 1100], np.int16), 81).reshape(6, 9, 9)
    paths = write_ct_series(tmp_path, Volume(hu, np.eye(4)), subject_id="S1")
    for path, z in zip(paths, (0, 3, 4, 9, 10, 11), strict=True):
        change(path, ImagePositionPatient=[0, 0, z])
    scan = load(tmp_path, fill_gaps=True)
    assert scan.volume.spacing_mm[2] == pytest.approx(1.0)
    assert scan.volume.hu[:, 4, 4].tolist() == list(range(0, 1101, 100))
    assert scan.coarsest_mm == pytest.approx(5.0)


def test_a_step_that_drifts_is_resampled_to_where_the_slices_stand(tmp_path):
    ramp = np.arange(60)
    stands = ramp + 0.02 * ramp**2  # every step a little longer, by too little to see between two slices
    hu = np.repeat(np.rint(stands * 10).astype(np.int16), 81).reshape(60, 9, 9)
    for path, z in zip(write_ct_series(tmp_path, Volume(hu, np.eye(4)), subject_id="S1"), stands, strict=True):
        change(path, ImagePositionPatient=[0, 0, float(z)])
    volume = load(tmp_path).volume
    z = volume.affine[2, 3] + np.arange(len(volume.hu)) * volume.affine[2, 2]
    assert volume.hu[:, 4, 4] == pytest.approx(z * 10, abs=1.1)


@pytest.mark.parametrize("lost", [[20], [20, 21], [5, 20, 33]])
def test_missing_slices_are_refused_unless_they_are_to_be_filled(tmp_path, lost):
    paths = write_at(tmp_path, np.arange(40) * 2.0)
    for number in lost:
        paths[number].unlink()
    with pytest.raises(ReadError, match=rf"{len(lost)} slices? (is|are) missing.*--fill-gaps") as refused:
        load(tmp_path)
    assert "\n" not in str(refused.value)
    scan = load(tmp_path, fill_gaps=True)
    assert scan.volume.hu.shape[0] == 40
    assert any(f"{len(lost)} of them missing and interpolated" in note for note in scan.notes)
    assert scan.volume.spacing_mm[2] == pytest.approx(2.0)


def test_a_slice_missing_from_an_uneven_stack_is_refused(tmp_path):
    paths = write_at(tmp_path, GE_MM)
    paths[20].unlink()
    with pytest.raises(ReadError, match="1 slice is missing"):
        load(tmp_path)


def test_slices_too_far_apart_are_refused(tmp_path):
    write_at(tmp_path, np.arange(8) * 12.0)
    with pytest.raises(ReadError, match=r"at most 10 mm.*--fill-gaps"):
        load(tmp_path)
    assert load(tmp_path, fill_gaps=True).volume.spacing_mm[2] == pytest.approx(12.0)


def test_slices_that_wander_sideways_are_refused(tmp_path):
    for number, path in enumerate(write_at(tmp_path, np.arange(12) * 2.0)):
        x, y, z = pydicom.dcmread(path).ImagePositionPatient
        change(path, ImagePositionPatient=[x + 4 * (number % 2), y, z])
    with pytest.raises(ReadError, match="off a straight stack"):
        load(tmp_path)


def enhanced(paths, folder):
    """The same slices in one enhanced multi-frame file, made by highdicom."""
    from highdicom.legacy import LegacyConvertedEnhancedCTImage

    folder.mkdir()
    slices = [pydicom.dcmread(path) for path in paths]
    LegacyConvertedEnhancedCTImage(slices, "1.2.3", 1, "1.2.3.4", 1).save_as(folder / "enhanced")
    return folder / "enhanced"


def test_an_enhanced_multi_frame_ct_is_the_same_volume(tmp_path):
    paths = write_at(tmp_path / "single", np.arange(12) * 3.0, TILT_DEG)
    path = enhanced(paths, tmp_path / "multi")
    single, multi = load(tmp_path / "single"), load(path)
    assert np.array_equal(single.volume.hu, multi.volume.hu)
    assert np.allclose(single.volume.affine, multi.volume.affine)
    assert multi.subject_id == single.subject_id == "S1"


def test_a_multi_frame_ct_whose_geometry_is_not_whole_is_refused(tmp_path):
    path = enhanced(write_at(tmp_path / "single", np.arange(12) * 3.0), tmp_path / "multi")
    dataset = pydicom.dcmread(path)
    del dataset.PerFrameFunctionalGroupsSequence[5]
    dataset.save_as(path)
    ((_, error),) = find_series(path).failed
    assert "12 frames and the geometry of 11" in error
