"""NIfTI: a CT in our axes, and label maps brought onto it."""

import nibabel
import numpy as np
import pytest

from boneprint.errors import ReadError
from boneprint.nouns import Volume
from boneprint.read import find_series, read_labels

TABLE = b"""<?xml version="1.0"?><CaretExtension><VolumeInformation Index="0"><LabelTable>
<Label Key="1" Red="0.0" Green="1.0" Blue="0.0" Alpha="1"><![CDATA[femur_left]]></Label>
<Label Key="7" Red="0" Green="1" Blue="0" Alpha="1">hip &amp; sacrum</Label>
</LabelTable></VolumeInformation></CaretExtension>"""


def save(path, values, affine, code=1, names=b""):
    image = nibabel.Nifti1Image(values, affine)
    image.set_sform(affine, code=code)
    image.set_qform(affine, code=code)
    if names:
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, names))
    nibabel.save(image, path)
    return path


@pytest.fixture
def values():
    return np.random.default_rng(0).integers(-1100, 1500, (6, 7, 8)).astype(np.int16)


def load(path):
    (source,) = find_series(path).sources
    return source.load()


def refusal(path):
    with pytest.raises(ReadError) as refused:
        load(path)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
def test_right_anterior_superior_becomes_left_posterior_superior(tmp_path, values, name):
    ras = np.array([[-2.0, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
    scan = load(save(tmp_path / name, values, ras))
    i, j, k = 1, 2, 3
    assert scan.volume.hu[k, j, i] == max(values[i, j, k], -1000)
    x, y, z = (ras @ [i, j, k, 1])[:3]
    assert scan.volume.to_patient(np.array([[i, j, k]], float))[0] == pytest.approx([-x, -y, z])
    assert scan.volume.hu.dtype == np.int16
    assert scan.volume.hu.min() == -1000


def test_fractions_of_hu_are_kept_and_nan_is_air(tmp_path, values):
    odd = values.astype(np.float32) + 0.25
    odd[0, 0, 0] = np.nan
    scan = load(save(tmp_path / "ct.nii.gz", odd, np.eye(4)))
    assert scan.volume.hu.dtype == np.float32
    assert scan.volume.hu[0, 0, 0] == -1000
    assert any("air" in note for note in scan.notes)


def test_metres_become_millimetres(tmp_path, values):
    image = nibabel.Nifti1Image(values, np.diag([0.001, 0.001, 0.002, 1]))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "ct.nii")
    assert load(tmp_path / "ct.nii").volume.spacing_mm == pytest.approx([1, 1, 2])


def test_what_cannot_be_a_ct_is_refused(tmp_path, values):
    assert "orientation" in refusal(save(tmp_path / "a.nii.gz", values, np.eye(4), code=0))
    assert "Hounsfield" in refusal(save(tmp_path / "b.nii.gz", np.abs(values), np.eye(4)))
    assert "6 x 7 x 8 x 2" in refusal(save(tmp_path / "c.nii.gz", np.stack([values] * 2, -1), np.eye(4)))
    path = save(tmp_path / "d.nii", values, np.eye(4))
    path.write_bytes(path.read_bytes()[:-60])
    refusal(path)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_file_is_known_by_its_content_and_not_by_its_name(tmp_path, values, name):
    save(tmp_path / name, values, np.eye(4)).rename(tmp_path / "IM000001")
    assert np.array_equal(load(tmp_path / "IM000001").volume.hu, np.maximum(values, -1000).T)


def test_labels_have_their_names(tmp_path):
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[2:4, 2:4, 2:4] = 7
    found = read_labels(save(tmp_path / "seg.nii.gz", labels, np.eye(4), names=TABLE))
    assert found.names == {1: "femur_left", 7: "hip & sacrum"}
    assert np.array_equal(found.labels, labels.T)


def test_a_ct_given_as_label_map_is_refused(tmp_path, values):
    with pytest.raises(ReadError, match="label numbers"):
        read_labels(save(tmp_path / "ct.nii.gz", values, np.eye(4)))


def test_labels_find_their_place_on_another_grid(tmp_path):
    """A map cropped, flipped and twice as coarse labels the same place of the patient."""
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[4:6, 3:5, 2:4] = 3
    ras = np.array([[-2.0, 0, 0, 9], [0, -2, 0, 9], [0, 0, 2, -9], [0, 0, 0, 1]])
    found = read_labels(save(tmp_path / "seg.nii.gz", labels, ras))
    flipped = np.diag([-1.0, 1.0, 1.0, 1.0])
    flipped[:3, 3] = [11.5, -11.5, -11.5]
    volume = Volume(np.zeros((24, 24, 24), np.int16), flipped)
    on_grid = found.labels_on(volume)
    centre = volume.to_patient(np.argwhere(on_grid == 3)[:, ::-1].astype(float)).mean(axis=0)
    true = (np.diag([-1, -1, 1, 1]) @ ras @ [4.5, 3.5, 2.5, 1])[:3]
    assert centre == pytest.approx(true, abs=0.51)
    assert (on_grid == 3).sum() == 64


def test_labels_of_another_scan_are_refused(tmp_path):
    labels = np.ones((5, 5, 5), np.uint8)
    far = np.eye(4)
    far[:3, 3] = 500
    found = read_labels(save(tmp_path / "seg.nii.gz", labels, far))
    with pytest.raises(ReadError, match="no label lies within the CT"):
        found.labels_on(Volume(np.zeros((5, 5, 5), np.int16), np.eye(4)))


@pytest.mark.parametrize("stored", ["left first", "right first"])
def test_a_grid_of_either_hand_holds_the_same_body(tmp_path, values, stored):
    """Scanners' own converters store x to the left (negative determinant), others to the right."""
    affine = np.diag([2.0, 3, 4, 1])
    if stored == "left first":
        values, affine = values[::-1], affine @ np.array([[-1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    scan = load(save(tmp_path / "ct.nii", values, affine))
    found = np.linalg.inv(scan.volume.affine) @ [-2.0, -6, 12, 1]  # the voxel at x 1, y 2, z 3 of the second
    x, y, z = found[:3].round().astype(int)
    body = values[::-1] if stored == "left first" else values
    assert scan.volume.hu[z, y, x] == max(body[1, 2, 3], -1000)


def test_transforms_that_mirror_each_other_are_refused(tmp_path, values):
    image = nibabel.Nifti1Image(values, np.eye(4))
    image.set_sform(np.diag([-1.0, 1, 1, 1]), code=1)
    image.set_qform(np.eye(4), code=1)
    nibabel.save(image, tmp_path / "ct.nii")
    assert "mirror images" in refusal(tmp_path / "ct.nii")


def test_an_image_that_was_stretched_into_a_template_is_refused(tmp_path, values):
    image = nibabel.Nifti1Image(values, np.diag([2.0, 2, 2, 1]))
    image.set_sform(np.diag([2.1, 2, 2, 1]), code=4)
    nibabel.save(image, tmp_path / "ct.nii")
    assert "rescaled" in refusal(tmp_path / "ct.nii")


@pytest.mark.parametrize("written", ["along the lean", "across the slices"])
def test_a_tilted_gantry_is_no_stretching(tmp_path, values, written):
    lean = np.array([[1.0, 0, 0, 0], [0, 1, 0.6, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(values, lean)
    image.set_sform(lean, code=1)
    image.set_qform(None, code=0)
    image.header["pixdim"][3] = 2.0 if written == "across the slices" else np.hypot(0.6, 2)
    nibabel.save(image, tmp_path / "ct.nii")
    assert load(tmp_path / "ct.nii").volume.affine[:3, 2] == pytest.approx([0, -0.6, 2])


def test_a_damaged_transform_beside_a_sound_one_is_refused(tmp_path, values):
    path = save(tmp_path / "ct.nii", values, np.eye(4))
    content = bytearray(path.read_bytes())
    content[256:260] = np.float32(7.0).tobytes()  # quatern_b; of a unit quaternion none is above 1
    path.write_bytes(content)
    assert "orientation is damaged" in refusal(path)
