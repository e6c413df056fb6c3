"""The way from image to faces, with a network that finds a red spot: what it gives can be worked out by hand."""

import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image

from jvcr.geometry.crop import Crop
from jvcr.geometry.pose import head_pose
from jvcr.inference.detector import Detections
from jvcr.inference.image import ImageError, read_image
from jvcr.inference.landmarker import Landmarker
from jvcr.inference.session import OnnxNetwork
from jvcr.scheme import FACE68, LandmarkScheme
from jvcr.weights.calibration import Calibration
from jvcr.weights.onnx import replace_header

HEIGHT, WIDTH = 150, 200
TEMPLATE = np.array(FACE68.template)


def spot(x, y, size=4.0):
    """A black image with a soft red spot around (x, y)."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0] = np.rint(250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * size**2)))
    return image


def expected_points(crop, x, y):
    """What the tiny network finds of such a spot: a quarter of the average face, centred on it; z of mean 0."""
    points = TEMPLATE / 4 * crop.side / 2 + [x, y, 0]
    points[:, 2] -= points[:, 2].mean()
    return points


@pytest.fixture(scope="module")
def landmarker(tiny_weights):
    return Landmarker(tiny_weights, threads=1, detector=nobody)


def nobody(image):
    return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


# ---- one image


@pytest.mark.parametrize(
    ("box", "box_kind", "crop"),
    [
        ([60, 40, 110, 120], "detector", Crop.from_detection([60, 40, 110, 120])),
        ([60, 40, 140, 110], "landmarks", Crop.from_box([60, 40, 140, 110])),
        ([-30, 10, 130, 140], "landmarks", Crop.from_box([-30, 10, 130, 140])),  # reaches over the edge
    ],
)
def test_points_come_back_in_pixels_of_the_image(landmarker, box, box_kind, crop):
    x, y = 93.3, 71.8
    (face,) = landmarker(spot(x, y, size=crop.side / 15), boxes=[box], box_kind=box_kind)
    np.testing.assert_allclose(face.points, expected_points(crop, x, y), atol=0.15)
    assert face.points[:, 2].mean() == pytest.approx(0, abs=1e-4)
    assert (face.points.dtype, face.box.tolist(), face.score, face.scheme) == (np.float32, box, None, "face68")


def test_pose_is_that_of_the_points(landmarker):
    (face,) = landmarker(spot(93, 72), boxes=[[60, 40, 110, 120]])
    # The network always gives a face that looks straight ahead.
    assert (face.yaw, face.pitch, face.roll) == pytest.approx((0, 0, 0), abs=1e-3)
    pose = head_pose(face.points, TEMPLATE)
    assert (face.yaw, face.pitch, face.roll) == pytest.approx((pose.yaw_deg, pose.pitch_deg, pose.roll_deg), abs=1e-3)


def test_confidence_is_the_volume_at_the_landmarks(landmarker):
    crop = Crop.from_box([60, 40, 140, 110])
    (face,) = landmarker(spot(120, 72), boxes=[[60, 40, 140, 110]], box_kind="landmarks")
    # The tiny network's volume holds (x + 1) / 2, up to the outermost cell centres at 1/16 and 15/16.
    x = crop.to_unit(face.points.astype(float))[:, 0]
    np.testing.assert_allclose(face.confidence, ((x + 1) / 2).clip(1 / 16, 15 / 16), atol=1e-5)
    assert np.ptp(face.confidence) > 0.2


def test_volumes_and_crops_for_research(landmarker):
    image, boxes = spot(93, 72), [[60, 40, 110, 120], [70, 30, 150, 120]]
    faces, volumes, crops = landmarker.volumes(image, boxes)
    assert faces == landmarker(image, boxes)
    assert volumes.shape == (2, 4, 6, 8)
    np.testing.assert_allclose(volumes[0, 0, 0], (np.arange(8) + 0.5) / 8)
    for crop, box in zip(crops, boxes, strict=True):
        same_place = replace(crop, center=(*crop.center[:2], 0.0))
        assert same_place == Crop.from_detection(box)
    faces, volumes, crops = landmarker.volumes(image)
    assert (faces, len(volumes), crops) == ([], 0, [])


def test_crops_lead_from_a_volume_to_the_landmarks(tiny_weights, monkeypatch):
    landmarker = Landmarker(tiny_weights, threads=1)
    run, given = landmarker._network.run, []

    def deeper(crops):
        coordinates, volumes = run(crops)
        given.extend(coordinates + np.float32([0, 0, 0.3]))
        return coordinates + np.float32([0, 0, 0.3]), volumes

    monkeypatch.setattr(landmarker._network, "run", deeper)
    faces, _, crops = landmarker.volumes(spot(93, 72), [[60, 40, 110, 120], [70, 30, 150, 120]])
    for face, crop, unit in zip(faces, crops, given, strict=True):
        np.testing.assert_allclose(crop.to_image(unit), face.points, atol=0.01)


def test_second_pass_crops_around_the_first_result(landmarker, tiny_weights):
    image, box = spot(93, 72, size=1.5), [60, 40, 140, 120]
    first, second = (landmarker(image, [box], passes=passes)[0] for passes in (1, 2))
    again = Crop.around_landmarks(expected_points(Crop.from_detection(box), 93, 72))
    np.testing.assert_allclose(second.points, expected_points(again, 93, 72), atol=0.1)
    assert np.ptp(second.points[:, 0]) < np.ptp(first.points[:, 0])
    assert second.box.tolist() == box
    assert Landmarker(tiny_weights, threads=1, passes=2)(image, [box]) == [second]
    assert landmarker.volumes(image, [box], passes=2)[2][0].side == pytest.approx(again.side, abs=0.05)


def test_landmarks_on_one_spot_are_not_cropped_around_again(make_network):
    landmarker = Landmarker(make_network(scheme=LandmarkScheme("dots", 3)), threads=1)
    image, boxes = spot(93, 72), [[60, 40, 110, 120]]
    assert landmarker(image, boxes, passes=2) == landmarker(image, boxes, passes=1)


def test_a_deep_object_gets_a_deep_volume(make_network):
    landmarker = Landmarker(make_network(scheme=LandmarkScheme("dots", 3, depth=2.5)), threads=1)
    for passes in (1, 2):
        for boxes in (None, [[60, 40, 110, 120]]):
            (crop,) = landmarker.volumes(spot(93, 72), boxes, passes=passes)[2]
            assert crop.depth == 2.5
            assert crop.to_image([0, 0, 1])[2] - crop.center[2] == pytest.approx(2.5 * crop.side / 2)


def test_a_scheme_without_a_template_has_no_angles(make_network):
    scheme = LandmarkScheme("dots", 3)
    landmarker = Landmarker(make_network(scheme=scheme), threads=1)
    (face,) = landmarker(spot(93, 72), boxes=[[60, 40, 110, 120]])
    assert (face.yaw, face.pitch, face.roll, face.scheme) == (None, None, None, "dots")
    assert face.points.shape == (3, 3)
    assert landmarker.scheme == scheme
    np.testing.assert_allclose(face.points[:, :2], [[93, 72]] * 3, atol=0.1)


def test_an_object_that_is_no_face_has_no_face_detector_and_boxes_around_its_landmarks(make_network):
    landmarker = Landmarker(make_network(scheme=LandmarkScheme("dots", 3)), threads=1)
    image, box = spot(93, 72), [[60, 40, 110, 120]]
    (whole,) = landmarker(image)
    assert whole.box.tolist() == [-0.5, -0.5, WIDTH - 0.5, HEIGHT - 0.5]
    np.testing.assert_allclose(whole.points[:, :2], [[93, 72]] * 3, atol=2)
    default, landmarks, detector = (
        landmarker.volumes(image, box, kind)[2][0] for kind in (None, "landmarks", "detector")
    )
    assert default == landmarks != detector


def test_every_kind_of_image_gives_the_same(landmarker, tmp_path):
    image, boxes = spot(93, 72), [[60, 40, 110, 120]]
    path = tmp_path / "spot.png"
    Image.fromarray(image).save(path)
    expected = landmarker(image, boxes)
    for source in (path, str(path), path.read_bytes(), Image.open(path)):
        assert landmarker(source, boxes) == expected


def test_an_exif_rotated_photo_gives_the_upright_result(landmarker):
    image, boxes = spot(120, 50), [[80, 10, 150, 100]]
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side; to be turned clockwise for viewing
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(np.rot90(image))).save(data, "png", exif=exif)
    assert landmarker(data.getvalue(), boxes) == landmarker(image, boxes)


def test_one_pixel(landmarker):
    pixel = np.zeros((1, 1, 3), np.uint8)
    assert landmarker(pixel) == []
    (face,) = landmarker(pixel, boxes=[[-0.5, -0.5, 0.5, 0.5]])
    assert np.isfinite(face.points).all()


def test_nothing_to_find(landmarker):
    assert landmarker(spot(93, 72)) == []
    for empty in ([], np.zeros((0, 4))):
        assert landmarker(spot(93, 72), boxes=empty) == []


# ---- many faces and many images


def test_all_faces_of_an_image_whatever_the_batch(tiny_weights):
    image = spot(93, 72)
    boxes = [[60 + i, 40, 110 + 2 * i, 120] for i in range(7)]
    expected = [Landmarker(tiny_weights, threads=1)(image, [box])[0] for box in boxes]
    for max_batch in (1, 3, 7, 64):
        faces = Landmarker(tiny_weights, threads=1, max_batch=max_batch)(image, boxes)
        assert [face.box.tolist() for face in faces] == boxes
        for face, alone in zip(faces, expected, strict=True):
            np.testing.assert_allclose(face.points, alone.points, atol=1e-4)


@pytest.mark.parametrize("max_batch", [1, 2, 5, 64])
@pytest.mark.parametrize("passes", [1, 2])
def test_many_images(tiny_weights, max_batch, passes):
    landmarker = Landmarker(tiny_weights, threads=1, max_batch=max_batch, passes=passes, detector=nobody)
    images = [spot(60 + 10 * i, 70) for i in range(6)]
    counts = [1, 0, 3, 2, 0, 1]
    boxes = [[[40, 40 - j, 120, 110 + j] for j in range(count)] for count in counts]
    boxes[4] = None  # asks the detector, which finds nothing
    together = landmarker.batch(images, boxes)
    assert [len(faces) for faces in together] == counts
    for image, some, faces in zip(images, boxes, together, strict=True):
        for face, alone in zip(faces, landmarker(image, some), strict=True):
            np.testing.assert_allclose(face.points, alone.points, atol=1e-4)
    assert landmarker.batch([]) == []
    assert landmarker.batch(np.stack(images)) == [[]] * 6


def test_stream_reads_images_when_their_turn_comes(tiny_weights):
    landmarker = Landmarker(tiny_weights, threads=1, max_batch=4)
    read = []

    def images():
        for i in range(100):
            read.append(i)
            yield spot(90, 70)

    stream = landmarker.stream(images(), ([[60, 40, 110, 120]] for _ in range(100)))
    assert read == []
    assert len(next(stream)) == 1
    assert read == [0, 1, 2, 3]
    for _ in range(4):
        next(stream)
    assert len(read) == 8


def test_stream_finds_the_faces_of_several_images_at_once_where_the_detector_allows(tiny_weights):
    class Counting:
        def __init__(self, concurrent):
            self.concurrent, self.running, self.most, self.lock = concurrent, 0, 0, threading.Lock()

        def __call__(self, image):
            with self.lock:
                self.running += 1
                self.most = max(self.most, self.running)
            time.sleep(0.02)
            with self.lock:
                self.running -= 1
            return [[60.0, 40, 110, 120]], [float(image[0, 0, 0]) / 255]

    for concurrent in (False, True):
        detector = Counting(concurrent)
        landmarker = Landmarker(tiny_weights, threads=3, detector=detector)
        images = [np.full((HEIGHT, WIDTH, 3), i, np.uint8) for i in range(12)]
        scores = [faces[0].score for faces in landmarker.stream(images)]
        assert scores == pytest.approx([i / 255 for i in range(12)])
        assert (detector.most > 1) == concurrent


def test_stream_holds_few_large_images(tiny_weights, monkeypatch):
    monkeypatch.setattr("jvcr.inference.landmarker._MOST_PENDING_PIXELS", 2.5 * HEIGHT * WIDTH)
    landmarker = Landmarker(tiny_weights, threads=1, detector=nobody)
    read = []
    images = (read.append(i) or spot(90, 70) for i in range(100))
    stream = landmarker.stream(images, [[[60, 40, 110, 120]]] * 100, passes=2)  # which needs the images to the end
    next(stream)
    assert len(read) == 3


@pytest.mark.parametrize("threads", [1, 3])
def test_results_go_on_after_images_that_cannot_be_used(tiny_weights, tmp_path, threads):
    landmarker = Landmarker(tiny_weights, threads=threads, detector=nobody)
    path = tmp_path / "spot.png"
    Image.fromarray(spot(93, 72)).save(path)
    box = [60, 40, 110, 120]
    images = [path, tmp_path / "none.png", b"no image", path, spot(60, 70), path]
    boxes = [[box], [box], [box], [[900, 900, 950, 950]], [box, box], None]
    results = list(landmarker.results(images, boxes, details=True, on_error="yield"))
    assert [len(result.faces) for result in results] == [1, 0, 0, 0, 2, 0]
    kinds = [type(result.error) for result in results if result.error is not None]
    assert kinds == [FileNotFoundError, ImageError, ValueError]
    np.testing.assert_array_equal(results[0].image, spot(93, 72))
    faces, volumes, crops = landmarker.volumes(path, [box])
    assert (results[0].faces, results[0].crops) == (faces, crops)
    np.testing.assert_array_equal(results[0].volumes, volumes)
    assert (
        [len(result.volumes) for result in results] == [len(result.crops) for result in results] == [1, 0, 0, 0, 2, 0]
    )

    assert [result.image.size for result in landmarker.results(images[:1], boxes[:1])] == [0]
    stream = landmarker.stream(images, boxes)
    assert next(stream) == faces
    with pytest.raises(FileNotFoundError):
        next(stream)


def test_what_no_batch_waits_for_comes_at_once(tiny_weights):
    landmarker = Landmarker(tiny_weights, threads=1, detector=nobody)
    read = []
    results = landmarker.results(read.append(i) or spot(90, 70) for i in range(9))
    assert next(results).faces == []
    assert read == [0]


def test_images_and_boxes_must_be_as_many(landmarker):
    box = [[60, 40, 110, 120]]
    for images, boxes in (([spot(1, 1)] * 2, [box]), ([spot(1, 1)], [box] * 2)):
        with pytest.raises(ValueError, match="differ in number"):
            landmarker.batch(images, boxes)
    for one in ("photo.jpg", b"data", spot(1, 1)):
        with pytest.raises(ValueError, match="call the landmarker"):
            landmarker.batch(one)


def test_several_threads_at_once(tiny_weights):
    landmarker = Landmarker(tiny_weights, threads=1)
    images = [spot(60 + 8 * i, 70) for i in range(8)]
    boxes = [[40, 40, 120, 110]]
    expected = [landmarker(image, boxes) for image in images]
    barrier = threading.Barrier(8)

    def work(i):
        barrier.wait()
        return [landmarker(images[i], boxes) for _ in range(10)]

    with ThreadPoolExecutor(8) as pool:
        for i, results in enumerate(pool.map(work, range(8))):
            assert results == [expected[i]] * 10


# ---- detectors


def test_found_faces_keep_order_and_score(tiny_weights):
    boxes, scores = [[60, 40, 110, 120], [30, 40, 80, 120]], [0.75, 0.5]
    landmarker = Landmarker(tiny_weights, threads=1, detector=lambda image: (boxes, scores))
    faces = landmarker(spot(93, 72))
    assert [face.score for face in faces] == scores
    assert [face.box.tolist() for face in faces] == boxes
    np.testing.assert_array_equal(faces[0].points, landmarker(spot(93, 72), [boxes[0]])[0].points)


def test_what_a_detector_finds_outside_of_the_image_is_left_out(tiny_weights):
    boxes = [[60, 40, 110, 120], [500, 500, 600, 600], [9, 9, 9, 30]]
    landmarker = Landmarker(tiny_weights, threads=1, detector=lambda image: (boxes, [0.9, 0.8, 0.7]))
    assert [face.score for face in landmarker(spot(93, 72))] == [0.9]


def test_of_too_many_faces_the_most_certain_are_looked_at(tiny_weights):
    boxes = [[60.0 + i, 40, 110, 120] for i in range(4)]
    landmarker = Landmarker(tiny_weights, threads=1, detector=lambda image: (boxes, [0.7, 0.9, 0.6, 0.8]))
    landmarker.max_faces = 2
    assert [face.score for face in landmarker(spot(93, 72))] == [0.9, 0.8]
    assert len(landmarker(spot(93, 72), boxes)) == 4


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (([[1, 2, 3]], [0.5]), r"boxes \(n, 4\) and scores \(n,\)"),
        (([[1, 2, 3, 4]], [0.5, 0.6]), r"boxes \(n, 4\) and scores \(n,\)"),
        (([[1, 2, 3, np.nan]], [0.5]), "finite"),
        (([[1, 2, 3, 4]], [94]), "from 0 to 1"),
    ],
)
def test_a_detector_that_answers_wrongly(tiny_weights, answer, message):
    landmarker = Landmarker(tiny_weights, threads=1, detector=lambda image: answer)
    with pytest.raises(ValueError, match=rf"(?s)the detector .* must give .*{message}"):
        landmarker(spot(93, 72))


def test_the_detector_is_made_only_when_needed(tiny_weights, monkeypatch):
    def none_installed(threads):
        raise ImportError("no face detector")

    monkeypatch.setattr("jvcr.inference.landmarker.default_detector", none_installed)
    landmarker = Landmarker(tiny_weights, threads=1)
    assert len(landmarker(spot(93, 72), boxes=[[60, 40, 110, 120]])) == 1
    with pytest.raises(ImportError, match="no face detector"):
        landmarker(spot(93, 72))


# ---- what is refused


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([60, 40, 110, 120], r"shape \(n, 4\).*one box is \[\["),
        ([[60, 40, 110]], r"shape \(n, 4\)"),
        (np.zeros((2, 3, 4)), r"shape \(n, 4\)"),
        ([[60, 40, 110, 120], [60, np.nan, 110, 120]], r"boxes\[1\].*NaN"),
        ([[60, 40, np.inf, 120]], r"boxes\[0\].*NaN or infinite"),
        ([[60, 40, 110, 120], [60, 40, 110, 120], [60, 40, 60, 120]], r"boxes\[2\].*no area"),
        ([[60, 120, 110, 40]], r"boxes\[0\].*no area"),
        ([[200, 40, 260, 120]], r"boxes\[0\].*outside of the image of 200 x 150"),
        ([[60, -90, 110, -1]], r"boxes\[0\].*outside"),
        ([[60, 40, 1e12, 1e12]], r"boxes\[0\].*far larger"),
    ],
)
def test_boxes_that_cannot_be_used(landmarker, boxes, message):
    with pytest.raises(ValueError, match=message):
        landmarker(spot(93, 72), boxes)


def test_the_file_of_a_wrong_box_is_named(landmarker, tmp_path):
    path = tmp_path / "spot.png"
    Image.fromarray(spot(93, 72)).save(path)
    with pytest.raises(ValueError, match=r"spot\.png: boxes\[0\]"):
        landmarker.batch([path], [[[900, 900, 950, 950]]])


def test_a_box_that_just_touches_the_image_is_used(landmarker):
    # Pixel 199 reaches to 199.5.
    assert len(landmarker(spot(93, 72), [[199.4, 40, 260, 120]])) == 1
    with pytest.raises(ValueError, match="outside"):
        landmarker(spot(93, 72), [[199.5, 40, 260, 120]])


def test_arguments_out_of_range(landmarker, tiny_weights):
    for arguments in ({"passes": 0}, {"max_batch": 0}, {"threads": 0}):
        with pytest.raises(ValueError, match=f"{next(iter(arguments))} must be at least 1"):
            Landmarker(tiny_weights, **arguments)
    with pytest.raises(ValueError, match="passes"):
        landmarker(spot(1, 1), [[60, 40, 110, 120]], passes=0)
    with pytest.raises(ValueError, match="passes"):
        landmarker.stream([], passes=0)


def test_images_that_cannot_be_used(landmarker, tmp_path):
    with pytest.raises(FileNotFoundError):
        landmarker(tmp_path / "none.jpg")
    with pytest.raises(IsADirectoryError):
        landmarker(tmp_path)
    with pytest.raises(ImageError):
        landmarker(b"no image")


def test_repr(landmarker):
    assert repr(landmarker) == "Landmarker('tiny': 68 points of face68, 24 px)"


# ---- the shipped weights, on the sample photographs

RIGHT_EYE, LEFT_EYE, NOSE_TIP, MOUTH, CHIN = list(range(36, 42)), list(range(42, 48)), [30], [48, 54], [8]

MEASURED = {
    "grace_hopper.jpg": ([(222, 190), (305, 187), (266, 234), (268, 278), (266, 333)], 180),
    "astronaut.png": ([(202, 101), (246, 103), (223, 126), (224, 139), (224, 178)], 95),
}
"""For each photograph the middle of both eyes, the nose's tip, the middle of the mouth's corners and the chin, pixels,
measured by eye, and the size of the face."""


@pytest.fixture(scope="module")
def compact(shipped_weights):
    return Landmarker("compact", threads=1)


def measured_error(face, name):
    """Mean distance from the measured places, over the size of the face."""
    places, size = MEASURED[name]
    found = [face.points[group, :2].mean(0) for group in (RIGHT_EYE, LEFT_EYE, NOSE_TIP, MOUTH, CHIN)]
    return np.linalg.norm(np.array(found) - places, axis=1).mean() / size


@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("name", MEASURED)
def test_landmarks_lie_on_the_face(compact, examples, name, passes):
    (face,) = compact(examples / name, passes=passes)
    assert measured_error(face, name) < 0.05
    assert max(abs(face.yaw), abs(face.pitch), abs(face.roll)) < 25
    assert face.points[30, 2] < face.points[[0, 16], 2].min()  # the nose is nearer than the ears
    assert face.confidence.mean() > 0.3


@pytest.mark.parametrize("change", ["grey", "alpha", "cmyk", "16 bit", "exif"])
def test_other_forms_of_the_same_photograph(compact, examples, change):
    name = "grace_hopper.jpg"
    picture = Image.open(examples / name).convert("RGB")
    options = {}
    if change == "grey":
        picture = picture.convert("L")
    elif change == "alpha":
        picture.putalpha(255)
    elif change == "cmyk":
        picture = picture.convert("CMYK")
    elif change == "16 bit":
        picture = Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257)
    else:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 8
        picture = picture.transpose(Image.Transpose.ROTATE_270)
    data = io.BytesIO()
    picture.save(data, "tiff" if change == "cmyk" else "png", **options)
    (face,) = compact(data.getvalue())
    assert measured_error(face, name) < 0.06


def test_a_face_cut_by_the_frame(compact, examples):
    image = read_image(examples / "grace_hopper.jpg")
    (whole,) = compact(image)
    (warp_crop,) = compact(np.ascontiguousarray(image[:, 215:]), boxes=[whole.box - [215, 0, 215, 0]])
    seen = whole.points[:, 0] > 225
    distance = np.linalg.norm(warp_crop.points[seen, :2] + [215, 0] - whole.points[seen, :2], axis=1)
    assert distance.mean() / 180 < 0.08


def test_a_mirrored_photograph_gives_mirrored_landmarks(compact, examples):
    image = read_image(examples / "grace_hopper.jpg")
    width = image.shape[1]
    (face,) = compact(image)
    x0, y0, x1, y1 = face.box.tolist()
    (other,) = compact(np.ascontiguousarray(image[:, ::-1]), boxes=[[width - 1 - x1, y0, width - 1 - x0, y1]])
    back = (other.points * [-1, 1, 1] + [width - 1, 0, 0])[FACE68.mirror]
    assert np.linalg.norm(back[:, :2] - face.points[:, :2], axis=1).mean() / 180 < 0.04
    assert other.yaw == pytest.approx(-face.yaw, abs=6)


def test_no_face_in_the_picture(compact, examples):
    image = read_image(examples / "grace_hopper.jpg")
    assert compact(image[:100]) == []


def test_two_faces_in_one_picture(compact, examples):
    left, right = (read_image(examples / name) for name in MEASURED)
    both = cv2.hconcat([left[:512], right])
    faces = sorted(compact(both), key=lambda face: face.box[0])
    assert len(faces) == 2
    shifted = Landmarker("compact", threads=1, detector=nobody)(both, boxes=[[*face.box, face.angle] for face in faces])
    for face, again in zip(faces, shifted, strict=True):
        np.testing.assert_allclose(face.points, again.points, atol=0.01)
    assert measured_error(faces[0], "grace_hopper.jpg") < 0.05


@pytest.fixture(scope="module")
def uncalibrated(shipped_weights, tmp_path_factory):
    """The shipped network, whose file does not say what confidence is too little."""
    path = tmp_path_factory.mktemp("weights") / "compact.onnx"
    path.write_bytes(shipped_weights.read_bytes())
    replace_header(path, replace(OnnxNetwork(path).info, calibration=None))
    return path


@pytest.fixture(scope="module")
def calibrated(uncalibrated):
    """The same, whose file says so."""
    path = uncalibrated.with_name("calibrated.onnx")
    path.write_bytes(uncalibrated.read_bytes())
    replace_header(path, replace(OnnxNetwork(path).info, calibration=Calibration(0.28, 0.45, np.zeros((68, 4)))))
    return Landmarker(path, threads=1)


@pytest.mark.parametrize(
    ("code", "linear"), [(cv2.ROTATE_180, [[-1, 0], [0, -1]]), (cv2.ROTATE_90_CLOCKWISE, [[0, -1], [1, 0]])]
)
def test_a_face_that_lies_in_an_upright_box_is_found_all_the_same(calibrated, uncalibrated, examples, code, linear):
    image = read_image(examples / "astronaut.png")
    (upright,) = calibrated(image, boxes=[[176, 69, 274, 167]])
    size = np.array(image.shape[1::-1]) - 1
    expected = (upright.points[:, :2] - size / 2) @ np.array(linear).T + size / 2
    low, high = expected.min(0) - 10, expected.max(0) + 10
    lying = np.ascontiguousarray(cv2.rotate(image, code))
    for weights, close in ((calibrated, True), (Landmarker(uncalibrated, threads=1), False)):
        (face,) = weights(lying, boxes=[[*low, *high]])
        error = np.linalg.norm(face.points[:, :2] - expected, axis=1).mean() / np.ptp(expected[:, 0])
        assert bool(error < 0.03) == close, error


def test_a_detected_box_that_lies_badly_is_looked_at_again(calibrated, examples):
    """A box of the landmarks is taken as it is."""
    image = read_image(examples / "astronaut.png")
    (good,) = calibrated(image, boxes=[[176, 69, 274, 167]])
    box = [[190, 85, 250, 145]]
    for kind, close in (("detector", True), ("landmarks", False)):
        (face,) = calibrated(image, boxes=box, box_kind=kind)
        assert (np.linalg.norm(face.points[:, :2] - good.points[:, :2], axis=1).mean() < 1) == close
