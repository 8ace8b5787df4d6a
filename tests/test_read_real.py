"""Real files from scanners: read right, or refused in a sentence."""

import zipfile
from pathlib import Path

import numpy as np
import pytest

from boneprint import ingest
from boneprint.bone import quality_of
from boneprint.bone.isolate import by_labels, isolate
from boneprint.read import find_series, read_labels, read_radiograph
from boneprint.read.dicom.header import read_dataset
from boneprint.read.dicom.pixels import stored_values

DATA = Path(__file__).resolve().parents[2] / "shared/data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"real data not there: {DATA}")
FORMATS = DATA / "radiographs/dicom_formats"
PELVIS = DATA / "ct/pelvis_totalsegmentator"


def unzipped(archive, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ct")
    with zipfile.ZipFile(DATA / "ct" / archive) as files:
        files.extractall(folder)
    (source,) = find_series(folder).sources
    return source


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    return unzipped("chest_acrin013/chest_acrin013_dicom.zip", tmp_path_factory).load()


@pytest.fixture(scope="module")
def pelvis():
    return find_series(PELVIS / "example_ct.nii.gz").sources[0].load()


@pytest.fixture(scope="module")
def chest_bone(chest):
    return isolate(chest.volume)


def places(volume, mask):
    return volume.to_patient(np.argwhere(mask)[:, ::-1].astype(float))


def test_a_real_chest_has_its_shape_and_scale(chest):
    assert chest.volume.hu.shape == (49, 512, 512)
    assert chest.volume.spacing_mm == pytest.approx([1.3671875, 1.3671875, 4.0])
    assert chest.body_part == "chest"
    assert chest.subject_id == "ACRIN-FLT-Breast_013"


def test_a_real_chest_lies_the_right_way_round(chest, chest_bone):
    volume, bone, middle = chest.volume, chest_bone, 24
    spine = places(bone, (bone.hu > 300) & (np.arange(bone.hu.shape[0]) == middle)[:, None, None])
    flesh = places(volume, (volume.hu > -150) & (np.arange(49) == middle)[:, None, None])
    assert spine[:, 1].mean() > flesh[:, 1].mean()  # the spine is at the back
    lungs = places(volume, ((volume.hu > -950) & (volume.hu < -600))[:, 150:345, 100:380])
    lungs += volume.affine[:3, :3] @ [100, 150, 0]
    right = lungs[:, 0] < np.median(spine[:, 0])
    assert right.mean() > 0.5  # the heart leaves the left lung less room
    ends = [lungs[side, 2].min() for side in (right, ~right)]
    assert volume.affine[2, 2] > 0
    assert min(ends) < volume.affine[2, 3] + 40  # the lungs' bases are at the feet


def test_the_table_under_a_real_chest_is_gone(chest, chest_bone):
    volume, bone = chest.volume, chest_bone
    table_mm = volume.affine[1, 3] + 358 * volume.spacing_mm[1]  # its upper shell is there in every slice
    assert (volume.hu[:, 358:] > 200).sum() > 20_000
    assert places(bone, bone.hu > -1000)[:, 1].max() < table_mm
    assert (bone.hu > 200).sum() > 70_000


def test_a_jpeg_2000_series_without_any_uid_is_one_ct(tmp_path_factory):
    source = unzipped("pelvis_totalsegmentator/example_ct_dicom_j2k.zip", tmp_path_factory)
    scan = source.load()
    assert scan.volume.hu.shape == (20, 512, 512)
    assert scan.volume.spacing_mm == pytest.approx([0.9765625, 0.9765625, 2.0])
    assert scan.subject_id.startswith("unknown-")
    flesh = scan.volume.hu[10, 200:400, 150:350]
    assert 20 < np.median(flesh[flesh > -200]) < 120


def test_an_arm_at_the_edge_of_the_reconstructed_circle_is_cut_off_by_it(tmp_path_factory):
    scan = unzipped("pelvis_totalsegmentator/example_ct_dicom_j2k.zip", tmp_path_factory).load()
    (specimen,) = ingest.specimens(scan, ingest.Options())
    assert "round field of view" in specimen.quality.cut_off


def test_the_tilted_and_uneven_head_stands_straight():
    (source,) = find_series(DATA / "ct/head_ge_tilted").sources  # the zip archive itself
    scan = source.load()
    assert scan.volume.affine[:3, 2] / scan.volume.spacing_mm[2] == pytest.approx([0, 0, 1], abs=1e-4)
    assert scan.coarsest_mm == pytest.approx(7.0, abs=0.01)
    assert any("18.5 degrees" in note for note in scan.notes)
    assert any("1.08 to 7.00 mm: resampled" in note for note in scan.notes)
    tissue = places(scan.volume, scan.volume.hu[::4, ::4, ::4] > -300) * 1.0
    assert np.ptp(tissue, axis=0).max() < 1000  # patient millimetres, none of them thrown far away


@pytest.mark.parametrize("name", ["bone_1mm", "std_5mm"])
def test_the_skull_phantom_is_bone_in_air(name):
    (source,) = find_series(DATA / f"ct/skull_philips/plastic_head_{name}.nii.gz").sources
    scan = source.load()
    bone = isolate(scan.volume)
    assert "round field of view" not in quality_of(bone, scan.volume).cut_off
    assert (bone.hu > 200).sum() > 0.99 * (scan.volume.hu > 200).sum()
    assert not ((bone.hu > -1000) & (bone.hu <= -200)).any()


def test_the_folder_of_all_cts_gives_each_once_and_no_label_map():
    found = find_series(DATA / "ct")
    assert len(found.sources) == 9
    assert {path.name for path, reason in found.skipped if "label map" in reason} == {
        "example_seg.nii.gz",
        "example_seg_fast_force_split.nii.gz",
    }
    assert found.failed == ()


def test_the_labels_of_a_pelvis_become_bones_with_their_side(pelvis):
    labels = read_labels(PELVIS / "example_seg_fast_force_split.nii.gz")
    parts = {part.name: part for part in by_labels(pelvis.volume, labels.labels_on(pelvis.volume), labels.names)}
    assert {"hip_left", "hip_right", "femur_left", "femur_right", "sacrum", "vertebrae_L5"} <= set(parts)
    assert not any("gluteus" in name or "artery" in name for name in parts)
    middle = {name: places(part.volume, part.volume.hu > 200).mean(axis=0) for name, part in parts.items()}
    for bone in ("hip", "femur"):
        assert parts[f"{bone}_left"].laterality == "L"
        assert middle[f"{bone}_left"][0] > middle[f"{bone}_right"][0] + 50  # x rises to the patient's left
    assert middle["vertebrae_L1"][2] > middle["sacrum"][2] + 50
    assert parts["femur_left"].notes


def test_every_labelled_bone_of_a_pelvis_has_its_quality_and_the_implant_is_reported(pelvis):
    options = ingest.Options(labels=PELVIS / "example_seg_fast_force_split.nii.gz")
    found = {(each.bone, each.laterality): each for each in ingest.specimens(pelvis, options)}
    assert {("hip", "L"), ("hip", "R"), ("femur", "L"), ("femur", "R"), ("sacrum", None)} <= set(found)
    assert [key for key, each in found.items() if each.quality.metal_ml > 1] == [("femur", "L")]
    assert any("metal" in note for note in found["femur", "L"].notes)
    for side in "LR":
        assert found["femur", side].quality.cut_off == ("feet",)
    assert found["vertebrae_l3", None].quality.complete
    assert not any("LATERALITY" in note for each in found.values() for note in each.notes)


def test_metal_in_a_pelvis_is_kept(pelvis):
    assert isolate(pelvis.volume).hu.max() == pelvis.volume.hu.max() > 3000


def test_a_label_map_of_the_upper_slices_fits_the_whole_scan(pelvis):
    part = read_labels(PELVIS / "example_seg.nii.gz")
    on_grid = part.labels_on(pelvis.volume)
    assert np.array_equal(on_grid[:30], part.labels)
    assert not on_grid[30:].any()


@pytest.mark.parametrize(
    ("name", "spacing_mm", "view"),
    [
        ("RG1_J2KI", None, "PA"),
        ("RG2_J2KR", 0.2, None),
        ("RG2_JLSL", 0.2, None),
        ("RG3_J2KR", None, "AP"),
        ("RG3_JLSN", None, "AP"),
        ("RG3_RLE", None, "AP"),
        ("gdcm-CR-MONO1-10-chest", None, "PA"),
        ("highdicom_dx_dog_thorax", pytest.approx(1.2006, abs=1e-3), None),
    ],
)
def test_real_radiographs_are_read(name, spacing_mm, view):
    radiograph = read_radiograph(FORMATS / f"{name}.dcm")
    assert (radiograph.spacing_mm, radiograph.view) == (spacing_mm, view)


@pytest.mark.parametrize(
    ("name", "bone", "beside"),  # (row, column) as shares of the picture, found by eye
    [
        ("RG1_J2KI", (0.4, 0.47), (0.3, 0.63)),  # spine, lung
        ("RG2_J2KR", (0.4, 0.44), (0.85, 0.3)),  # femoral head, air
        ("RG3_RLE", (0.3, 0.52), (0.3, 0.9)),  # tibia, air
        ("gdcm-CR-MONO1-10-chest", (0.4, 0.48), (0.4, 0.25)),
    ],
)
def test_bone_is_bright_in_real_radiographs(name, bone, beside):
    pixels = read_radiograph(FORMATS / f"{name}.dcm").pixels

    def patch(place):
        row, column = (int(share * size) for share, size in zip(place, pixels.shape, strict=True))
        return pixels[row - 4 : row + 5, column - 4 : column + 5].mean()

    assert patch(bone) > patch(beside) + 0.1 * np.ptp(pixels)


def test_lossless_codecs_of_one_picture_give_identical_pixels():
    for one, other in (("RG2_J2KR", "RG2_JLSL"), ("RG3_J2KR", "RG3_RLE")):
        first, second = (read_radiograph(FORMATS / f"{name}.dcm").pixels for name in (one, other))
        assert np.array_equal(first, second)
    near, exact = (
        stored_values(path, read_dataset(path)).astype(float)
        for path in (FORMATS / "RG3_JLSN.dcm", FORMATS / "RG3_RLE.dcm")
    )
    assert np.abs(near - exact).max() < 16


def test_a_12_bit_lossy_jpeg_is_the_same_picture_within_its_loss():
    lossy, exact = (
        stored_values(path, read_dataset(path)).astype(float)
        for path in (FORMATS / "RG3_JPLY.dcm", FORMATS / "RG3_RLE.dcm")
    )
    assert np.abs(lossy - exact).max() < 0.06 * np.ptp(exact)
    assert np.abs(lossy - exact).mean() < 0.003 * np.ptp(exact)
    read_radiograph(FORMATS / "RG3_JPLY.dcm")


def test_the_soft_shutters_beside_a_real_leg_are_taken_away_and_the_leg_is_not():
    leg = read_radiograph(FORMATS / "RG3_RLE.dcm")
    assert any("shutters" in note for note in leg.notes)
    height, width = leg.pixels.shape
    assert 700 < width < 800  # of 1760, where both shutters and the flat borders go
    dark = np.quantile(leg.pixels, 0.05) + 0.1 * np.ptp(leg.pixels)
    assert (leg.pixels[: height // 2, [5, -5]] < dark).all()  # open beam on either side of the leg


def test_nothing_of_a_real_chest_is_cropped_by_collimator_tags_in_millimetres():
    assert read_radiograph(FORMATS / "RG1_J2KI.dcm").pixels.shape[0] > 1900


def test_no_natural_chest_is_taken_for_inverted_collimated_or_round_or_its_ribs_for_a_ruler():
    for path in (DATA / "radiographs/chest_pairs/images").glob("*.jpg"):
        notes = " ".join(read_radiograph(path).notes)
        assert not any(word in notes for word in ("inverted", "ruler", "round field", "shutters"))


def test_pictures_without_a_true_resolution_have_no_spacing():
    for path in (
        DATA / "radiographs/knee_biplane/L_Hop_Cam1_001_UND.0138.tif",
        *(DATA / "radiographs/chest_pairs/images").glob("p10*.jpg"),
    ):
        assert read_radiograph(path).spacing_mm is None
