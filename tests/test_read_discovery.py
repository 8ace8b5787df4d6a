"""Which CTs lie in a pile of files."""

import gzip
import shutil
import subprocess
import sys

import nibabel
import numpy as np
import pydicom
import pytest

from boneprint.errors import ReadError
from boneprint.nouns import Volume
from boneprint.read import find_series, write_ct_series


def cube(seed=0, shape=(6, 12, 12), affine=None):
    hu = np.random.default_rng(seed).integers(-1000, 1500, shape).astype(np.int16)
    return Volume(hu, np.diag([1.0, 1.0, 2.0, 1.0]) if affine is None else affine)


def change(path, **tags):
    dataset = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


def reasons(found):
    return {path.name: reason for path, reason in found}


def test_series_mixed_in_one_folder_are_told_apart(tmp_path):
    for seed, subject in enumerate(("A", "B", "C")):
        for path in write_ct_series(tmp_path / subject, cube(seed), subject_id=subject):
            shutil.move(path, tmp_path / f"{subject}{path.stem}")  # no extension either
    found = find_series(tmp_path)
    scans = {scan.subject_id: scan for scan in (source.load() for source in found.sources)}
    assert sorted(scans) == ["A", "B", "C"]
    assert np.array_equal(scans["B"].volume.hu, cube(1).hu)
    assert len({source.label for source in found.sources}) == 3


def test_any_depth_of_folders_and_single_files_are_searched(tmp_path):
    paths = write_ct_series(tmp_path / "a/b/c/d", cube(), subject_id="A")
    assert len(find_series(tmp_path).sources) == 1
    (source,) = find_series([*paths, tmp_path / "a"]).sources
    assert len(source.paths) == 6  # each file once


def test_one_series_uid_with_two_geometries_is_two_cts(tmp_path):
    write_ct_series(tmp_path / "axial", cube(0), subject_id="A", series_uid="1.2.3")
    coronal = np.array([[1.0, 0, 0, 0], [0, 0, 2, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    write_ct_series(tmp_path / "coronal", cube(1, affine=coronal), subject_id="A", series_uid="1.2.3")
    assert len(find_series(tmp_path).sources) == 2


def test_two_patients_under_one_series_uid_are_two_cts(tmp_path):
    for subject in ("A", "B"):
        write_ct_series(tmp_path / subject, cube(), subject_id=subject, series_uid="1.2.3")
    assert len(find_series(tmp_path).sources) == 2


def test_other_files_are_set_aside_with_a_reason(tmp_path):
    (*_, last) = write_ct_series(tmp_path, cube(), subject_id="A")
    for name, tags in {
        "scout": {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
        "mr": {"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"},
        "capture": {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"},
        "stray": {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
    }.items():
        shutil.copy(last, tmp_path / name)
        change(tmp_path / name, **tags)
    (tmp_path / "notes.dcm").write_text("The femur was found near the river, 3 km to the north.")
    (tmp_path / "empty").touch()
    found = find_series(tmp_path)
    assert [len(source.paths) for source in found.sources] == [6]
    said = reasons(found.skipped)
    assert "localiser" in said["scout"]
    assert "MR" in said["mr"]
    assert "secondary capture" in said["capture"]
    assert "geometry" in said["stray"]
    assert "neither DICOM nor NIfTI" in said["notes.dcm"]
    assert "neither DICOM nor NIfTI" in said["empty"]
    assert found.failed == ()


def test_what_should_have_been_a_slice_and_cannot_be_used_has_failed(tmp_path):
    first, second, *rest = write_ct_series(tmp_path, cube(), subject_id="A")
    del rest
    first.write_bytes(first.read_bytes()[:200])
    change(second, NumberOfFrames=3)
    said = reasons(find_series(tmp_path).failed)
    assert set(said) == {first.name, second.name}
    assert all("\n" not in error and name in error for name, error in said.items())


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleIntercept"])
def test_a_slice_without_its_geometry_or_scale_has_failed_and_says_which(tmp_path, tag):
    (first, *_) = write_ct_series(tmp_path, cube(), subject_id="A")
    dataset = pydicom.dcmread(first)
    delattr(dataset, tag)
    dataset.save_as(first)
    assert tag in reasons(find_series(tmp_path).failed)[first.name]


def test_the_hash_is_that_of_the_content_and_needs_no_pixels(tmp_path):
    write_ct_series(tmp_path / "one", cube(), subject_id="A")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    shutil.move(tmp_path / "two/CT0001.dcm", tmp_path / "two/zzz")
    one, two = (find_series(tmp_path / name).sources[0].source_hash for name in ("one", "two"))
    assert one == two
    change(tmp_path / "two/zzz", SeriesDescription="other")
    assert find_series(tmp_path / "two").sources[0].source_hash != one


def test_dicom_without_preamble_is_found(tmp_path):
    for path in write_ct_series(tmp_path, cube(), subject_id="A"):
        path.write_bytes(path.read_bytes()[132:])
    assert np.array_equal(find_series(tmp_path).sources[0].load().volume.hu, cube().hu)


def test_a_nifti_file_is_a_ct_and_a_label_map_is_not(tmp_path):
    hu = cube().hu.T
    nibabel.save(nibabel.Nifti1Image(hu, np.eye(4)), tmp_path / "ct.nii.gz")
    nibabel.save(nibabel.Nifti1Image((hu > 300).astype(np.uint8), np.eye(4)), tmp_path / "mask.nii")
    (tmp_path / "text.nii.gz").write_bytes(gzip.compress(b"no image" * 100))
    found = find_series(tmp_path)
    assert [source.kind for source in found.sources] == ["nifti"]
    assert "--labels" in reasons(found.skipped)["mask.nii"]
    assert "text.nii.gz" in reasons(found.skipped)


def test_nothing_to_read_is_an_error(tmp_path):
    with pytest.raises(ReadError, match="no file in it"):
        find_series(tmp_path)
    with pytest.raises(ReadError, match="no such file"):
        find_series(tmp_path / "missing")


def test_the_face_is_light():
    code = "import sys, boneprint.read; print({'pydicom', 'nibabel', 'PIL', 'scipy'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
