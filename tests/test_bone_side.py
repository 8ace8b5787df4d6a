"""Left and right: what is said of a bone, what its shape says, and what nobody can check."""

import nibabel
import numpy as np
import pydicom
import pytest
from conftest import COARSE, COHORT_SEED

from boneprint import bone, ct_probe, ingest, probe
from boneprint.errors import BoneprintError
from boneprint.nouns import Radiograph, Scan, Volume
from boneprint.read import find_series, read_radiograph, write_ct_series
from boneprint.simulate import Scanner, individual

FINE = Scanner((1.2, 1.2, 1.5), soft_tissue_mm=0.0, blur_mm=0.6, noise_hu=12.0)
OTHER = {"L": "R", "R": "L"}


@pytest.fixture(scope="module", params=["femur", "tibia", "humerus", "radius"])
def long_bone(request):
    kind = request.param
    body = individual(COHORT_SEED, 2, bone=kind)
    volume, _ = body.scan(FINE if kind == "radius" else COARSE)
    return kind, body.laterality, bone.isolate(volume)


def lying(volume, rotation):
    affine = np.eye(4)
    affine[:3, :3] = rotation
    return Volume(volume.hu, affine @ volume.affine)


@pytest.mark.parametrize("axis", [None, 0, 1, 2])
def test_a_long_bone_shows_its_side_in_whatever_way_it_lies(long_bone, axis):
    """Upside down, face down, on its end: turning a bone never makes a left one of it; a mirror always does."""
    kind, side, volume = long_bone
    half_turn = np.eye(3) if axis is None else -np.eye(3) + 2 * np.diag(np.eye(3)[axis])
    tilt, _ = np.linalg.qr(np.array([[2.0, 1, 0], [-1, 2, 1], [1, 0, 3]]))
    for rotation in (half_turn, half_turn @ tilt * np.sign(np.linalg.det(tilt))):
        assert bone.seen_side(lying(volume, rotation), kind) == side
        mirrored = Volume(np.ascontiguousarray(np.flip(volume.hu, axis or 0)), volume.affine)
        assert bone.seen_side(lying(mirrored, rotation), kind) == OTHER[side]


def test_a_body_that_is_its_own_mirror_image_has_no_side():
    z, y, x = np.mgrid[-60:61, -12:13, -12:13]
    hu = np.where(np.hypot(x, y) < 6 + 4 * (np.abs(z) > 45), 900, -1000).astype(np.int16)
    for kind in ("femur", "tibia", "humerus", "radius"):
        assert bone.seen_side(Volume(hu, np.eye(4)), kind) is None


def rod(**said):
    hu = np.full((40, 20, 20), -1000, np.int16)
    hu[5:35, 6:14, 6:14] = 900
    return Scan(Volume(hu, np.eye(4)), "x", "0" * 64, "S", **said)


@pytest.mark.parametrize(
    ("kind", "why"), [("clavicle", "no check by shape"), ("femur", "does not tell"), (None, "no check by shape")]
)
def test_a_side_that_nothing_can_check_is_said_to_be_unchecked(kind, why):
    (specimen,) = ingest.specimens(rod(body_part=kind, laterality="L"), ingest.Options())
    (note,) = specimen.notes
    assert note.startswith("SIDE NOT CHECKED")
    assert why in note
    (nobody_said,) = ingest.specimens(rod(body_part=kind), ingest.Options())
    assert not nobody_said.notes


def test_a_part_of_a_bone_is_not_checked_by_its_shape(long_bone):
    kind, side, volume = long_bone
    assert "holds only a part" in bone.check_of_side(volume, kind, side, complete=False)
    assert bone.check_of_side(volume, kind, side, complete=True) is None


@pytest.mark.parametrize("kind", ["vertebra", "vertebrae_L3", "LSPINE", "sacrum", "skull bone"])
def test_a_bone_that_is_neither_left_nor_right_gets_no_side(kind):
    (specimen,) = ingest.specimens(rod(body_part=kind, laterality="L"), ingest.Options())
    assert specimen.laterality is None
    assert any("neither left nor right" in note for note in specimen.notes)
    with pytest.raises(BoneprintError, match="neither left nor right"):
        ingest.Options(bone=kind, laterality="L")


def test_a_scapulas_spine_has_a_side():
    assert bone.has_side("spine of scapula")
    assert bone.has_side("unknown")


@pytest.mark.parametrize(
    ("option", "label", "tag", "doubted"),
    [
        ("L", "left", "L", False),
        (None, "left", None, False),
        (None, "left", "R", True),
        ("R", "left", None, True),
        ("R", None, "L", True),
    ],
)
def test_whoever_names_the_side_is_compared_with_the_others(tmp_path, option, label, tag, doubted):
    scan = rod(laterality=tag)
    image = nibabel.Nifti1Image((scan.volume.hu.T > 0).astype(np.uint8), np.diag([-1.0, -1, 1, 1]))
    name = "ulna" if label is None else f"ulna_{label}"
    table = f'<LabelTable><Label Key="1" Red="0" Green="0" Blue="0" Alpha="1">{name}</Label></LabelTable>'
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, table.encode()))
    nibabel.save(image, tmp_path / "seg.nii")
    (specimen,) = ingest.specimens(scan, ingest.Options(labels=tmp_path / "seg.nii", laterality=option))
    assert any("LATERALITY IN DOUBT" in note for note in specimen.notes) == doubted
    assert specimen.laterality == (option or ("L" if label else tag))


@pytest.fixture(scope="module")
def left_femur():
    return individual(COHORT_SEED, 3, laterality="L").scan(COARSE)[0]


@pytest.mark.parametrize(
    ("orientation", "doubted"), [([1, 0, 0, 0, 1, 0], False), ([-1, 0, 0, 0, 1, 0], True), ([1, 0, 0, 0, -1, 0], True)]
)
def test_slices_whose_orientation_tag_is_mirrored_are_flagged(left_femur, tmp_path, orientation, doubted):
    """The pixels as they were, and a tag that turns an axis round: every length is right, and the hand wrong."""
    for path in write_ct_series(tmp_path, left_femur, subject_id="S", body_part="femur", laterality="L"):
        dataset = pydicom.dcmread(path)
        dataset.ImageOrientationPatient = orientation
        dataset.save_as(path)
    (source,) = find_series(tmp_path).sources
    (specimen,) = ingest.specimens(source.load(), ingest.Options())
    assert any("LATERALITY IN DOUBT" in note for note in specimen.notes) == doubted


def test_slices_whose_positions_run_the_wrong_way_are_flagged_and_the_searcher_is_told(left_femur, tmp_path):
    for path in write_ct_series(tmp_path, left_femur, subject_id="S", body_part="femur", laterality="L"):
        dataset = pydicom.dcmread(path)
        x, y, z = dataset.ImagePositionPatient
        dataset.ImagePositionPatient = [x, y, -z]
        dataset.save_as(path)
    views = ct_probe.views_of_ct(tmp_path)
    assert any("LATERALITY IN DOUBT" in note for note in views[0].notes)


def test_tags_that_name_both_sides_give_none_and_are_flagged(tmp_path):
    scan = rod()
    for number, path in enumerate(write_ct_series(tmp_path, scan.volume, subject_id="S", laterality="L")):
        dataset = pydicom.dcmread(path)
        if number > 3:
            dataset.Laterality = "R"
        dataset.save_as(path)
    (source,) = find_series(tmp_path).sources
    found = source.load()
    assert found.laterality is None
    assert any("both L and R" in note for note in found.notes)


class Sums:
    """Stands in for an embedder: what is embedded does not matter here."""

    id = "sums"

    def __init__(self):
        self.card = {}

    def embed(self, radiographs, canvas):
        return np.eye(len(radiographs), 4, dtype=np.float32)


@pytest.mark.parametrize(("given", "kept", "doubted"), [(None, "L", False), ("L", "L", False), ("R", "R", True)])
def test_a_radiographs_side_is_compared_with_its_file(given, kept, doubted):
    pixels = np.zeros((64, 64), np.float32)
    pixels[8:56, 24:40] = 1
    radiograph = Radiograph(pixels, 1.0, source="x.dcm", laterality="L")
    made = probe.enrolment(
        [radiograph], Sums(), subject_id="S", bone="femur", laterality=given, source="x.dcm", source_hash="0" * 64
    )
    assert made.reference.laterality == kept
    assert ("LATERALITY IN DOUBT" in (made.reference.notes or "")) == doubted


def test_the_side_of_a_radiograph_is_read_from_its_file(tmp_path):
    paths = write_ct_series(tmp_path, rod().volume, subject_id="S", laterality="L")
    dataset = pydicom.dcmread(paths[10])
    dataset.Modality, dataset.SOPClassUID = "DX", "1.2.840.10008.5.1.4.1.1.1.1"
    dataset.save_as(tmp_path / "dx.dcm")
    assert read_radiograph(tmp_path / "dx.dcm").laterality == "L"


def test_a_radiograph_of_a_vertebra_takes_no_side():
    radiograph = Radiograph(np.eye(64, dtype=np.float32), 1.0)
    with pytest.raises(BoneprintError, match="neither left nor right"):
        probe.enrolment(
            [radiograph], Sums(), subject_id="S", bone="vertebra", laterality="L", source="x", source_hash="0" * 64
        )
