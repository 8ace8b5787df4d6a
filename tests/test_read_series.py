"""A CT series: what is written comes back, and what cannot be read right is refused."""

import itertools
import shutil
import struct
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boneprint.errors import BoneprintError, ReadError
from boneprint.nouns import Volume
from boneprint.read import find_series, write_ct_series

# A marker at the left, one at the back, one at the head: three HU that tell which way round a body lies.
MARKERS = {500: (9.0, -2.0, -3.0), 1000: (-4.0, 8.0, -2.0), 1500: (-3.0, -4.0, 10.0)}
SIGNED_AXES = [np.array(order)[:, None] == np.arange(3) for order in itertools.permutations(range(3))]
ORIENTATIONS = [
    axes.astype(float) * signs for axes in SIGNED_AXES for signs in itertools.product((1.0, -1.0), repeat=3)
]


def body(affine, shape=(15, 16, 17)):
    """HU of three balls of 3.2 mm radius in water, sampled on a grid of (Z, Y, X) voxels."""
    z, y, x = np.mgrid[tuple(slice(size) for size in shape)]
    places = np.stack([x, y, z], axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    hu = np.zeros(shape, dtype=np.int16)
    for value, centre in MARKERS.items():
        hu[np.linalg.norm(places - centre, axis=-1) < 3.2] = value
    return Volume(hu, affine)


def centred(directions, spacing_mm=(2.0, 1.8, 2.2), shape=(15, 16, 17)):
    """Affine of a grid with its middle at the origin of the patient."""
    affine = np.eye(4)
    affine[:3, :3] = directions * np.array(spacing_mm)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return affine


def markers_of(volume):
    """Where the markers lie in patient LPS mm."""
    found = {}
    for value in MARKERS:
        zyx = np.argwhere(volume.hu == value)
        found[value] = volume.to_patient(zyx[:, ::-1].astype(float)).mean(axis=0)
    return found


def load(folder):
    (source,) = find_series(folder).sources
    return source.load()


def change(path, **tags):
    dataset = pydicom.dcmread(path)
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path)


@pytest.fixture
def folder(tmp_path):
    write_ct_series(tmp_path / "ct", body(centred(np.eye(3))), subject_id="S1", body_part="femur", laterality="L")
    return tmp_path / "ct"


@pytest.mark.parametrize("directions", ORIENTATIONS)
def test_markers_lie_in_their_place_whichever_way_the_body_was_sliced(tmp_path, directions):
    volume = body(centred(directions))
    write_ct_series(tmp_path, volume, subject_id="S1")
    scan = load(tmp_path)
    places = markers_of(scan.volume)
    for value, true in MARKERS.items():
        assert np.abs(places[value] - true).max() < 1.1  # half a voxel: a ball on a grid
        assert np.allclose(places[value], markers_of(volume)[value], atol=1e-9)


def test_a_written_series_comes_back_exactly(tmp_path):
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])
    affine = centred(turn, (0.7, 0.7, 1.25))
    hu = np.random.default_rng(1).integers(-1000, 3000, (15, 16, 17)).astype(np.int16)
    write_ct_series(tmp_path, Volume(hu, affine), subject_id="S1", body_part="femur", laterality="R")
    scan = load(tmp_path)
    assert np.array_equal(scan.volume.hu, hu)
    assert np.allclose(scan.volume.affine, affine, atol=1e-9)
    assert (scan.subject_id, scan.body_part, scan.laterality, scan.notes) == ("S1", "femur", "R", ())


def test_slices_written_from_head_to_feet_come_back_as_the_same_body(tmp_path):
    volume = body(centred(np.diag([1.0, 1.0, -1.0])))
    write_ct_series(tmp_path, volume, subject_id="S1")
    again = load(tmp_path).volume
    assert np.array_equal(again.hu, volume.hu[::-1])
    assert again.affine[2, 2] > 0


def test_the_same_call_writes_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_ct_series(tmp_path / name, body(centred(np.eye(3))), subject_id="S1")
    assert all(path.read_bytes() == (tmp_path / "b" / path.name).read_bytes() for path in (tmp_path / "a").iterdir())


def test_a_written_slice_has_what_the_ct_standard_demands(folder):
    tags = pydicom.dcmread(folder / "CT0001.dcm")
    present = (
        "PatientName PatientID PatientBirthDate PatientSex StudyInstanceUID StudyDate StudyTime ReferringPhysicianName "
        "StudyID AccessionNumber Modality SeriesInstanceUID SeriesNumber PatientPosition FrameOfReferenceUID "
        "PositionReferenceIndicator Manufacturer InstanceNumber ImageType ImageOrientationPatient ImagePositionPatient "
        "PixelSpacing SliceThickness SamplesPerPixel PhotometricInterpretation BitsAllocated BitsStored HighBit "
        "PixelRepresentation RescaleIntercept RescaleSlope KVP AcquisitionNumber SOPClassUID SOPInstanceUID"
    )
    assert [keyword for keyword in present.split() if keyword not in tags] == []
    assert tags.SOPClassUID.name == "CT Image Storage"
    assert tags.file_meta.TransferSyntaxUID.name == "Explicit VR Little Endian"
    assert "".join(tags.PatientName.components) == "Simulated^S1"


def test_a_sheared_volume_is_not_written(tmp_path):
    affine = centred(np.eye(3))
    affine[1, 2] = 0.5
    with pytest.raises(BoneprintError, match="orthogonal"):
        write_ct_series(tmp_path, body(affine), subject_id="S1")


@settings(max_examples=5, deadline=None)
@given(order=st.permutations(range(15)))
def test_file_names_decide_nothing(tmp_path_factory, order):
    volume = body(centred(np.eye(3)))
    written = tmp_path_factory.mktemp("written")
    shuffled = tmp_path_factory.mktemp("shuffled")
    for number, path in zip(order, write_ct_series(written, volume, subject_id="S1"), strict=True):
        shutil.copy(path, shuffled / f"IM{number:06d}")
    (source,) = find_series(shuffled).sources
    assert np.array_equal(source.load().volume.hu, volume.hu)
    assert source.source_hash == find_series(written).sources[0].source_hash


def test_slice_thickness_is_not_the_spacing(folder):
    for path in folder.iterdir():
        change(path, SliceThickness="9.9", SpacingBetweenSlices="7.7")
    assert load(folder).volume.spacing_mm == pytest.approx([2.0, 1.8, 2.2])


def test_pixel_spacing_is_between_rows_first(folder):
    assert pydicom.dcmread(folder / "CT0001.dcm").PixelSpacing == [1.8, 2.0]  # rows (y), columns (x)


def test_padding_and_what_lies_below_air_become_air(folder):
    for path in folder.iterdir():
        dataset = pydicom.dcmread(path)
        pixels = dataset.pixel_array.astype(np.int16) - 1024
        pixels[0, :3] = (-3024, -2000, -1500)
        dataset.PixelRepresentation, dataset.RescaleIntercept = 1, "0"
        dataset.add_new("PixelPaddingValue", "US", 63536)  # -2000, as some scanners write it
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(path)
    hu = load(folder).volume.hu
    assert (hu[:, 0, :3] == -1000).all()
    assert hu.min() == -1000


def test_slope_and_intercept_of_every_slice_are_its_own(folder):
    expected = load(folder).volume.hu
    path = folder / "CT0004.dcm"
    dataset = pydicom.dcmread(path)
    halved = (dataset.pixel_array.astype(np.int32) - 1024) // 2 + 500
    change(path, PixelData=halved.astype(np.uint16).tobytes(), RescaleSlope="2", RescaleIntercept="-1000")
    assert np.array_equal(load(folder).volume.hu, expected)


def test_a_missing_slice_is_refused_and_named(folder):
    (folder / "CT0007.dcm").unlink()
    with pytest.raises(
        ReadError, match=r"CT0006\.dcm: gap of 4\.40 mm .* expected 2\.20 mm: 1 slice is missing"
    ) as refused:
        load(folder)
    assert "\n" not in str(refused.value)


def test_positions_rounded_to_a_tenth_are_good_enough(folder):
    for path in folder.iterdir():
        x, y, z = pydicom.dcmread(path).ImagePositionPatient
        change(path, ImagePositionPatient=[x, y, round(float(z) + 0.03, 1)])
    assert load(folder).volume.spacing_mm[2] == pytest.approx(2.2, abs=0.01)


def test_a_copy_of_a_slice_is_set_aside_and_changes_neither_voxels_nor_hash(folder):
    before = load(folder)
    shutil.copy(folder / "CT0003.dcm", folder / "copy")
    after = load(folder)
    assert np.array_equal(before.volume.hu, after.volume.hu)
    assert before.source_hash == after.source_hash
    assert after.notes == ("1 duplicate slice set aside",)


def test_two_pictures_of_one_place_are_refused(folder):
    shutil.copy(folder / "CT0003.dcm", folder / "other")
    dataset = pydicom.dcmread(folder / "other")
    change(folder / "other", PixelData=(dataset.pixel_array + 7).tobytes(), SOPInstanceUID="1.2.3")
    with pytest.raises(ReadError, match="another picture"):
        load(folder)


def test_a_few_slices_are_no_ct(folder):
    for path in sorted(folder.iterdir())[4:]:
        path.unlink()
    with pytest.raises(ReadError, match="4 slices in the series"):
        load(folder)


def test_a_slice_cut_short_refuses_its_series_by_name(folder):
    path = folder / "CT0005.dcm"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ReadError, match=r"CT0005\.dcm") as refused:
        load(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("tilt_deg", [-25.0, 18.5])
def test_a_tilted_gantry_leaves_the_body_straight(tmp_path, tilt_deg):
    tilt = np.deg2rad(tilt_deg)
    affine = centred(np.array([[1, 0, 0], [0, np.cos(tilt), 0], [0, -np.sin(tilt), 1]]))
    upright = centred(np.eye(3))
    paths = write_ct_series(tmp_path, Volume(body(affine).hu, upright), subject_id="S1")
    for number, path in enumerate(paths):
        change(
            path,
            ImageOrientationPatient=[1, 0, 0, 0, *(round(float(value), 7) for value in (np.cos(tilt), -np.sin(tilt)))],
            ImagePositionPatient=[round(float(value), 6) for value in affine[:3, 3] + number * affine[:3, 2]],
            GantryDetectorTilt=str(tilt_deg),
        )
    scan = load(tmp_path)
    assert np.allclose(scan.volume.affine, affine, atol=1e-5)
    assert any("gantry tilt" in note for note in scan.notes)
    for value, place in markers_of(scan.volume).items():
        assert np.abs(place - MARKERS[value]).max() < 1.1


def test_a_tilt_tag_without_tilted_positions_is_noted(folder):
    for path in folder.iterdir():
        change(path, GantryDetectorTilt="12.0")
    assert any("12" in note for note in load(folder).notes)


def test_neither_name_nor_birth_date_of_a_patient_is_kept(folder):
    for path in folder.iterdir():
        change(path, PatientName="Doe^Jane", PatientBirthDate="19700101")
    (source,) = find_series(folder).sources
    assert "Doe" not in repr(source.load()) + repr(vars(source.slices[0]))
    assert "1970" not in repr(vars(source.slices[0]))


def test_nameless_patients_are_never_one(folder, tmp_path):
    other = tmp_path / "other"
    write_ct_series(other, body(centred(np.eye(3), (2.1, 1.8, 2.2))), subject_id="S2")
    for path in [*folder.iterdir(), *other.iterdir()]:
        change(path, PatientID="")
    first, second = (load(where).subject_id for where in (folder, other))
    assert first.startswith("unknown-")
    assert first != second


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_damaged_file_gives_our_error_or_a_scan(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damaged")
    shape = (5, 16, 17)
    write_ct_series(folder, body(centred(np.eye(3), shape=shape), shape), subject_id="S1")
    path = Path(folder / "CT0003.dcm")
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(128, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    said = [error for _, error in find_series(folder).failed]
    for source in find_series(folder).sources:
        try:
            source.load()
        except ReadError as error:
            said.append(str(error))
    assert not any("\n" in error for error in said)


def lossless_jpeg(pixels):
    """JPEG of process 14, selection value 1 (each sample told by its left neighbour), as ITU-T T.81 annex H has it.

    Every category of difference has a code of five bits, so that the Huffman table is a list of all seventeen.
    """
    samples = pixels.view(np.uint16).astype(np.int64)
    told = np.roll(samples, 1, axis=1)
    told[1:, 0], told[0, 0] = samples[:-1, 0], 2**15
    bits = []
    for difference in ((samples - told + 2**15) % 2**16 - 2**15).ravel().tolist():
        category = 16 if difference == -(2**15) else abs(difference).bit_length()
        bits.append(f"{category:05b}")
        if 0 < category < 16:
            bits.append(f"{difference if difference > 0 else difference + 2**category - 1:0{category}b}")
    coded = "".join(bits)
    coded += "1" * (-len(coded) % 8)
    stream = int(coded, 2).to_bytes(len(coded) // 8).replace(b"\xff", b"\xff\0")
    height, width = pixels.shape
    table = bytes([0, 0, 0, 0, 0, 17, *[0] * 11, *range(17)])
    return b"".join(
        [
            b"\xff\xd8",
            b"\xff\xc3" + struct.pack(">HBHHB3B", 11, 16, height, width, 1, 1, 0x11, 0),
            b"\xff\xc4" + struct.pack(">H", 2 + len(table)) + table,
            b"\xff\xda" + struct.pack(">HB2B3B", 8, 1, 1, 0, 1, 0, 0),
            stream,
            b"\xff\xd9",
        ]
    )


def test_a_lossless_jpeg_series_gives_the_same_voxels(tmp_path):
    shape = (6, 64, 72)
    volume = body(centred(np.eye(3), shape=shape), shape=shape)
    for path in write_ct_series(tmp_path, volume, subject_id="S1"):
        dataset = pydicom.dcmread(path)
        dataset.PixelData = pydicom.encaps.encapsulate([lossless_jpeg(dataset.pixel_array)])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.70"
        dataset.save_as(path)
    assert np.array_equal(load(tmp_path).volume.hu, volume.hu)


@pytest.mark.parametrize(
    "syntax",
    ["1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80"],
    ids=["deflated", "RLE", "JPEG 2000", "JPEG-LS"],
)
def test_every_lossless_compression_gives_the_same_voxels(tmp_path, syntax):
    shape = (6, 64, 72)
    volume = body(centred(np.eye(3), shape=shape), shape=shape)
    for path in write_ct_series(tmp_path, volume, subject_id="S1"):
        dataset = pydicom.dcmread(path)
        if syntax.endswith(".99"):
            dataset.file_meta.TransferSyntaxUID = syntax
        else:
            dataset.compress(syntax)
        dataset.save_as(path)
    assert np.array_equal(load(tmp_path).volume.hu, volume.hu)
