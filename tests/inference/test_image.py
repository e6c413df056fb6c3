import io
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, features

from jvcr.inference.image import FORMATS, ImageError, TooManyPixelsError, read_image

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


def test_grey_arrays():
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    for array in (grey, grey[:, :, None]):
        np.testing.assert_array_equal(read_image(array), np.stack([grey] * 3, axis=2))


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


def test_the_suffixes_are_all_that_pillow_reads_of_these_formats():
    Image.init()
    known = {format: set() for format in FORMATS}
    for suffix, format in Image.registered_extensions().items():
        known.setdefault({"MPO": "JPEG"}.get(format, format), set()).add(suffix)
    for format, suffixes in FORMATS.items():
        assert known[format] <= set(suffixes), format


@pytest.mark.parametrize("kind", ["png", "bmp", "gif", "tiff", "webp", "avif", "jpeg2000", "ppm", "tga", "pcx", "qoi"])
def test_formats_that_are_read(kind, pixels, tmp_path):
    if kind == "avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    path = tmp_path / "picture.jpg"  # what a file is called does not matter
    try:
        path.write_bytes(encoded(Image.fromarray(pixels), kind))
    except (KeyError, OSError):
        pytest.skip(f"this Pillow writes no {kind}")
    assert read_image(path).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("by_path", [True, False])
@pytest.mark.parametrize(
    "data",
    [
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 10\n%%EndComments\n{ } loop\nshowpage\n%%EOF\n",
        b"\xd7\xcd\xc6\x9a\0\0" + bytes(64),  # WMF
        b"\x1c\x01\x3c\0\x02AB" + bytes(64),  # IPTC, which may hold any other format
        b"%PDF-1.4\n",
    ],
)
def test_files_never_start_another_program(data, by_path, tmp_path, monkeypatch):
    def never(*arguments, **options):
        raise AssertionError("a program was started")

    monkeypatch.setattr(subprocess, "Popen", never)
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match="not an image in a format that is read"):
        read_image(path if by_path else data)


@pytest.mark.parametrize("suffix", [".heic", ".jpg"])
def test_heic(suffix, tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    path = tmp_path / f"photo{suffix}"
    with path.open("wb") as file:
        pillow_heif.from_pillow(Image.new("RGB", (64, 48), (200, 30, 10))).save(file, quality=90)
    read = read_image(path)
    assert read.shape == (48, 64, 3)
    assert np.abs(read.mean((0, 1)) - [200, 30, 10]).max() < 8


def test_heic_without_what_reads_it_says_what_to_install(tmp_path):
    path = tmp_path / "photo.heic"
    path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40))
    code = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from jvcr.inference.image import FORMATS, ImageError, read_image\n"
        f"try:\n    read_image({str(path)!r})\nexcept ImageError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == f'{path} is a HEIC or HEIF photograph: to read these, pip install "jvcr[heif]"'


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate"])
def test_what_libtiff_says_stays_off_stderr(compression, capfd):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = bytearray(encoded(Image.fromarray(noise), "tiff", compression=compression))
    for k in range(200, 2000, 7):
        data[k] ^= 0x5A
    with pytest.raises(ImageError, match="damaged or cut short"):
        read_image(bytes(data))
    assert capfd.readouterr().err == ""


def test_pixels_of_unknown_range():
    with pytest.raises(ImageError, match="floating point"):
        read_image(Image.new("F", (2, 2)))
    with pytest.raises(ImageError, match="32 bit"):
        read_image(Image.new("I", (2, 2), 70_000))


def test_other_things_are_a_type_error():
    with pytest.raises(TypeError, match=r"path|violates|Type-check"):
        read_image(3.5)
