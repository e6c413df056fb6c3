"""Faces followed from frame to frame: in a made-up world, where all can be told, and with drawn heads that cross."""

import cv2
import numpy as np
import pytest

from jvcr.inference.face import Face
from jvcr.inference.landmarker import LOW_CONFIDENCE, Landmarker
from jvcr.inference.tracker import TrackedFace, Tracker
from jvcr.scheme import FACE68, LandmarkScheme

TEMPLATE = np.array(FACE68.template)
TEMPLATE = TEMPLATE / np.ptp(TEMPLATE[:, :2], axis=0).max()
WIDTH, HEIGHT = 640, 480


class World(Landmarker):
    """Faces at known places, which are the landmarks and the detections that it gives.

    Attributes:
        places: name -> x, y, size of each face in sight, the nearest to the camera last.
        looked: how often the detector was called.
    """

    threads = 1
    scheme = FACE68
    low_confidence = LOW_CONFIDENCE

    def __init__(self, noise=0.0, **places):
        self.places, self.looked, self.calls = places, 0, []
        self.confidence, self.rng, self.noise = 0.5, np.random.default_rng(0), noise

    def landmarks(self, x, y, size):
        return TEMPLATE * size + [x, y, 0] + self.rng.normal(0, self.noise, (68, 3))

    def __call__(self, image, boxes, box_kind="detector", passes=None):
        self.calls.append((len(boxes), box_kind))
        return [self.look(np.asarray(box)) for box in boxes]

    def look(self, box):
        """The face nearest to the box's middle, if it lies in it."""
        box = box[:4]
        middle, side = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max()
        near = [p for p in self.places.values() if np.abs(p[:2] - middle).max() < side / 2]
        place = min(reversed(near), key=lambda p: np.linalg.norm(p[:2] - middle), default=(*middle, side))
        confidence = np.full(68, self.confidence if near else 0.1, np.float32)
        return Face(np.float32(self.landmarks(*place)), np.float32(box), confidence, None, 10.0, 0.0, 0.0)

    def detect(self, image):
        self.looked += 1
        boxes = [[x - s / 2, y - 0.7 * s, x + s / 2, y + 0.5 * s] for x, y, s in self.places.values()]
        return np.reshape(boxes, (-1, 4)), np.full(len(boxes), 0.9)


def frame(width=WIDTH, height=HEIGHT):
    return np.zeros((height, width, 3), np.uint8)


def follow(tracker, world, times_s, **moved):
    """Identities in each frame; ``moved`` are functions of time to the places of faces."""
    found = []
    for t in times_s:
        world.places.update({name: place(t) for name, place in moved.items()})
        found.append({name_at(world, face): face.id for face in tracker(frame(), t)})
    return found


def name_at(world, face):
    middle = face.points[:, :2].mean(0)
    return min(world.places, key=lambda name: np.linalg.norm(np.array(world.places[name][:2]) - middle))


def seconds(begin, end, fps=30):
    return (np.arange(round(begin * fps), round(end * fps)) / fps).tolist()


def make(world, **options):
    return Tracker(world, world.detect, **options)


def test_a_moving_face_keeps_its_identity_and_the_detector_rests():
    world = World(a=(100, 200, 80))
    tracker = make(world)
    found = follow(tracker, world, seconds(0, 3), a=lambda t: (100 + 120 * t, 200, 80 + 10 * t))
    assert found == [{"a": 1}] * 90
    assert world.looked == 3
    assert world.calls[0] == (1, "detector")
    assert set(world.calls[1:]) == {(1, "landmarks")}


@pytest.mark.parametrize(("every_s", "looked"), [(0.0, 30), (0.5, 2), (5.0, 1)])
def test_how_often_new_faces_are_looked_for(every_s, looked):
    world = World(a=(100, 200, 80))
    follow(make(world, detect_every_s=every_s), world, seconds(0, 1))
    assert world.looked == looked


def test_a_new_face_is_found_when_the_detector_looks_again():
    world = World(a=(100, 200, 80))
    tracker = make(world)
    follow(tracker, world, seconds(0, 0.5))
    world.places["b"] = (400, 200, 80)
    found = follow(tracker, world, seconds(0.5, 1.5))
    assert found[0] == {"a": 1}
    assert found[-1] == {"a": 1, "b": 2}
    assert found.index({"a": 1, "b": 2}) == 15


def test_the_score_is_of_frames_in_which_the_detector_looked():
    world = World(a=(100, 200, 80))
    tracker = make(world)
    scores = [tracker(frame(), t)[0].score for t in seconds(0, 1.1)]
    assert [i for i, score in enumerate(scores) if score is not None] == [0, 30]
    assert scores[30] == 0.9


def test_without_a_face_the_detector_looks_in_every_frame():
    world = World()
    assert follow(make(world), world, seconds(0, 0.5)) == [{}] * 15
    assert world.looked == 15
    assert world.calls == []


@pytest.mark.parametrize(
    ("away_s", "place", "identity"),
    [
        (0.1, (230, 200, 80), 1),
        (2.5, (230, 200, 80), 1),
        (3.2, (200, 200, 80), 2),  # too late
        (0.1, (290, 200, 80), 2),  # too far for the time
        (1.0, (290, 200, 80), 1),
        (2.5, (400, 200, 80), 2),  # beyond what any time allows
        (1.0, (200, 200, 140), 2),  # another size
    ],
)
def test_a_face_that_comes_back(away_s, place, identity):
    world = World(a=(200, 200, 80))
    tracker = make(world)
    follow(tracker, world, seconds(0, 1))
    world.places.clear()
    assert follow(tracker, world, seconds(1, 1 + away_s)) == [{}] * round(30 * away_s)
    world.places["a"] = place
    assert follow(tracker, world, seconds(1 + away_s, 2 + away_s)) == [{"a": identity}] * 30


def test_of_two_lost_faces_each_gets_its_own_identity():
    world = World(a=(200, 200, 80), b=(300, 200, 80))
    tracker = make(world)
    follow(tracker, world, seconds(0, 1))
    world.places.clear()
    follow(tracker, world, seconds(1, 1.5))
    world.places.update(b=(290, 200, 80), a=(195, 200, 80))
    assert follow(tracker, world, seconds(1.5, 2)) == [{"a": 1, "b": 2}] * 15


def test_a_lost_face_is_looked_for_more_often():
    world = World(a=(200, 200, 80), b=(400, 200, 80))
    tracker = make(world, detect_every_s=100.0)
    follow(tracker, world, seconds(0, 1))
    place, world.looked = world.places.pop("b"), 0
    follow(tracker, world, seconds(1, 2))
    assert world.looked == 4
    world.places["b"] = place
    assert follow(tracker, world, seconds(2, 2.5))[-1] == {"a": 1, "b": 2}


@pytest.mark.parametrize("front", [1, -1])
def test_a_face_that_is_hidden_behind_another_is_lost_and_comes_back(front):
    """The front one is found wherever both are; the track of the other one jumps onto it, and is the one that ends."""
    world = World(a=(200, 200, 80), b=(440, 200, 80))
    tracker = make(world)

    def places(t):
        a, b = (200 + 120 * t, 200, 80), (440 - 120 * t, 200, 80)
        hidden = abs(a[0] - b[0]) < 40
        return {"a": a, "b": b} if not hidden else ({"a": a} if front == 1 else {"b": b})

    found = []
    for t in seconds(0, 2):
        world.places = places(t)
        found.append({name_at(world, face): face.id for face in tracker(frame(), t)})
    assert found[0] == found[-1] == {"a": 1, "b": 2}
    for names in found:
        assert names.get("a", 1) == 1
        assert names.get("b", 2) == 2
    assert {len(names) for names in found} == {1, 2}


def test_no_more_faces_than_wanted():
    world = World(a=(200, 200, 80), b=(400, 200, 80))
    tracker = make(world, max_faces=1)
    assert follow(tracker, world, seconds(0, 3)) == [{"a": 1}] * 90
    assert world.looked == 1  # while all are followed it need not look
    del world.places["a"]
    assert follow(tracker, world, seconds(3, 4))[-1] == {"b": 2}


def test_a_face_that_nothing_is_sure_of_is_lost():
    world = World(a=(200, 200, 80))
    tracker = make(world, min_confidence=0.3)
    follow(tracker, world, [0.0])
    world.confidence = 0.29
    assert follow(tracker, world, [0.1, 0.2]) == [{}, {}]
    world.confidence = 0.31
    assert follow(tracker, world, [0.3]) == [{"a": 1}]


def test_a_face_does_not_grow_suddenly():
    world = World(a=(200, 200, 80))
    tracker = make(world)
    follow(tracker, world, [0.0])
    world.places["a"] = (200, 200, 170)
    assert follow(tracker, world, [0.1]) == [{"a": 2}]


def test_a_face_that_leaves_the_picture():
    world = World(a=(580, 200, 80))
    tracker = make(world)
    found = follow(tracker, world, seconds(0, 1), a=lambda t: (580 + 300 * t, 200, 80))
    assert found[0] == {"a": 1}
    assert found[-1] == {}


def test_the_same_view_at_another_resolution():
    world = World(a=(200, 200, 80), b=(400, 240, 60))
    tracker = make(world)
    follow(tracker, world, seconds(0, 0.5))
    world.places = {"a": (100, 100, 40), "b": (200, 120, 30)}
    faces = tracker(frame(320, 240), 0.5)
    assert {name_at(world, face): face.id for face in faces} == {"a": 1, "b": 2}
    np.testing.assert_allclose(faces[0].points, world.landmarks(100, 100, 40), atol=1e-3)  # nothing of the past in it
    assert tracker(frame(320, 240), 0.6)[1].id == 2


def pattern(number, width=WIDTH, height=HEIGHT):
    cells = np.random.default_rng(number).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    return cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC)


def test_a_cut_begins_all_anew():
    """The next shot has a face at the same place: another identity, and nothing of the old one in its landmarks."""
    world = World(a=(200, 200, 80))
    tracker = make(world)
    for t in seconds(0, 1):
        assert tracker(pattern(1), t)[0].id == 1
    world.places["a"] = (206, 203, 84)
    (face,) = tracker(pattern(2), 1.0)
    assert face.id == 2
    np.testing.assert_allclose(face.points, world.landmarks(206, 203, 84), atol=1e-3)
    world.places["a"] = (200, 200, 80)
    assert tracker(pattern(1), 1.1)[0].id == 3


def test_what_is_no_cut():
    world = World(a=(200, 200, 80))
    tracker = make(world)
    face = np.s_[120:280, 120:280]
    for number, t in enumerate(seconds(0, 1, fps=10)):  # a camera that turns with the face: all but it changes
        picture = pattern(number)
        picture[face] = pattern(100)[face]
        assert tracker(picture, t)[0].id == 1
    world.places.clear()
    assert tracker(frame(), 1.0) == []
    world.places["a"] = (200, 200, 80)
    assert tracker(picture, 1.1)[0].id == 1  # a black frame between


def test_smoothing_can_be_left_out():
    shaken = World(noise=0.2, a=(200, 200, 80))
    raw = make(shaken, smooth=False)
    raw = np.array([raw(frame(), t)[0].points for t in seconds(0, 2)])
    shaken = World(noise=0.2, a=(200, 200, 80))
    smooth = make(shaken)
    smooth = np.array([smooth(frame(), t)[0].points for t in seconds(0, 2)])
    assert np.diff(smooth[15:], axis=0).std() < 0.3 * np.diff(raw[15:], axis=0).std()
    np.testing.assert_array_equal(smooth[0], raw[0])


def test_a_face_without_angles():
    class Dots(World):
        def look(self, box):
            face = super().look(box)
            return Face(face.points, face.box, face.confidence)

    world = Dots(a=(200, 200, 80))
    tracker = make(world)
    tracker(frame(), 0.0)
    (face,) = tracker(frame(), 0.1)
    assert (face.yaw, face.pitch, face.roll, face.id) == (None, None, None, 1)


def test_times_must_rise():
    tracker = make(World(a=(200, 200, 80)))
    tracker(frame(), 1.0)
    for time_s in (1.0, 0.5, float("nan")):
        with pytest.raises(ValueError, match="must rise"):
            tracker(frame(), time_s)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"detect_every_s": -1.0}, "at least 0 seconds"),
        ({"max_faces": 0}, "at least 1"),
        ({"min_confidence": 2.0}, "0 to 1"),
    ],
)
def test_options_out_of_range(options, match):
    with pytest.raises(ValueError, match=match):
        make(World(), **options)


def test_what_a_tracked_face_is():
    face = make(World(a=(200, 200, 80)))(frame(), 0.0)[0]
    data = face.to_dict()
    assert next(iter(data)) == "id"
    assert TrackedFace.from_dict(data).to_dict() == data
    assert repr(face).startswith("TrackedFace(68 points")
    assert repr(face).endswith("id=1)")
    plain = Face(face.points, face.box, face.confidence, face.score, face.yaw, face.pitch, face.roll)
    assert face != plain and plain != face
    assert TrackedFace.from_dict(data) == TrackedFace.from_dict(data)
    assert TrackedFace.from_dict(data) != TrackedFace.from_dict({**data, "id": 2})
    with pytest.raises(ValueError, match="whole number as id"):
        TrackedFace.from_dict(plain.to_dict())


# ---- with the shipped network


def drawn_head(index, size):
    """A head that looks into the camera: its picture, where it is, and its landmarks."""
    from jvcr.data.readers.basel import projection, to_image
    from jvcr.synthetic.dataset import synthetic_face
    from jvcr.synthetic.head import head_model
    from jvcr.synthetic.render import draw_head

    face, model = synthetic_face(index, size=size), head_model()
    para = face.pose_para.copy()
    para[:3] = 0
    rotation, shift, scale = projection(para)
    vertices = model.vertices_um(face.shape, face.expression)
    picture, depth = draw_head(
        model, vertices, rotation, scale, shift, face.look, np.zeros((size, size, 3), np.float32)
    )
    landmarks = to_image(model.landmarks_um(face.shape, face.expression), para, size)
    return (picture.clip(0, 1) * 255).astype(np.uint8), np.isfinite(depth).astype(np.float32), landmarks[:, :2]


def largest(faces):
    """The badge on a cap may be taken for a face, too."""
    return max(faces, key=lambda face: np.ptp(face.points[:, 0]))


def test_two_people_cut_together(shipped_weights, examples):
    """Their faces at one place: the landmarks of the second are those of a tracker that begins there."""
    places = {"astronaut.png": (222, 110, 150), "grace_hopper.jpg": (245, 205, 240)}
    people = []
    for name, (x, y, side) in places.items():
        photo = cv2.cvtColor(cv2.imread(str(examples / name)), cv2.COLOR_BGR2RGB)
        move = np.float32([[160 / side, 0, 160 - x * 160 / side], [0, 160 / side, 120 - y * 160 / side]])
        people.append(cv2.warpAffine(photo, move, (320, 240), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101))
    landmarker = Landmarker(shipped_weights, threads=1)
    tracker, fresh = Tracker(landmarker), Tracker(landmarker)
    for t in seconds(0, 0.4):
        old = largest(tracker(people[0], t))
    for t in seconds(0.4, 0.6):
        new, alone = largest(tracker(people[1], t)), largest(fresh(people[1], t))
        np.testing.assert_allclose(new.points, alone.points, atol=0.01)
        assert old.id == 1 != new.id
    # They do lie at one place: without the cut the one would have been taken for the other.
    assert np.linalg.norm(new.points[:, :2].mean(0) - old.points[:, :2].mean(0)) < 0.2 * np.ptp(old.points[:, 1])


@pytest.mark.parametrize("crossing_s", [1.5, 4.0])
def test_drawn_faces_that_cross_do_not_swap(shipped_weights, crossing_s):
    tracker = Tracker(Landmarker(shipped_weights, threads=1))
    heads = {"behind": drawn_head(4, 150), "before": drawn_head(12, 150)}
    ground = np.random.default_rng(1).integers(60, 190, (6, 8, 3), dtype=np.uint8)
    ground = cv2.resize(ground, (320, 240), interpolation=cv2.INTER_CUBIC)
    identities, together = {"behind": set(), "before": set()}, []
    for t in seconds(0, crossing_s, fps=15):
        share, picture, truth = t / crossing_s, ground.astype(np.float32), {}
        for name, x in (("behind", 60 + 200 * share), ("before", 260 - 200 * share)):
            pixels, mask, landmarks = heads[name]
            move = np.float32([[1, 0, x - 75], [0, 1, 45]])
            cover = cv2.warpAffine(mask, move, (320, 240))[..., None]
            picture = picture * (1 - cover) + cover * cv2.warpAffine(pixels, move, (320, 240))
            truth[name] = landmarks + np.array([x - 75, 45])
        faces = tracker(picture.astype(np.uint8), t)
        together.append(len(faces))
        for face in faces:
            error = {name: np.linalg.norm(face.points[:, :2] - p, axis=1).mean() for name, p in truth.items()}
            nearest = min(error, key=error.__getitem__)
            if error[nearest] < 8:  # a face that is half hidden is found roughly
                identities[nearest].add(face.id)
    assert identities == {"behind": {1}, "before": {2}} or identities == {"behind": {2}, "before": {1}}
    assert together[0] == together[-1] == 2
    assert 1 in together


def test_a_face_that_turns_in_the_plane_is_followed_all_the_way_round(shipped_weights, examples):
    photo = cv2.cvtColor(cv2.imread(str(examples / "grace_hopper.jpg")), cv2.COLOR_BGR2RGB)
    tracker, nose = Tracker(Landmarker(shipped_weights, threads=1), smooth=False), np.array([266.0, 232])
    for number, angle in enumerate(range(0, 360, 6)):
        turn = cv2.getRotationMatrix2D(nose.tolist(), -angle, 0.6)
        picture = cv2.warpAffine(photo, turn, photo.shape[1::-1], flags=cv2.INTER_AREA, borderValue=(90, 90, 90))
        (face,) = tracker(picture, number / 30)
        assert face.id == 1
        assert np.linalg.norm(face.points[30, :2] - nose) < 12
        assert abs((face.roll - angle + 180) % 360 - 180) < 15


def test_an_object_that_is_no_face_is_looked_for_in_the_whole_frame(make_network):
    corners = tuple((x, y, 0.0) for x in (-1.0, 1.0) for y in (-1.0, 1.0))
    tracker = Tracker(Landmarker(make_network(scheme=LandmarkScheme("wheel", 4, template=corners)), threads=1))
    (wheel,) = tracker(np.full((60, 80, 3), 128, np.uint8), 0.0)
    # The frame surrounds the landmarks; a face detector's box would reach higher.
    np.testing.assert_allclose(wheel.points[:, :2].mean(0), [39.5, 29.5], atol=0.1)
