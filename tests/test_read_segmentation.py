"""Bones of one CT: label maps as DICOM SEG, the quality of each, and sides that cannot be right."""

import nibabel
import numpy as np
import pydicom
import pytest
from conftest import COARSE, COHORT_SEED
from pydicom.sr.codedict import codes

from boneprint import bone, ingest
from boneprint.errors import ReadError
from boneprint.nouns import Scan, Volume
from boneprint.read import find_series, read_labels, write_ct_series
from boneprint.simulate import individual

AFFINE = np.array([[1.5, 0, 0, -30], [0, 1.5, 0, -20], [0, 0, 2.0, 5], [0, 0, 0, 1]])


@pytest.fixture
def two_bones(tmp_path):
    """A CT with two rods, to the patient's right and left, its slices, and its label array."""
    hu = np.full((16, 30, 40), -1000, np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    for number, x in ((1, 8), (2, 28)):
        labels[1:-1, 10:18, x : x + 7] = number
    hu[labels > 0] = 900
    volume = Volume(hu, AFFINE)
    return volume, [pydicom.dcmread(path) for path in write_ct_series(tmp_path / "ct", volume, subject_id="A")], labels


def write_seg(path, slices, masks, segments):
    """A DICOM SEG by highdicom; segments are (label, type, anatomic region, laterality modifier) for each mask."""
    import highdicom
    from highdicom.seg import Segmentation, SegmentDescription

    described = []
    for number, (label, kind, region, side) in enumerate(segments, start=1):
        description = SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=codes.SCT.AnatomicalStructure,
            segmented_property_type=kind,
            algorithm_type="MANUAL",
            anatomic_regions=[region] if region else None,
        )
        if side:
            modifier = highdicom.sr.CodedConcept.from_code(side)
            place = description.AnatomicRegionSequence if region else description.SegmentedPropertyTypeCodeSequence
            keyword = "AnatomicRegionModifierSequence" if region else "SegmentedPropertyTypeModifierCodeSequence"
            setattr(place[0], keyword, [modifier])
        described.append(description)
    Segmentation(slices, masks, "BINARY", described, "1.2.9", 9, "1.2.9.1", 1, "x", "x", "1", "1").save_as(path)
    return path


LEFT, RIGHT = codes.SCT.Left, codes.SCT.Right


def test_names_and_sides_come_from_the_coded_segments(tmp_path, two_bones):
    volume, slices, labels = two_bones
    masks = np.stack([labels == 1, labels == 2], axis=-1).astype(np.uint8)
    bone_code = codes.SCT.Bone
    segments = [
        ("Segment_1", codes.SCT.Femur, None, RIGHT),
        ("my bone", bone_code, codes.SCT.Tibia, LEFT),
    ]
    found = read_labels(write_seg(tmp_path / "seg", slices, masks, segments))
    parts = bone.by_labels(volume, found.labels_on(volume), found.names)
    assert [(part.bone, part.laterality) for part in parts] == [("femur", "R"), ("tibia", "L")]
    assert np.array_equal(found.labels_on(volume), labels)


def test_a_segmentation_of_some_slices_lies_where_it_belongs(tmp_path, two_bones):
    volume, slices, labels = two_bones
    masks = (labels == 2).astype(np.uint8)
    path = write_seg(tmp_path / "seg", slices, masks, [("left femur", codes.SCT.Femur, None, None)])
    on_grid = read_labels(path).labels_on(volume)
    assert np.array_equal(on_grid > 0, labels == 2)
    assert list(read_labels(path).names.values()) == ["left Femur"]


def test_a_segment_that_is_called_left_and_right_at_once_is_refused(tmp_path, two_bones):
    _, slices, labels = two_bones
    segments = [("left femur", codes.SCT.Femur, None, RIGHT)]
    path = write_seg(tmp_path / "seg", slices, (labels == 2).astype(np.uint8), segments)
    with pytest.raises(ReadError, match="both left and right"):
        read_labels(path)


def test_a_segmentation_among_ct_slices_is_set_aside(tmp_path, two_bones):
    _, slices, labels = two_bones
    write_seg(tmp_path / "ct/seg", slices, (labels == 1).astype(np.uint8), [("x", codes.SCT.Femur, None, None)])
    found = find_series(tmp_path / "ct")
    assert len(found.sources) == 1
    ((path, reason),) = found.skipped
    assert path.name == "seg"
    assert "--labels" in reason


def test_what_is_no_segmentation_is_refused(tmp_path, two_bones):
    with pytest.raises(ReadError, match="expected a segmentation"):
        read_labels(tmp_path / "ct/CT0001.dcm")


def scan_of(volume, **said):
    return Scan(volume, "x", "0" * 64, "S", **said)


def rod(shape=(40, 20, 20), box=(slice(5, 35), slice(6, 14), slice(6, 14)), value=900):
    hu = np.full(shape, -1000, np.int16)
    hu[box] = value
    return Volume(hu, np.eye(4))


@pytest.mark.parametrize(
    ("box", "faces"),
    [
        ((slice(5, 35), slice(6, 14), slice(6, 14)), ()),
        ((slice(0, 35), slice(6, 14), slice(6, 14)), ("feet",)),
        ((slice(5, 40), slice(6, 14), slice(6, 14)), ("head",)),
        ((slice(5, 35), slice(0, 14), slice(6, 14)), ("front",)),
        ((slice(5, 35), slice(6, 14), slice(6, 20)), ("left",)),
    ],
)
def test_a_bone_that_leaves_the_scan_is_cut_off_on_the_side_it_leaves_by(box, faces):
    volume = rod(box=box)
    assert bone.quality_of(bone.isolate(volume), volume).cut_off == faces
    flipped = Volume(volume.hu[::-1, :, ::-1].copy(), np.diag([-1.0, 1, -1, 1]))  # the same body, stored the other way
    assert bone.quality_of(bone.isolate(flipped), flipped).cut_off == faces


def test_metal_is_measured_and_teeth_are_none():
    volume = rod()
    volume.hu[10:20, 8:12, 8:12] = 3071
    quality = bone.quality_of(bone.isolate(volume), volume)
    assert quality.metal_ml == pytest.approx(0.16)
    assert any("metal" in note for note in quality.notes)
    assert bone.quality_of(bone.isolate(volume), volume, kind="mandible").metal_ml == 0


def test_what_is_unfit_is_not_enrolled_and_says_why():
    volume = rod()
    coarse = bone.quality_of(bone.isolate(volume), volume, coarsest_mm=7.0)
    assert "thinner slices" in coarse.unfit
    mostly = rod(value=3071)
    assert "metal" in bone.quality_of(bone.isolate(mostly), mostly).unfit
    assert bone.quality_of(bone.isolate(volume), volume).unfit is None
    (specimen,) = ingest.specimens(scan_of(volume, coarsest_mm=7.0), ingest.Options())
    with pytest.raises(ReadError, match="not fit to be enrolled"):
        ingest.enrol(specimen, scan_of(volume), None, ingest.Options(), None)


@pytest.mark.parametrize(("off_mm", "cut_off"), [(0, ()), (60, ("round field of view",))])
def test_a_bone_at_the_edge_of_a_round_field_of_view_is_cut_off_by_it(off_mm, cut_off):
    """Scanners reconstruct a circle; a limb that does not lie in its middle ends there and not at the grid's border."""
    y, x = (np.arange(80) - 39.5)[:, None] * 2, (np.arange(80) - 39.5)[None] * 2
    place = np.hypot(x - off_mm, y - off_mm)  # mm; the circle ends at 80 mm
    section = np.where(place < 14, 900, np.where(place < 40, 50, -990))
    section = np.where(np.hypot(x, y) < 80, section, -1000)
    hu = np.full((40, 80, 80), -990)
    hu[:, np.hypot(x, y) >= 80] = -1000
    hu[4:36] = section
    volume = Volume(hu.astype(np.int16), AFFINE)
    quality = bone.quality_of(bone.isolate(volume), volume)
    assert quality.cut_off == cut_off
    assert quality.complete == (not cut_off)


def test_labels_that_exchange_left_and_right_are_flagged(tmp_path, two_bones):
    volume, _, labels = two_bones
    table = "<LabelTable>{}</LabelTable>"
    row = '<Label Key="{}" Red="0" Green="0" Blue="0" Alpha="1">{}</Label>'
    for names, doubted in ((("femur_right", "femur_left"), False), (("femur_left", "femur_right"), True)):
        text = table.format("".join(row.format(number, name) for number, name in enumerate(names, start=1)))
        image = nibabel.Nifti1Image(labels.T, np.diag([-1.0, -1, 1, 1]) @ AFFINE)
        image.header.extensions.append(nibabel.nifti1.Nifti1Extension(0, text.encode()))
        nibabel.save(image, tmp_path / "seg.nii")
        options = ingest.Options(labels=tmp_path / "seg.nii")
        found = ingest.specimens(scan_of(volume), options)
        assert len(found) == 2
        assert all(any("LATERALITY" in note for note in each.notes) == doubted for each in found)


@pytest.fixture(scope="module", params=["femur", "tibia", "hip", "humerus"])
def left_bone(request):
    body = individual(COHORT_SEED, 1, bone=request.param, laterality="L")
    volume, _ = body.scan(COARSE)
    return request.param, volume


@pytest.mark.parametrize("error", [None, "tag", "mirrored", "option"])
def test_a_wrong_side_of_a_bone_is_flagged(left_bone, error):
    kind, left = left_bone
    side, volume, options = "L", left, ingest.Options()
    if error == "tag":
        side = "R"
    if error == "mirrored":  # the voxels turned round on their way, the tags not
        volume = Volume(np.ascontiguousarray(left.hu[:, :, ::-1]), left.affine)
    if error == "option":
        options = ingest.Options(laterality="R")
    (specimen,) = ingest.specimens(scan_of(volume, body_part=kind, laterality=side), options)
    assert any("LATERALITY IN DOUBT" in note for note in specimen.notes) == (error is not None)
