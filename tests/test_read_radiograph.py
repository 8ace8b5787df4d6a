"""Radiographs in DICOM: bone is bright, and a spacing is a size or unknown."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from boneprint.errors import ReadError
from boneprint.nouns import Volume
from boneprint.read import read_radiograph, write_ct_series

RAMP = np.add.outer(np.arange(20) * 30, np.arange(24) * 10).astype(np.uint16)  # rises to the lower right, up to 800


@pytest.fixture
def radiograph(tmp_path):
    """Write RAMP as a DX of some kind; give its path."""

    def write(pixels=RAMP, **tags):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1.1"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
        dataset.Modality = "DX"
        dataset.Rows, dataset.Columns = pixels.shape[:2]
        dataset.SamplesPerPixel = pixels.ndim - 1 if pixels.ndim == 2 else 3
        dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
        if pixels.ndim == 3:
            dataset.PlanarConfiguration = 0
        dataset.BitsAllocated = dataset.BitsStored = pixels.itemsize * 8
        dataset.HighBit = dataset.BitsStored - 1
        dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(tmp_path / "x.dcm", enforce_file_format=True)
        return tmp_path / "x.dcm"

    return write


def refusal(path, **options):
    with pytest.raises(ReadError) as refused:
        read_radiograph(path, **options)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_bone_is_bright_in_either_photometric_interpretation(radiograph, photometric):
    stored = RAMP if photometric == "MONOCHROME2" else 1000 - RAMP
    pixels = read_radiograph(radiograph(stored, PhotometricInterpretation=photometric)).pixels
    assert np.array_equal(pixels - pixels.min(), RAMP)


def test_beam_intensity_is_turned_round(radiograph):
    beam = 1000 - RAMP
    raw = {"PresentationIntentType": "FOR PROCESSING", "PixelIntensityRelationshipSign": 1}
    for tags in (raw, {"Modality": "XA"}):
        assert np.array_equal(read_radiograph(radiograph(beam, **tags)).pixels, RAMP)


def test_rescale_is_applied_and_the_window_is_not(radiograph):
    path = radiograph(RescaleSlope="2", RescaleIntercept="-100", WindowCenter="50", WindowWidth="10")
    assert np.array_equal(read_radiograph(path).pixels, RAMP * 2.0 - 100)


def test_a_modality_table_is_applied(radiograph):
    table = Dataset()
    table.LUTDescriptor = [801, 0, 16]
    table.ModalityLUTType = "US"
    table.LUTData = (np.arange(801) ** 2 // 64).astype(np.uint16).tobytes()
    table["LUTData"].VR = "OW"
    assert read_radiograph(radiograph(ModalityLUTSequence=[table])).pixels.max() == RAMP.max().astype(int) ** 2 // 64


@pytest.mark.parametrize(
    ("tags", "spacing_mm"),
    [
        ({"PixelSpacing": [0.2, 0.2]}, 0.2),
        ({"ImagerPixelSpacing": [0.3, 0.3]}, 0.3),
        ({"ImagerPixelSpacing": [0.3, 0.3], "EstimatedRadiographicMagnificationFactor": 1.5}, 0.2),
        ({"PixelSpacing": [0.2, 0.2], "ImagerPixelSpacing": [0.3, 0.3]}, 0.2),
        (
            {
                "PixelSpacing": [0.3, 0.3],
                "ImagerPixelSpacing": [0.3, 0.3],
                "EstimatedRadiographicMagnificationFactor": 1.5,
            },
            0.2,
        ),
        ({"NominalScannedPixelSpacing": [0.15, 0.15]}, 0.15),
        ({"ImagerPixelSpacing": [0.3, 0.3], "DistanceSourceToDetector": 1500, "DistanceSourceToPatient": 1000}, 0.2),
        ({"ImagerPixelSpacing": [0.3, 0.3], "DistanceSourceToDetector": 1000, "DistanceSourceToPatient": 1500}, 0.3),
        (
            {
                "PixelSpacing": [0.3, 0.3],
                "ImagerPixelSpacing": [0.3, 0.3],
                "PixelSpacingCalibrationType": "FIDUCIAL",
                "EstimatedRadiographicMagnificationFactor": 1.5,
            },
            0.3,
        ),
        ({"PixelSpacing": [0, 0]}, None),
        ({"PixelSpacing": [0, 0], "ImagerPixelSpacing": [0.3, 0.3]}, 0.3),
        ({"PixelSpacing": [200, 200]}, None),
        ({"PixelSpacing": [-0.2, -0.2]}, None),
        ({"PixelSpacing": ""}, None),
        ({}, None),
    ],
)
def test_spacing_is_that_of_the_bone_or_unknown(radiograph, tags, spacing_mm):
    assert read_radiograph(radiograph(**tags)).spacing_mm == pytest.approx(spacing_mm)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"PixelSpacing": [0, 0]}, "PixelSpacing 0 x 0 mm of the file is taken as unknown"),
        ({"PixelSpacing": [200, 200]}, "200 x 200 mm"),
        ({"ImagerPixelSpacing": [0.3, 0.3]}, "magnification unknown"),
        ({"ImagerPixelSpacing": [0.3, 0.3], "EstimatedRadiographicMagnificationFactor": 1.2}, "magnification of 1.200"),
        ({"PixelSpacing": [0.3, 0.3]}, "not known"),
    ],
)
def test_what_is_not_known_of_a_spacing_is_said(radiograph, tags, said):
    assert any(said in note for note in read_radiograph(radiograph(**tags)).notes)
    assert read_radiograph(radiograph(**tags), pixel_spacing_mm=0.2).notes == ()


def test_a_calibrated_spacing_needs_no_words(radiograph):
    tags = {"PixelSpacing": [0.25, 0.25], "PixelSpacingCalibrationType": "GEOMETRY"}
    assert read_radiograph(radiograph(**tags)).notes == ()


def test_the_makers_tone_curve_is_applied(radiograph):
    table = Dataset()
    table.LUTDescriptor = [801, 0, 16]
    table.LUTData = (np.arange(801) ** 2 // 64).astype(np.uint16).tobytes()
    table["LUTData"].VR = "OW"
    assert read_radiograph(radiograph(VOILUTSequence=[table])).pixels.max() == RAMP.max().astype(int) ** 2 // 64
    sigmoid = {"VOILUTFunction": "SIGMOID", "WindowCenter": "400", "WindowWidth": "200"}
    pixels = read_radiograph(radiograph(**sigmoid)).pixels
    share = (pixels - pixels.min()) / np.ptp(pixels)
    true = 1 / (1 + np.exp(-4 * (RAMP.astype(float) - 400) / 200))  # PS3.3 C.11.2.1.3.1
    assert share == pytest.approx((true - true.min()) / np.ptp(true), abs=1e-3)


@pytest.mark.parametrize(
    ("letters", "upright"),
    [
        (["L", "F"], RAMP),
        (["R", "F"], RAMP[:, ::-1]),
        (["L", "H"], RAMP[::-1]),
        (["R", "H"], RAMP[::-1, ::-1]),
        (["F", "L"], RAMP.T),
        (["H", "L"], RAMP.T[::-1]),
        (["F", "R"], RAMP.T[:, ::-1]),
        (["A", "F"], RAMP),
        (["P", "F"], RAMP),
        (["L", "P"], RAMP),
        (["", ""], RAMP),
    ],
)
def test_a_picture_is_turned_upright_by_its_patient_orientation(radiograph, letters, upright):
    assert np.array_equal(read_radiograph(radiograph(PatientOrientation=letters)).pixels, upright)


def test_one_frame_of_several_is_read_when_it_is_named(radiograph):
    second = RAMP[::-1]
    path = radiograph(np.concatenate([RAMP, second]), NumberOfFrames=2, Rows=20)
    assert "--frame" in refusal(path)
    assert np.array_equal(read_radiograph(path, frame=2).pixels, second)
    assert "frame 3" in refusal(path, frame=3)
    path = radiograph(np.concatenate([RAMP, second]), NumberOfFrames=2, Rows=20, RepresentativeFrameNumber=2)
    assert np.array_equal(read_radiograph(path).pixels, second)


def test_a_picture_is_inverted_when_asked(radiograph):
    assert np.array_equal(read_radiograph(radiograph(), invert=True).pixels, RAMP.max() - RAMP)


def test_what_the_user_says_overrules_the_file(radiograph):
    path = radiograph(PixelSpacing=[0.2, 0.2], ViewPosition="PA")
    assert read_radiograph(path).view == "PA"
    told = read_radiograph(path, pixel_spacing_mm=0.25, view="AP")
    assert (told.spacing_mm, told.view) == (0.25, "AP")
    for nonsense in (0.0, -1.0, float("nan"), float("inf")):
        assert "positive" in refusal(path, pixel_spacing_mm=nonsense)


def test_pixels_that_are_not_square_become_square(radiograph):
    shown = read_radiograph(radiograph(PixelSpacing=[0.4, 0.2]))
    assert shown.spacing_mm == pytest.approx(0.2)
    assert shown.pixels.shape == (40, 24)
    assert np.diff(shown.pixels[2:-2, 5]) == pytest.approx(15)  # a ramp stays a ramp
    assert read_radiograph(radiograph(PixelAspectRatio=[1, 2])).pixels.shape == (20, 48)


def test_padding_is_as_dark_as_the_darkest_of_the_picture(radiograph):
    stored = 1000 - RAMP
    stored[:3] = 4095
    path = radiograph(stored, PhotometricInterpretation="MONOCHROME1", PixelPaddingValue=4095)
    pixels = read_radiograph(path).pixels
    assert np.array_equal(pixels[3:], RAMP[3:] - RAMP[3:].min())
    assert (pixels[:3] == 0).all()


def test_a_colour_capture_becomes_grey(radiograph):
    grey = (RAMP // 4).astype(np.uint8)
    path = radiograph(np.stack([grey] * 3, axis=-1), Modality="OT", SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    assert np.abs(read_radiograph(path).pixels - grey).max() < 0.01


def test_several_frames_are_refused(radiograph):
    path = radiograph(np.concatenate([RAMP, RAMP]), NumberOfFrames=2, Rows=20)
    assert "2 frames" in refusal(path)


def test_a_picture_cut_short_is_refused(radiograph):
    path = radiograph()
    path.write_bytes(path.read_bytes()[:-50])
    refusal(path)


def test_a_bomb_is_refused_unopened(radiograph):
    path = radiograph()
    dataset = pydicom.dcmread(path)
    dataset.Rows = dataset.Columns = 65535
    dataset.save_as(path)
    assert "65535 x 65535" in refusal(path)


def test_what_is_no_radiograph_is_refused(radiograph, tmp_path):
    assert "modality MR" in refusal(radiograph(Modality="MR"))
    (slice_path, *_) = write_ct_series(
        tmp_path / "ct", Volume(np.zeros((5, 9, 9), np.int16), np.eye(4)), subject_id="A"
    )
    assert "CT slice" in refusal(slice_path)
    assert "folder" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "missing.png")
    assert "every pixel" in refusal(radiograph(np.zeros((9, 9), np.uint16)))


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        (
            {
                "ShutterShape": "RECTANGULAR",
                "ShutterUpperHorizontalEdge": 11,
                "ShutterLowerHorizontalEdge": 80,
                "ShutterLeftVerticalEdge": 21,
                "ShutterRightVerticalEdge": 90,
            },
            (70, 70),
        ),
        (
            {
                "ShutterShape": "POLYGONAL",
                "VerticesOfThePolygonalShutter": [11, 21, 11, 90, 80, 90, 80, 21],
            },
            (70, 70),
        ),
        (
            {"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [50, 50], "RadiusOfCircularShutter": 35},
            (69, 69),  # its rim is left out
        ),
        ({"ShutterShape": "CIRCULAR", "CenterOfCircularShutter": [500, 50], "RadiusOfCircularShutter": 3}, (100, 110)),
        ({"ShutterShape": "RECTANGULAR", "ShutterUpperHorizontalEdge": 11}, (100, 110)),
    ],
)
def test_shutters_that_the_file_names_are_darkened_and_cropped(radiograph, tags, kept):
    """Edges count from 1; what leaves nothing of the picture, or says too little, is not believed."""
    noise = np.random.default_rng(0).integers(500, 4000, (100, 110)).astype(np.uint16)
    read = read_radiograph(radiograph(noise, **tags))
    assert read.pixels.shape == pytest.approx(kept, abs=1)
    assert any("shutters that the file names" in note for note in read.notes) == (kept != noise.shape)


def test_collimator_edges_in_millimetres_of_the_table_are_not_believed(radiograph):
    """As a real chest in the wild has them: -184 to 184 across, 907 to 1299 down."""
    edges = {"Left": -184, "Right": 184}, {"Upper": 9, "Lower": 13}
    tags = {f"Collimator{side}VerticalEdge": value for side, value in edges[0].items()}
    tags |= {f"Collimator{side}HorizontalEdge": value for side, value in edges[1].items()}
    noise = np.random.default_rng(0).integers(500, 4000, (100, 110)).astype(np.uint16)
    assert read_radiograph(radiograph(noise, CollimatorShape="RECTANGULAR", **tags)).pixels.shape == noise.shape
