"""Zip archives and DICOMDIRs: what lies in them is found, and what leads out of them is refused."""

import io
import zipfile

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

from boneprint.errors import ReadError
from boneprint.nouns import Volume
from boneprint.read import find_series, write_ct_series
from boneprint.read.archive import unpacked


@pytest.fixture
def folder(tmp_path):
    hu = np.random.default_rng(0).integers(-1000, 1500, (6, 12, 12)).astype(np.int16)
    write_ct_series(tmp_path / "ct", Volume(hu, np.diag([1.0, 1.0, 2.0, 1.0])), subject_id="A")
    return tmp_path / "ct"


def packed(path, entries, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            archive.writestr(name, content, **options)
    return path


def refusal(path):
    found = find_series(path)
    assert found.sources == ()
    ((where, error),) = found.failed
    assert where == path
    assert "\n" not in error
    return error


def test_a_zipped_series_is_the_same_ct(folder, tmp_path):
    archive = packed(tmp_path / "x.zip", [(f"a/b/{path.name}", path.read_bytes()) for path in folder.iterdir()])
    (zipped,), (plain,) = find_series(archive).sources, find_series(folder).sources
    assert np.array_equal(zipped.load().volume.hu, plain.load().volume.hu)
    assert zipped.source_hash == plain.source_hash
    assert zipped.place == archive
    assert zipped.label == f"{archive}/a/b (6 slices)"


def test_what_is_wrong_in_an_archive_is_named_by_its_place_in_it(folder, tmp_path):
    paths = sorted(folder.iterdir())
    content = [(path.name, path.read_bytes()) for path in paths if path.name != "CT0003.dcm"]
    archive = packed(tmp_path / "x.zip", [*content, ("notes.txt", "hello"), ("inner.zip", b"PK\x03\x04")])
    found = find_series(archive)
    assert {str(path): reason for path, reason in found.skipped} == {
        f"{archive}/notes.txt": "neither DICOM nor NIfTI",
        f"{archive}/inner.zip": "a zip archive within an archive; unpack it first",
    }
    with pytest.raises(ReadError, match="1 slice is missing") as refused:
        found.sources[0].load()
    assert str(refused.value).startswith(f"{archive}/CT0002.dcm")


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/etc/evil", "..\\evil", "C:\\evil"])
def test_a_name_that_leads_out_of_an_archive_is_refused(tmp_path, name):
    assert "leads out" in refusal(packed(tmp_path / "x.zip", [(name, b"x")]))
    assert not (tmp_path / "evil").exists()


def test_a_link_in_an_archive_is_refused(tmp_path):
    entry = zipfile.ZipInfo("CT1")
    entry.external_attr = 0o120777 << 16
    assert "is a link" in refusal(packed(tmp_path / "x.zip", [(entry, "/etc/passwd")]))


def test_an_archive_that_swells_is_refused(tmp_path):
    archive = tmp_path / "x.zip"
    with (
        zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out,
        out.open("zeros", "w", force_zip64=True) as entry,
    ):
        for _ in range(64):
            entry.write(bytes(2**20))
    assert "density" in refusal(archive)


def test_an_archive_that_lies_about_its_size_is_refused(tmp_path):
    archive = packed(tmp_path / "x.zip", [("a", bytes(100_000))])
    content = bytearray(archive.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = content.index(signature) + offset
        content[at : at + 4] = (10).to_bytes(4, "little")
    archive.write_bytes(content)
    refusal(archive)


def test_a_damaged_or_encrypted_archive_is_refused(tmp_path):
    archive = packed(tmp_path / "x.zip", [("a", b"abc" * 1000)])
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "y.zip").write_bytes(content)
    assert "encrypted" in refusal(tmp_path / "y.zip")
    (tmp_path / "z.zip").write_bytes(archive.read_bytes()[:60])
    refusal(tmp_path / "z.zip")


def test_the_unpacked_folder_goes_away(tmp_path):
    from pathlib import Path

    folder = unpacked(packed(tmp_path / "x.zip", [("a", b"x"), ("a", b"y")]))
    place = Path(folder.name)
    assert len(list(place.iterdir())) == 2  # two entries of one name are two files
    del folder
    assert not place.exists()


def directory(path, names):
    """Write a DICOMDIR that lists files by their name parts."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    dataset = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    dataset.FileSetID = "DISC"
    records = []
    for name in names:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = name
        records.append(record)
    dataset.DirectoryRecordSequence = records
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())
    return path


def test_a_dicomdir_leads_to_its_files(folder):
    names = [[path.name] for path in sorted(folder.iterdir())]
    path = directory(folder / "DICOMDIR", names)
    (source,) = find_series(path).sources
    assert len(source.paths) == 6
    (source,) = find_series(folder).sources  # in its folder it changes nothing
    assert len(source.paths) == 6


def test_a_dicomdir_that_lists_more_than_is_there_says_so(folder):
    path = directory(folder / "DICOMDIR", [["CT0001.dcm"], ["IMAGES", "LOST"]])
    ((where, error),) = find_series(path).failed
    assert where == path
    assert "IMAGES/LOST" in error


@pytest.mark.parametrize("name", [["..", "secret"], ["a/../../secret"], ["..\\secret"]])
def test_a_dicomdir_that_leads_out_of_its_folder_is_refused(folder, name):
    (folder.parent / "secret").write_bytes(next(folder.iterdir()).read_bytes())
    sub = folder.parent / "disc"
    sub.mkdir()
    path = sub / "DICOMDIR"
    directory(path, [["X"]])
    dataset = pydicom.dcmread(path)
    dataset.DirectoryRecordSequence[0].ReferencedFileID = name
    with pydicom.config.disable_value_validation():
        dataset.save_as(path)
    found = find_series(path)
    assert found.sources == ()
    assert any("leads out" in error or "not there" in error for _, error in found.failed)
