"""One bone, scanned, stored and sent in every way: the same bone comes out, on the same side."""

import itertools
import shutil

import numpy as np
import pydicom
import pytest
from conftest import COARSE, COHORT_SEED

from boneprint import ingest
from boneprint.embed import load_embedder, read_card
from boneprint.errors import ReadError
from boneprint.evidence import ONE_PROBE, of_card
from boneprint.nouns import Volume
from boneprint.read import find_series, write_ct_series
from boneprint.simulate import individual


def stored_ways():
    """Every order and direction of the three axes in which a right-handed grid may be stored: 24."""
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            signs = np.where(flips, -1, 1)
            if np.linalg.det(np.eye(3)[list(order)] * signs) > 0:
                yield order, flips


WAYS = list(stored_ways())
FAST = WAYS[5::12]  # the others are slow only by their number


@pytest.fixture(scope="module")
def person():
    return individual(COHORT_SEED, 3, laterality="L").scan(COARSE)[0]


def reordered(volume, order, flips):
    """The same body, its array axes (z, y, x) in another order and direction."""
    hu = volume.hu.transpose(order)
    columns = [volume.affine[:3, 2 - axis] for axis in order][::-1]  # of x, y, z of the new array
    affine = volume.affine.copy()
    for axis, flip in enumerate(flips):
        if flip:
            hu = np.flip(hu, axis)
            column = columns[2 - axis]
            affine[:3, 3] += column * (hu.shape[axis] - 1)
            columns[2 - axis] = -column
    affine[:3, :3] = np.stack(columns, axis=1)
    return Volume(np.ascontiguousarray(hu), affine)


def enrolled(folder):
    """The enrolment of the one CT in a folder, and its notes."""
    (source,) = find_series(folder).sources
    scan = source.load()
    options = ingest.Options()
    (specimen,) = ingest.specimens(scan, options)
    return ingest.enrol(specimen, scan, folder, options, load_embedder()), (*scan.notes, *specimen.notes)


def write(folder, volume):
    return write_ct_series(folder, volume, subject_id="S", body_part="femur", laterality="L")


@pytest.fixture(scope="module")
def reference(person, tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    write(folder, person)
    return enrolled(folder)[0]


@pytest.fixture(scope="module")
def threshold():
    return of_card(read_card())[ONE_PROBE]["femur"].threshold.value


def same_bone(made, reference, threshold):
    assert made.reference.laterality == reference.reference.laterality == "L"
    assert made.reference.bone == reference.reference.bone
    assert made.reference.canvas_mm == reference.reference.canvas_mm
    off = np.linalg.norm(made.vectors - reference.vectors, axis=1)  # view by view: a mirrored bone has other views
    assert off.max() < threshold
    return off


@pytest.mark.parametrize(
    ("order", "flips"), [way if way in FAST else pytest.param(*way, marks=pytest.mark.slow) for way in WAYS]
)
def test_the_same_bone_comes_out_of_every_orientation(person, reference, threshold, tmp_path, order, flips):
    write(tmp_path, reordered(person, order, flips))
    made, notes = enrolled(tmp_path)
    same_bone(made, reference, threshold)
    assert not any("LATERALITY" in note for note in notes)


def test_a_mirrored_bone_is_another_and_is_flagged(person, reference, threshold, tmp_path):
    write(tmp_path, Volume(np.ascontiguousarray(person.hu[:, :, ::-1]), person.affine))
    made, notes = enrolled(tmp_path)
    assert any("LATERALITY IN DOUBT" in note for note in notes)
    assert np.linalg.norm(made.vectors - reference.vectors, axis=1).max() > threshold


@pytest.mark.parametrize("tilt_deg", [-20.0, 18.5])
def test_the_same_bone_comes_out_of_a_tilted_gantry(person, reference, threshold, tmp_path, tilt_deg):
    """Sheared voxels of the same body, by cutting it along tilted slices."""
    from scipy.ndimage import map_coordinates

    tilt = np.deg2rad(tilt_deg)
    down = np.array([0, np.cos(tilt), -np.sin(tilt)])
    affine = person.affine.copy()
    affine[:3, 1] = down * person.spacing_mm[1]
    rows = person.hu.shape[1]
    rise = np.sin(tilt) * person.spacing_mm[1] * rows
    affine[2, 3] += min(0, rise)  # so that the tilted slices reach all of it
    shape = (person.hu.shape[0] + int(abs(rise) / person.spacing_mm[2]) + 1, *person.hu.shape[1:])
    to_person = np.linalg.inv(person.affine) @ affine
    z, y, x = np.mgrid[tuple(slice(size) for size in shape)]
    places = np.stack([x, y, z], axis=-1) @ to_person[:3, :3].T + to_person[:3, 3]
    hu = map_coordinates(person.hu, np.moveaxis(places, -1, 0)[::-1], order=1, cval=-1000).astype(np.int16)
    paths = write(tmp_path, Volume(hu, np.diag([*person.spacing_mm, 1.0])))
    for number, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        dataset.ImageOrientationPatient = [1, 0, 0, *(float(round(value, 8)) for value in down)]
        place = affine[:3, 3] + number * person.affine[:3, 2]
        dataset.ImagePositionPatient = [float(round(value, 5)) for value in place]
        dataset.save_as(path)
    made, notes = enrolled(tmp_path)
    assert any("gantry tilt" in note for note in notes)
    same_bone(made, reference, threshold)


def test_a_missing_slice_is_refused_and_a_filled_one_is_the_same_bone(person, reference, threshold, tmp_path):
    write(tmp_path, person)[40].unlink()
    with pytest.raises(ReadError, match="1 slice is missing"):
        enrolled(tmp_path)
    (source,) = find_series(tmp_path).sources
    scan = source.load(fill_gaps=True)
    (specimen,) = ingest.specimens(scan, ingest.Options())
    same_bone(ingest.enrol(specimen, scan, tmp_path, ingest.Options(), load_embedder()), reference, threshold)


def test_the_same_bone_comes_out_of_a_folder_of_several_series(person, reference, threshold, tmp_path):
    write(tmp_path / "a", person)
    other = individual(COHORT_SEED, 0).scan(COARSE)[0]
    for path in write_ct_series(tmp_path / "b", other, subject_id="T"):
        shutil.move(path, tmp_path / "a" / f"other-{path.name}")
    sources = {source.slices[0].subject_id: source for source in find_series(tmp_path / "a").sources}
    assert sorted(sources) == ["S", "T"]
    scan = sources["S"].load()
    (specimen,) = ingest.specimens(scan, ingest.Options())
    made = ingest.enrol(specimen, scan, tmp_path, ingest.Options(), load_embedder())
    assert same_bone(made, reference, threshold).max() < 1e-5
