"""Surfaces compared: aligned from any start, measured as a k-d tree measures, and bad meshes said to be so."""

import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from boneprint.cli import main
from boneprint.errors import BoneprintError, ReadError
from boneprint.shape import Surface, compare, decimated, draw, mended, read_surface, rough_rms_mm, write_surface
from boneprint.simulate import individual


def surface(index, **of):
    return Surface(*individual(18, index, laterality="R", **of).surface())


@pytest.fixture(scope="module")
def femur():
    """A cat's femur of 4,000 triangles, 110 mm."""
    return decimated(surface(0, species="cat"), faces=4000)


@pytest.fixture(scope="module")
def other():
    return decimated(surface(1, species="cat"), faces=4000)


def motion(seed):
    rng = np.random.default_rng(seed)
    moved = np.eye(4)
    moved[:3, :3] = Rotation.random(rng=rng).as_matrix()
    moved[:3, 3] = rng.normal(0, 300, 3)
    return moved


def part_of(whole, share):
    """The lower end of a bone, cut off and open."""
    height = whole.vertices @ whole.axes[0]
    below = height < np.quantile(height, share)
    return replace(whole, faces=whole.faces[below[whole.faces].all(axis=1)])


@pytest.mark.parametrize("seed", range(4))
def test_a_bone_moved_anyhow_is_laid_back_onto_itself(femur, seed):
    assert compare(femur.moved(motion(seed)), femur, seed=seed).rms_mm <= 0.02


@pytest.mark.slow
def test_of_200_random_starts_none_is_misaligned(femur):
    errors = [compare(femur.moved(motion(seed)), femur, samples=2000, seed=seed).rms_mm for seed in range(200)]
    assert max(errors) <= 0.02


def test_a_surface_one_mm_outside_is_one_mm_away(femur):
    outside = replace(femur, vertices=femur.vertices + femur.vertex_normals)
    assert compare(outside.moved(motion(1)), femur).rms_mm == pytest.approx(1.0, abs=0.02)


def test_distances_are_those_of_a_k_d_tree_over_a_dense_cloud(femur, other):
    found = compare(other, femur)
    for here, there, ours in ((found.a, found.b, found.a_to_b), (found.b, found.a, found.b_to_a)):
        dense = cKDTree(there.sampled(300_000, seed=8)[0])
        away, _ = dense.query(here.sampled(20_000, seed=9)[0])
        assert ours.rms_mm == pytest.approx(np.sqrt((away**2).mean()), rel=0.01)
        assert ours.mean_mm == pytest.approx(away.mean(), rel=0.01)
        assert ours.hd95_mm == pytest.approx(np.quantile(away, 0.95), rel=0.02)
        assert ours.hausdorff_mm >= away.max() - 0.1


def test_measures_do_not_depend_on_where_the_two_lay(femur, other):
    first = compare(other, femur)
    second = compare(other.moved(motion(2)), femur.moved(motion(3)))
    assert second.rms_mm == pytest.approx(first.rms_mm, rel=0.01)
    assert second.diagonal_mm == pytest.approx(first.diagonal_mm, rel=1e-6)


def test_the_rough_measure_ranks_as_the_full_one_does(femur, other):
    far = replace(femur, vertices=femur.vertices * [1.12, 1.12, 1.03])
    shifted = other.moved(np.array([[1, 0, 0, 9.0], [0, 1, 0, -4], [0, 0, 1, 30], [0, 0, 0, 1.0]]))
    for each in (shifted, far):
        assert rough_rms_mm(each, femur) == pytest.approx(compare(each, femur).rms_mm, rel=0.08)


def test_a_left_bone_fits_the_right_one_only_when_mirrored(femur):
    left = femur.mirrored()
    assert compare(left, femur, mirror=True).rms_mm <= 0.02
    assert compare(left, femur).rms_mm > 0.3
    assert left.volume_mm3 == pytest.approx(femur.volume_mm3)  # its triangles still look outwards


def test_a_fragment_is_measured_one_sidedly_and_said_to_be(femur):
    found = compare(part_of(femur, 0.35).moved(motion(5)), femur)
    assert found.fragment == "a"
    assert found.rms_mm <= 0.05
    assert found.b_to_a is None
    assert found.assd_mm is None
    assert "one-sidedly, from A to B" in found.notes[0]


@pytest.mark.parametrize("ending", ["stl", "ply", "obj"])
def test_a_mesh_survives_being_written_and_read(tmp_path, femur, ending):
    write_surface(tmp_path / f"bone.{ending}", femur)
    again = read_surface(tmp_path / f"bone.{ending}")
    assert len(again.faces) == len(femur.faces)
    assert again.volume_mm3 == pytest.approx(femur.volume_mm3, rel=1e-4)
    assert again.notes == ()
    assert [each.name for each in tmp_path.iterdir()] == [f"bone.{ending}"]


def test_a_mesh_in_metres_is_refused_by_name(tmp_path, femur):
    path = tmp_path / "metres.obj"
    lines = [f"v {x:.9f} {y:.9f} {z:.9f}" for x, y, z in femur.vertices / 1000]
    path.write_text("\n".join(lines + [f"f {a} {b} {c}" for a, b, c in femur.faces + 1]))
    with pytest.raises(BoneprintError, match="probably in metres"):
        read_surface(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "cannot be read|0 triangles"),
        ("v 0 0 0\nv 9 0 0\nv 0 9 0\nf 1 2 3\n", "1 triangles"),
        ("v 0 0 0\nv 9 0 0\nv 0 9 0\n", "0 triangles"),
    ],
)
def test_what_is_no_surface_is_refused(tmp_path, content, said):
    (tmp_path / "bad.obj").write_text(content)
    with pytest.raises(BoneprintError, match=said):
        read_surface(tmp_path / "bad.obj")


@pytest.mark.parametrize("ending", ["stl", "ply", "obj"])
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("NaN", "NaN or infinite|cannot be read"),
        ("metres", "probably in metres"),
        ("one triangle", "1 triangles|cannot be read"),
        ("empty file", "cannot be read|0 triangles"),
        ("cut off", "cannot be read|0 triangles|damaged"),
    ],
)
def test_a_bad_mesh_of_any_format_ends_with_code_2_and_says_why(tmp_path, femur, ending, fault, said):
    good, bad = tmp_path / f"good.{ending}", tmp_path / f"bad.{ending}"
    write_surface(good, femur)
    vertices, faces = femur.vertices.copy(), femur.faces
    if fault == "NaN":
        vertices[faces[7]] = np.nan
    elif fault == "metres":
        vertices = vertices / 1000
    elif fault == "one triangle":
        faces = faces[:1]
    bad.write_bytes(written(ending, vertices, faces))
    if fault == "empty file":
        bad.write_bytes(b"")
    elif fault == "cut off":
        bad.write_bytes(bad.read_bytes()[: 60 if ending == "obj" else 100])
    done = CliRunner().invoke(main, ["compare", str(bad), str(good)])
    assert done.exit_code == 2, done.output
    assert re.search(said, done.output), done.output
    assert f"bad.{ending}" in done.output


def written(ending, vertices, faces):
    """A mesh as another program may write it, faults and all."""
    if ending == "obj":
        lines = ["v {} {} {}".format(*xyz) for xyz in vertices] + ["f {} {} {}".format(*face) for face in faces + 1]
        return "\n".join(lines).encode()
    if ending == "ply":
        head = ["ply", "format ascii 1.0", f"element vertex {len(vertices)}", *(f"property float {c}" for c in "xyz")]
        head += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
        body = ["{} {} {}".format(*xyz) for xyz in vertices] + ["3 {} {} {}".format(*face) for face in faces]
        return "\n".join([*head, *body, ""]).encode()
    record = np.zeros(len(faces), dtype=[("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    record["corners"] = vertices[faces]
    return bytes(80) + np.uint32(len(faces)).tobytes() + record.tobytes()


def test_an_open_and_a_split_mesh_are_compared_and_said_to_be_odd(tmp_path, femur):
    odd = Surface(
        np.concatenate([femur.vertices, femur.vertices * 0.2 + 200]),
        np.concatenate([femur.faces[5:], femur.faces + len(femur.vertices)]),
    )
    for name, each in (("odd", odd), ("good", femur)):
        write_surface(tmp_path / f"{name}.ply", each)
    done = CliRunner().invoke(main, ["compare", str(tmp_path / "odd.ply"), str(tmp_path / "good.ply"), "--json"])
    assert done.exit_code == 0, done.output
    notes = " ".join(json.loads(done.stdout)["notes"])
    assert "open" in notes
    assert "separate pieces" in notes


def test_nan_and_faces_without_vertices_are_refused(femur):
    broken = femur.vertices.copy()
    broken[5] = np.nan
    with pytest.raises(BoneprintError, match="NaN"):
        Surface(broken, femur.faces)
    with pytest.raises(BoneprintError, match="name vertices"):
        Surface(femur.vertices, femur.faces + len(femur.vertices))


def test_a_missing_file_and_a_strange_ending_are_named(tmp_path):
    with pytest.raises(ReadError, match="no such file"):
        read_surface(tmp_path / "none.stl")
    with pytest.raises(ReadError, match="expected a mesh"):
        read_surface(tmp_path / "bone.xyz")


def test_holes_are_noted_and_can_be_closed(tmp_path, femur):
    open_mesh = replace(femur, faces=femur.faces[5:])
    write_surface(tmp_path / "open.ply", open_mesh)
    read = read_surface(tmp_path / "open.ply")
    assert "open" in read.notes[0]
    closed = mended(read)
    assert closed.volume_mm3 == pytest.approx(femur.volume_mm3, rel=1e-3)
    assert "mended" in closed.notes[-1]


def test_a_second_body_and_a_fin_are_noted_and_mended(tmp_path, femur):
    far = femur.vertices * 0.2 + 200
    fin = [[*femur.faces[0, :2], len(femur.vertices) + 5]]
    both = Surface(
        np.concatenate([femur.vertices, far]), np.concatenate([femur.faces, femur.faces + len(femur.vertices), fin])
    )
    write_surface(tmp_path / "odd.ply", both)
    read = read_surface(tmp_path / "odd.ply")
    assert any("not manifold" in note for note in read.notes)
    assert mended(read).volume_mm3 == pytest.approx(femur.volume_mm3, rel=1e-2)


def test_missing_graphics_libraries_are_named_as_debian_packages(monkeypatch, femur):
    class NoGraphics:
        def find_spec(self, name, path=None, target=None):
            if name == "pymeshlab":
                raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.delitem(sys.modules, "pymeshlab", raising=False)
    monkeypatch.setattr(sys, "meta_path", [NoGraphics(), *sys.meta_path])
    with pytest.raises(BoneprintError, match="apt-get install libgl1"):
        decimated(femur, faces=100)


def test_compare_prints_json_and_writes_the_coloured_surface_and_the_picture(tmp_path, femur, other):
    for name, each in (("a", other), ("b", femur)):
        write_surface(tmp_path / f"{name}.stl", each)
    ply, png = tmp_path / "c.ply", tmp_path / "c.png"
    asked = ["compare", str(tmp_path / "a.stl"), str(tmp_path / "b.stl"), "--json", "--ply", str(ply)]
    done = CliRunner().invoke(main, [*asked, "--picture", str(png)])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert said["rms_relative"] == pytest.approx(said["rms_mm"] / said["diagonal_mm"])
    assert said["mean_mm"] <= said["rms_mm"] <= said["hausdorff_mm"]
    assert not said["one_sided"]
    assert b"property uchar red" in ply.read_bytes()[:600]
    assert len(np.unique(np.asarray(Image.open(png)).reshape(-1, 3), axis=0)) > 100


def test_a_picture_shows_the_upper_end_above(tmp_path, femur):
    wider_below = (1 - 0.004 * femur.vertices[:, 2:]) ** [1, 1, 0]
    pin = replace(femur, vertices=femur.vertices * wider_below)
    for turned in (np.eye(4), np.diag([1.0, -1.0, -1.0, 1.0])):
        each = pin.moved(turned)
        draw(tmp_path / "pin.png", compare(each, each, align=False, samples=500))
        shown = np.asarray(Image.open(tmp_path / "pin.png"))[84:, :-100].max(axis=2) > 30
        upper, lower = shown[:360].sum(), shown[360:].sum()
        assert (lower > upper) == (turned[2, 2] > 0)


def test_compare_of_a_bad_mesh_ends_with_code_2_and_one_line(tmp_path):
    done = CliRunner().invoke(main, ["compare", str(tmp_path / "none.stl"), str(tmp_path / "none.stl")])
    assert done.exit_code == 2
    assert "no such file" in done.output
