"""Radiographs as pictures: grey values kept, and a resolution is a spacing only where it can be one."""

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from boneprint.errors import BoneprintError, ReadError
from boneprint.nouns import Radiograph
from boneprint.read import read_radiograph, write_png

RAMP = np.add.outer(np.arange(20) * 1000, np.arange(24) * 500).astype(np.uint16)
GREY = (RAMP // 256).astype(np.uint8)


def refusal(path):
    with pytest.raises(ReadError) as refused:
        read_radiograph(path)
    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    return str(refused.value)


@settings(max_examples=25, deadline=None)
@given(
    spacing_mm=st.one_of(st.none(), st.floats(0.02, 2.5)),
    bits=st.sampled_from([8, 16]),
    seed=st.integers(0, 99),
    view=st.one_of(st.none(), st.just("AP"), st.just("Achse 30°")),
)
def test_a_written_png_comes_back(tmp_path_factory, spacing_mm, bits, seed, view):
    path = tmp_path_factory.mktemp("png") / "x.png"
    pixels = np.random.default_rng(seed).normal(3, 1, (12, 9)).astype(np.float32)
    write_png(path, Radiograph(pixels, spacing_mm, view), bits=bits)
    back = read_radiograph(path)
    scaled = (pixels - pixels.min()) / (pixels.max() - pixels.min())
    assert np.abs(back.pixels / (2**bits - 1) - scaled).max() < 0.6 / (2**bits - 1)
    assert back.view == view
    if spacing_mm is None:
        assert back.spacing_mm is None
    else:
        assert back.spacing_mm == pytest.approx(spacing_mm, abs=spacing_mm**2 / 1000)


def test_a_png_of_ours_is_believed_at_a_print_resolution_too(tmp_path):
    write_png(tmp_path / "x.png", Radiograph(RAMP, 25.4 / 300))
    assert read_radiograph(tmp_path / "x.png").spacing_mm == pytest.approx(25.4 / 300, rel=1e-4)


def test_sixteen_bits_are_kept(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "x.png")
    Image.fromarray(RAMP).save(tmp_path / "x.tif")
    for name in ("x.png", "x.tif"):
        assert np.array_equal(read_radiograph(tmp_path / name).pixels, RAMP)


@pytest.mark.parametrize("dpi", [72, 96, 150, 300, 600])
@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.jpg"])
def test_the_resolution_of_a_screen_or_a_printer_is_no_spacing(tmp_path, name, dpi):
    Image.fromarray(GREY).save(tmp_path / name, dpi=(dpi, dpi))
    assert read_radiograph(tmp_path / name).spacing_mm is None


def test_a_resolution_that_can_be_a_detectors_is_its_spacing(tmp_path):
    for name, expected in {"x.png": 0.143, "x.tif": 0.143}.items():
        Image.fromarray(GREY).save(tmp_path / name, dpi=(25.4 / 0.143, 25.4 / 0.143))
        assert read_radiograph(tmp_path / name).spacing_mm == pytest.approx(expected, rel=1e-3)
    Image.fromarray(GREY).save(tmp_path / "x.jpg", dpi=(178, 178))
    assert read_radiograph(tmp_path / "x.jpg").spacing_mm is None  # a JPEG's never is
    Image.fromarray(GREY).save(tmp_path / "cm.tif", resolution_unit=3, x_resolution=10 / 0.2, y_resolution=10 / 0.2)
    assert read_radiograph(tmp_path / "cm.tif").spacing_mm == pytest.approx(0.2)
    Image.fromarray(GREY).save(tmp_path / "far.png", dpi=(2, 2))
    assert read_radiograph(tmp_path / "far.png").spacing_mm is None


def test_a_spacing_given_by_hand_overrules(tmp_path):
    write_png(tmp_path / "x.png", Radiograph(RAMP, 0.2))
    assert read_radiograph(tmp_path / "x.png", pixel_spacing_mm=0.5).spacing_mm == 0.5


def test_pixels_that_are_not_square_become_square(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "x.png", dpi=(25.4 / 0.2, 25.4 / 0.4))
    shown = read_radiograph(tmp_path / "x.png")
    assert shown.pixels.shape == (40, 24)
    assert shown.spacing_mm == pytest.approx(0.2, rel=1e-3)


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "LA", "P", "CMYK"])
def test_colour_becomes_grey(tmp_path, mode):
    name = "x.tif" if mode == "CMYK" else "x.png"
    Image.fromarray(GREY).convert(mode).save(tmp_path / name)
    assert np.abs(read_radiograph(tmp_path / name).pixels - GREY).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_whose_zero_is_white_is_turned_round(tmp_path, dtype):
    import tifffile

    stored = (np.iinfo(dtype).max - (GREY if dtype == np.uint8 else RAMP)).astype(dtype)
    tifffile.imwrite(tmp_path / "x.tif", stored, photometric="miniswhite")
    pixels = read_radiograph(tmp_path / "x.tif").pixels
    assert np.array_equal(np.diff(pixels, axis=0), np.diff((GREY if dtype == np.uint8 else RAMP).astype(float), axis=0))


def test_a_photograph_held_upright_is_read_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees
    Image.fromarray(GREY).save(tmp_path / "x.jpg", exif=exif, quality=100)
    assert read_radiograph(tmp_path / "x.jpg").pixels.shape == (24, 20)


def test_several_pages_are_refused(tmp_path):
    page = Image.fromarray(GREY)
    page.save(tmp_path / "x.tif", save_all=True, append_images=[page])
    assert "2 pages" in refusal(tmp_path / "x.tif")


def test_what_is_no_picture_is_refused_whatever_it_is_called(tmp_path):
    (tmp_path / "x.png").write_text("left femur, see the other envelope")
    assert "none of the formats" in refusal(tmp_path / "x.png")
    (tmp_path / "empty.png").touch()
    refusal(tmp_path / "empty.png")


def test_a_png_called_dcm_is_read(tmp_path):
    write_png(tmp_path / "x.png", Radiograph(RAMP, 0.2))
    (tmp_path / "x.png").rename(tmp_path / "x.dcm")
    assert read_radiograph(tmp_path / "x.dcm").spacing_mm == pytest.approx(0.2)


def test_a_bomb_is_refused_unopened(tmp_path):
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 0, 0, 0, 0)
    chunk = b"IHDR" + header
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    (tmp_path / "x.png").write_bytes(png + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT")))
    assert "x.png" in refusal(tmp_path / "x.png")


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.jpg", "x.bmp"])
def test_a_picture_cut_short_is_refused(tmp_path, name):
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80)).astype(np.uint8)).save(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    refusal(tmp_path / name)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), name=st.sampled_from(["x.png", "x.tif", "x.jpg", "x.bmp"]))
def test_a_damaged_picture_gives_our_error_or_a_radiograph(tmp_path_factory, data, name):
    path = tmp_path_factory.mktemp("damaged") / name
    Image.fromarray(GREY).save(path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        said = read_radiograph(path).source
    except ReadError as error:
        said = str(error)
    assert "\n" not in said
    assert name in said


def test_a_png_that_cannot_be_written_says_so(tmp_path):
    with pytest.raises(BoneprintError, match="missing"):
        write_png(tmp_path / "missing/x.png", Radiograph(RAMP, None))
    with pytest.raises(BoneprintError, match="8 or 16"):
        write_png(tmp_path / "x.png", Radiograph(RAMP, None), bits=12)
