import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from jvcr.inference.image import ImageError, TooManyPixelsError, read_image

HEIGHT, WIDTH = 6, 10


@pytest.fixture
def pixels():
    """An image without any symmetry."""
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def encoded(image, kind="png", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width, height, bits, color, rows):
    """A PNG file of any kind, made by hand: Pillow does not write all that it reads."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_the_same_image_by_every_way(pixels, tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    data = path.read_bytes()
    for source in (path, str(path), data, bytearray(data), memoryview(data), Image.open(path), pixels):
        read = read_image(source)
        np.testing.assert_array_equal(read, pixels)
        assert read.dtype == np.uint8
        assert read.flags.c_contiguous


# ---- arrays


def test_arrays_of_every_form(pixels):
    assert read_image(pixels) is pixels
    grey = pixels[:, :, 0]
    np.testing.assert_array_equal(read_image(grey), np.stack([grey] * 3, -1))
    turned = pixels[:, ::-1].transpose(1, 0, 2)
    assert read_image(turned).flags.c_contiguous
    np.testing.assert_array_equal(read_image(turned), turned)


def test_alpha_is_laid_on_white():
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [100, 200, 0, 51]]], np.uint8)
    expected = [[[10, 20, 30], [255, 255, 255], [224, 244, 204]]]  # a fifth of the colour, four fifths of white
    assert read_image(rgba).tolist() == expected
    assert read_image(encoded(Image.fromarray(rgba))).tolist() == expected


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 5, 3), np.float32), "uint8.*float32.*255"),
        (np.zeros((4, 5, 3), np.uint16), "uint8.*uint16"),
        (np.zeros((4, 5, 3), bool), "uint8.*bool"),
        (np.zeros((3, 4, 5), np.uint8), "channels last"),
        (np.zeros((2, 4, 5, 3), np.uint8), "once for each"),
        (np.zeros(7, np.uint8), "shape"),
        (np.zeros((0, 5, 3), np.uint8), "no pixels"),
        (np.zeros((4, 0), np.uint8), "no pixels"),
    ],
)
def test_arrays_refused(array, message):
    with pytest.raises(ImageError, match=message):
        read_image(array)


# ---- files that can be used


def test_one_pixel():
    assert read_image(encoded(Image.new("RGB", (1, 1), (1, 2, 3)))).tolist() == [[[1, 2, 3]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_gives_the_upright_image(pixels, orientation):
    # What a camera stores, so that turning it as its note says gives `pixels`.
    stored = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.transpose(1, 0, 2),
        6: np.rot90(pixels, 1),
        7: pixels[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(pixels, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(Image.fromarray(np.ascontiguousarray(stored)), exif=exif)
    np.testing.assert_array_equal(read_image(data), pixels)
    np.testing.assert_array_equal(read_image(Image.open(io.BytesIO(data))), pixels)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_damaged_orientation_note_is_left_alone(pixels):
    data = encoded(Image.fromarray(pixels), exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12")
    np.testing.assert_array_equal(read_image(data), pixels)


def test_the_callers_pil_image_is_not_changed(pixels):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.open(io.BytesIO(encoded(Image.fromarray(pixels), exif=exif)))
    read_image(image)
    assert image.size == (WIDTH, HEIGHT)
    assert image.getexif()[0x0112] == 6


def test_grey_and_black_and_white():
    assert read_image(encoded(Image.new("L", (3, 2), 77))).tolist() == [[[77] * 3] * 3] * 2
    assert read_image(encoded(Image.new("1", (3, 2), 1))).tolist() == [[[255] * 3] * 3] * 2


@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_16_bit_grey_is_scaled_from_its_full_range(kind):
    values = np.array([[0, 128, 129, 257, 32896, 65535]], np.uint16)
    read = read_image(encoded(Image.fromarray(values), kind))
    assert read[..., 0].tolist() == [[0, 0, 1, 1, 128, 255]]
    assert read.shape == (1, 6, 3)


def test_16_bit_colour_and_alpha():
    colour = png(2, 1, 16, 2, [struct.pack(">6H", 65535, 0, 32896, 257, 514, 0)])
    assert read_image(colour).tolist() == [[[255, 0, 128], [1, 2, 0]]]
    grey_alpha = png(2, 1, 16, 4, [struct.pack(">4H", 257, 65535, 0, 0)])
    assert read_image(grey_alpha).tolist() == [[[1] * 3, [255] * 3]]


def test_cmyk():
    # No ink is white; full cyan takes the red away.
    image = Image.new("CMYK", (16, 16), (0, 0, 0, 0))
    image.paste((255, 0, 0, 0), (8, 0, 16, 16))
    for kind in ("jpeg", "tiff"):
        read = read_image(encoded(image, kind)).astype(int)
        assert np.abs(read[8, 2] - [255, 255, 255]).max() <= 3
        assert np.abs(read[8, 13] - [0, 255, 255]).max() <= 3


def test_palette_with_and_without_transparency():
    image = Image.new("P", (2, 1))
    image.putpalette([200, 10, 20, 30, 40, 250])
    image.putdata([0, 1])
    assert read_image(encoded(image)).tolist() == [[[200, 10, 20], [30, 40, 250]]]
    assert read_image(encoded(image, transparency=0)).tolist() == [[[255, 255, 255], [30, 40, 250]]]


@pytest.mark.parametrize("kind", ["gif", "webp", "png", "tiff"])
def test_animated_gives_the_first_frame(kind):
    frames = [Image.new("RGB", (8, 4), color) for color in ((255, 0, 0), (0, 0, 255), (0, 255, 0))]
    options = {"lossless": True} if kind == "webp" else {}
    read = read_image(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert read.shape == (4, 8, 3)
    assert (read == [255, 0, 0]).all()


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "LAB", "LA", "RGBX"])
def test_other_kinds_of_pixels(mode):
    assert read_image(Image.new(mode, (3, 2))).shape == (2, 3, 3)


# ---- what cannot be used


def test_missing_folder_and_unreadable_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.jpg"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(IsADirectoryError, match="a folder"):
        read_image(tmp_path)


@pytest.mark.parametrize("by_path", [True, False])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"empty \(0 bytes\)"),
        (b"\xff", "not an image"),
        (b"just a text, whatever its name says", "not an image"),
        (b"%PDF-1.7 and so on", "not an image"),
    ],
)
def test_not_an_image(data, message, by_path, tmp_path):
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=f"photo.jpg.*{message}" if by_path else message):
        read_image(path if by_path else data)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data", "ignore:Truncated File Read")
@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "gif", "tiff", "bmp"])
def test_cut_short_anywhere(kind):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    data = encoded(image, kind)
    for length in (4, 20, 60, len(data) // 2, len(data) - 40):
        with pytest.raises(ImageError, match=r"damaged or cut short|not an image"):
            read_image(data[:length])


def test_a_header_of_30000_by_30000_is_refused_before_decoding(tmp_path):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(30_000, 30_000, 8, 2, []))
    with pytest.raises(ImageError, match=r"bomb\.png is too large.*100,000,000 pixels.*smaller"):
        read_image(path)


def test_the_limit_counts_pixels():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        with pytest.raises(ImageError, match="10001 x 10000 pixels"):
            read_image(png(10_001, 10_000, 8, 2, []))
    with pytest.raises(ImageError, match="more than 59 pixels"):
        read_image(encoded(Image.new("L", (10, 6))), max_pixels=59)
    assert read_image(encoded(Image.new("L", (10, 6))), max_pixels=60).shape == (6, 10, 3)


def test_too_many_pixels_are_told_apart_from_other_faults():
    small = encoded(Image.new("L", (10, 6)))
    with pytest.raises(TooManyPixelsError, match="10 x 6 pixels"):
        read_image(small, max_pixels=59)
    with pytest.raises(TooManyPixelsError, match="10 x 6 pixels"):
        read_image(Image.new("L", (10, 6)), max_pixels=59)
    with pytest.raises(TooManyPixelsError, match="too large"):  # Pillow itself refuses to open it
        read_image(png(30_000, 30_000, 8, 2, []))
    for other in (b"", b"no image", small[:40]):
        with pytest.raises(ImageError) as raised:
            read_image(other)
        assert not isinstance(raised.value, TooManyPixelsError)


@pytest.mark.parametrize("by_path", [True, False])
def test_only_the_formats_that_are_asked_for_are_read(by_path, pixels, tmp_path):
    def source(kind):
        data = encoded(Image.fromarray(pixels), kind)
        if not by_path:
            return data
        path = tmp_path / "picture.png"  # what a file is called does not matter
        path.write_bytes(data)
        return path

    for kind in ("png", "bmp"):
        np.testing.assert_array_equal(read_image(source(kind), formats=("PNG", "BMP")), pixels)
    for kind in ("tiff", "gif", "webp"):
        assert read_image(source(kind)).shape == (HEIGHT, WIDTH, 3)
        with pytest.raises(ImageError, match="not an image in a format"):
            read_image(source(kind), formats=("PNG", "BMP"))
    with pytest.raises(ImageError, match="not an image in a format"):
        read_image(source("png"), formats=())


def test_pixels_of_unknown_range():
    with pytest.raises(ImageError, match="floating point"):
        read_image(Image.new("F", (2, 2)))
    with pytest.raises(ImageError, match="32 bit"):
        read_image(Image.new("I", (2, 2), 70_000))


def test_other_things_are_a_type_error():
    with pytest.raises(TypeError, match=r"path|violates|Type-check"):
        read_image(3.5)
