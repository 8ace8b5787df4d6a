"""What is no X-ray shadow is taken out of a picture; a calibration ball gives its scale."""

import numpy as np
import pytest
from PIL import Image, ImageDraw

from boneprint.errors import ReadError
from boneprint.nouns import Radiograph
from boneprint.read import read_radiograph, write_png
from boneprint.read.marker import find_balls, scaled_by_marker
from boneprint.read.tidy import tidied

AIR, FLESH, BONE = 40.0, 110.0, 190.0


def limb(shape=(480, 360), seed=0):
    """A shaft with two wider ends in a cylinder of flesh, in the open beam, with noise; bone bright."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    across = np.abs(x - shape[1] / 2)
    flesh = np.sqrt(np.clip(1 - (across / (0.3 * shape[1])) ** 2, 0, 1))
    width = 18 + 14 * np.abs(2 * y / shape[0] - 1) ** 3
    bone = np.sqrt(np.clip(1 - (across / width) ** 2, 0, 1))
    noise = np.random.default_rng(seed).normal(0, 1.0, shape)
    return (AIR + (FLESH - AIR) * flesh + (BONE - FLESH) * bone + noise).astype(np.float32)


def with_ball(pixels, row, column, diameter, value=250.0, blur=1.0):
    """A steel ball, drawn eight times too large and shrunk, so that its edge is true to a fraction of a pixel."""
    y, x = (np.arange(8 * size) / 8 - 0.4375 for size in pixels.shape)
    disc = np.hypot(y[:, None] - row, x[None] - column) < diameter / 2
    share = disc.reshape(pixels.shape[0], 8, pixels.shape[1], 8).mean(axis=(1, 3))
    from scipy.ndimage import gaussian_filter

    share = gaussian_filter(share, blur)
    return (pixels * (1 - share) + value * share).astype(np.float32)


def test_a_picture_with_nothing_to_take_away_comes_back_as_it_is():
    pixels = limb()[:, 90:270]  # flesh from side to side
    same, notes, _ = tidied(pixels, may_be_inverted=True)
    assert same is pixels
    assert notes == ()


def test_an_inverted_limb_is_turned_round():
    pixels, notes, _ = tidied(255 - limb(), may_be_inverted=True)
    assert any("inverted" in note for note in notes)
    assert pixels[240, pixels.shape[1] // 2] > pixels[240, 5] + 100  # bone is brighter than air
    kept, *_ = tidied(255 - limb(), may_be_inverted=False)
    assert kept[240, kept.shape[1] // 2] < kept[240, 5] - 100


@pytest.mark.parametrize("sides", [("left",), ("left", "right"), ("top", "bottom")])
@pytest.mark.parametrize("grey", [250.0, 5.0])
def test_collimated_borders_are_taken_away(sides, grey):
    pixels = limb()
    for side in sides:
        lines = {"left": pixels.T, "right": pixels.T[::-1], "top": pixels, "bottom": pixels[::-1]}[side]
        lines[:40] = grey
    tidy, notes, _ = tidied(pixels, may_be_inverted=True)
    assert notes
    assert tidy.max() < 215
    assert tidy.size < pixels.size
    # The shaft, measured in the middle row, is still all there.
    assert (tidy[len(tidy) // 2] > FLESH + 40).sum() == pytest.approx((limb()[240] > FLESH + 40).sum(), abs=1)


def test_a_turned_collimator_is_darkened():
    pixels = limb()
    y, x = np.mgrid[:480, :360]
    shut = x + 0.15 * y > 365
    pixels[shut] = 250
    tidy, notes, _ = tidied(pixels, may_be_inverted=True)
    assert any("shutters" in note for note in notes)
    assert tidy.max() < 215


def soft_edge(distance, width):
    """From 1 (shut) to 0 over so many pixels."""
    return np.clip(0.5 - distance / width, 0, 1)


@pytest.mark.parametrize("width", [1, 12, 30, 50])
@pytest.mark.parametrize("sides", [("top",), ("top", "left"), ("top", "bottom", "left", "right")])
@pytest.mark.parametrize("leans", [0.0, 0.1])
def test_shutters_are_darkened_however_soft_their_edge(width, sides, leans):
    pixels = limb((960, 720))
    y, x = np.mgrid[:960, :720].astype(float)
    depths = {"top": y, "bottom": 959 - y, "left": x, "right": 719 - x}
    alongs = {"top": x, "bottom": x, "left": y, "right": y}
    for side in sides:
        shut = soft_edge(depths[side] - 90 - leans * (alongs[side] - 400), width)
        pixels = pixels * (1 - shut) + 250 * shut
    tidy, notes, _ = tidied(pixels.astype(np.float32), may_be_inverted=False)
    assert any("shutters" in note for note in notes)
    assert tidy.max() < 215  # no shutter is left
    middle = tidy[len(tidy) // 2 - 50 : len(tidy) // 2 + 50]
    assert (middle > FLESH + 40).sum() == pytest.approx((limb((960, 720))[430:530] > FLESH + 40).sum(), rel=0.02)


def test_a_soft_frame_in_a_picture_of_unknown_polarity_does_not_pass_for_an_inverted_open_beam():
    pixels = limb((960, 720))
    y, x = np.mgrid[:960, :720].astype(float)
    shut = soft_edge(np.minimum.reduce([y, 959 - y, x, 719 - x]) - 100, 30)
    tidy, notes, _ = tidied((pixels * (1 - shut) + 250 * shut).astype(np.float32), may_be_inverted=True)
    assert not any("inverted" in note for note in notes)
    assert tidy[len(tidy) // 2, tidy.shape[1] // 2] > FLESH + 40 > tidy[len(tidy) // 2, 5]


def test_a_limb_that_lies_along_the_border_is_no_shutter():
    x = np.mgrid[:960, :720][1].astype(float)
    flesh = np.sqrt(np.clip(1 - (x / 300) ** 2, 0, 1))  # a thigh cut off by the left border
    bone = np.sqrt(np.clip(1 - ((x - 90) / 45) ** 2, 0, 1))
    pixels = (AIR + 150 * flesh + 50 * bone + np.random.default_rng(0).normal(0, 1, x.shape)).astype(np.float32)
    same, notes, _ = tidied(pixels, may_be_inverted=False)
    assert same is pixels
    assert notes == ()


@pytest.mark.parametrize("outside", [0.0, 250.0])
@pytest.mark.parametrize("inverted", [False, True])
def test_what_lies_beyond_a_round_field_is_as_dark_as_the_open_beam(outside, inverted):
    """An image intensifier's picture; its padding is black or white, whichever way round the picture is shown."""
    limb_ = limb((600, 600))
    pixels = 255 - limb_ if inverted else limb_
    y, x = np.mgrid[:600, :600] - 299.5
    field = np.hypot(x, y) < 330  # cut by the sides of the picture, so that nothing is cropped
    tidy, notes, _ = tidied(np.where(field, pixels, outside).astype(np.float32), may_be_inverted=True)
    assert any("round field" in note for note in notes)
    assert any("inverted" in note for note in notes) == inverted
    off = (tidy - limb_)[np.hypot(x, y) < 320]
    assert np.ptp(off) < 1e-3  # inside nothing has changed, but for the zero of an inverted picture
    assert np.ptp(tidy[np.hypot(x, y) > 332]) == 0
    assert tidy[5, 5] == pytest.approx(AIR + off.mean(), abs=6)


def test_a_burnt_in_scale_bar_is_painted_over():
    pixels = limb((960, 720))
    clean = pixels.copy()
    pixels[300:700, 650:653] = 255
    for row in range(300, 701, 40):
        pixels[row : row + 2, 640:653] = 255
    tidy, notes, _ = tidied(pixels, may_be_inverted=True)
    assert any("scale bar" in note for note in notes)
    assert np.abs(tidy - clean).max() < 30  # skin is steep there
    assert np.array_equal(tidy[:, :600], clean[:, :600])


@pytest.mark.parametrize("turned", [False, True])
def test_a_ruler_beside_the_limb_is_painted_over_and_its_marks_give_the_scale(turned, tmp_path):
    """Lead marks as bright as bone, every fifth longer, 28.5 pixels apart, on a strip that shadows a little."""
    pixels = limb((960, 720))
    pixels[:, 30:90] += 12
    for number in range(32):
        row = round(25 + 28.5 * number)
        pixels[row : row + 4, 40 : 40 + (36 if number % 5 == 0 else 20)] += 90
    pixels = np.ascontiguousarray(pixels.T) if turned else pixels
    tidy, notes, apart = tidied(pixels, may_be_inverted=True)
    assert any("ruler" in note for note in notes)
    assert apart == pytest.approx(28.5, abs=0.1)
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "x.png")
    known = read_radiograph(tmp_path / "x.png", ruler_mm=10.0)
    assert known.spacing_mm == pytest.approx(10 / 28.5, rel=0.004)
    tidy = tidy.T if turned else tidy
    assert tidy[:, 35:85].max() < AIR + 40
    assert tidy[:, 300:420].max() == pixels.max()  # the shaft


def test_a_ruler_that_is_not_there_or_competes_with_another_scale_is_refused(tmp_path):
    Image.fromarray(limb((960, 720)).astype(np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(ReadError, match="no ruler found"):
        read_radiograph(tmp_path / "x.png", ruler_mm=10.0)
    with pytest.raises(ReadError, match="give one of them"):
        read_radiograph(tmp_path / "x.png", ruler_mm=10.0, marker_mm=25.0)
    with pytest.raises(ReadError, match="to 100 mm"):
        read_radiograph(tmp_path / "x.png", ruler_mm=0.0)


def test_letters_are_painted_over_and_bone_is_not():
    picture = Image.fromarray(limb().astype(np.uint8))
    ImageDraw.Draw(picture).text((30, 30), "R 7", fill=255, font_size=36)
    written = np.asarray(picture, dtype=np.float32)
    assert written.max() == 255
    tidy, notes, _ = tidied(written, may_be_inverted=True)
    assert any("letters" in note for note in notes)
    assert tidy[:80, :120].max() < FLESH + 30
    assert tidy.max() == written[:, 170:].max()  # the shaft and its brightest ridge are as they were


def test_what_boneprint_wrote_is_read_as_it_is(tmp_path):
    pixels = limb()
    pixels[:, :40] = 250
    write_png(tmp_path / "x.png", Radiograph(pixels, 0.2), bits=8)
    assert read_radiograph(tmp_path / "x.png").pixels.shape == pixels.shape
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "y.png")
    assert read_radiograph(tmp_path / "y.png").pixels.shape[1] < pixels.shape[1]


@pytest.mark.parametrize("diameter", [24.0, 41.3, 75.0])
@pytest.mark.parametrize("place", [(100, 60), (240, 130), (400, 300)])
def test_a_ball_is_measured_to_a_hundredth(diameter, place):
    radiograph = Radiograph(with_ball(limb(), *place, diameter), None, source="x")
    scaled = scaled_by_marker(radiograph, 25)
    assert scaled.spacing_mm == pytest.approx(25 / diameter, rel=0.01)
    assert scaled.pixels.max() < 215  # painted over: it is no bone
    assert any("calibration ball of 25 mm" in note for note in scaled.notes)


def test_the_spacing_of_a_ball_goes_before_the_files(tmp_path):
    write_png(tmp_path / "x.png", Radiograph(with_ball(limb(), 100, 60, 50.0), 0.1))
    assert read_radiograph(tmp_path / "x.png", marker_mm=25).spacing_mm == pytest.approx(0.5, rel=0.01)
    with pytest.raises(ReadError, match="one of them"):
        read_radiograph(tmp_path / "x.png", marker_mm=25, pixel_spacing_mm=0.5)


def test_no_ball_is_an_error_and_two_sizes_are():
    with pytest.raises(ReadError, match="no calibration ball"):
        scaled_by_marker(Radiograph(limb(), None), 25)
    two = with_ball(with_ball(limb(), 100, 60, 30.0), 400, 300, 50.0)
    with pytest.raises(ReadError, match="markers of 30 and 50 pixels"):
        scaled_by_marker(Radiograph(two, None), 25)
    with pytest.raises(ReadError, match="1 to 100 mm"):
        scaled_by_marker(Radiograph(limb(), None), 0.2)


def test_two_equal_balls_agree():
    two = with_ball(with_ball(limb(), 100, 60, 40.0), 400, 300, 40.0)
    assert len(find_balls(two)) == 2
    assert scaled_by_marker(Radiograph(two, None), 25).spacing_mm == pytest.approx(25 / 40, rel=0.01)


def test_a_square_or_a_ring_is_no_ball():
    pixels = limb()
    pixels[60:110, 30:80] = 250
    assert find_balls(pixels) == []
