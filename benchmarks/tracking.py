"""What `jvcr.Tracker` does to faces whose motion is known, when it loses them, and what `jvcr video` takes.

    python benchmarks/tracking.py                                    # jitter, lag and error, before and after smoothing
    python benchmarks/tracking.py --noise 12                         # the same with three times the sensor noise
    python benchmarks/tracking.py --every 3                          # of every third frame only, 10 a second
    python benchmarks/tracking.py --sweep                            # with other constants of the filters
    python benchmarks/tracking.py --confidence FOLDER [FOLDER ...]   # of faces, of parts of them, and of what is none
    python benchmarks/tracking.py --shares                           # time: decoding, tracking, drawing and encoding
    python benchmarks/tracking.py --memory                           # after 100, 1,000 and 10,000 frames

The motions are 640 x 480 pixels at 30 frames a second, with fresh sensor noise in each frame (a standard deviation of 4
of 255): a sample photograph and a drawn head that stand still; the photograph moved to and fro, and zoomed; the drawn
head turned, and opening its mouth. Where each landmark truly is follows from how the frame was made; for the photograph
the truth is the mean of what is found while it stands still, moved along.

*Jitter* is how far a landmark goes from one frame to the next while the face stands still. *Lag* is the delay of the
true motion that fits what was found best. *Error* is the distance to the true place; each landmark's mean offset over
the motion is taken out first, as it is the network's error, which no filter changes. Distances are roots of mean
squares, in % of the face's size, the longer side of the landmarks' box. The last column is smoothed over raw.

The confidence is measured on faces of data sets that `jvcr data check` reads, those for validation if they say which:
cropped around their true landmarks, also with the image cut off, blurred, darkened or reduced; and in parts of the
images without a face, where a track is begun and followed for five more frames.

Tables are printed in Markdown, as docs/video.md has them.
"""

import argparse
import json
import math
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
from memory import peak_bytes

from jvcr.cli.video import track_video
from jvcr.data import read_dataset
from jvcr.data.readers.basel import projection, to_image
from jvcr.geometry.pose import HeadPose
from jvcr.inference import one_euro
from jvcr.inference.image import read_image
from jvcr.inference.landmarker import Landmarker
from jvcr.inference.tracker import MIN_CONFIDENCE, Tracker
from jvcr.synthetic.dataset import synthetic_face
from jvcr.synthetic.head import head_model
from jvcr.synthetic.look import random_background
from jvcr.synthetic.modes import Expression
from jvcr.synthetic.render import draw_head
from jvcr.video.sinks import frame_record, open_sink
from jvcr.video.sources import open_source

WIDTH, HEIGHT, FRAMES_A_SECOND = 640, 480, 30
DRAWN_FACE = 4
PHOTO = Path(__file__).parents[1] / "examples" / "astronaut.png"
SWEPT = {
    "CUTOFF_HZ": (0.5, 0.8, 1.5),
    "MOTION_BETA": (300.0, 1000.0, 3000.0, 10_000.0),
    "SHAPE_BETA": (30.0, 100.0, 300.0, 1000.0),
    "POSE_BETA": (0.003, 0.01, 0.03),
    "SPEED_CUTOFF_HZ": (1.0, 2.0, 3.0),
}
"""Constants of the smoothing, each swept with the others as they are."""


@dataclass(frozen=True)
class Motion:
    """A name, how to make the frame of a time, and where the landmarks then are; ``still`` if nothing moves."""

    name: str
    image: object
    truth: object
    still: bool = False


@dataclass
class Track:
    """What was found: (T, N, 3) points and (T, 3) yaw, pitch, roll at (T,) times, and the truth of any time."""

    name: str
    still: bool
    times_s: np.ndarray
    points: np.ndarray
    pose: np.ndarray
    truth: object


def wave(hz):
    return lambda t: math.sin(2 * math.pi * hz * t)


def photo_motion(name, move, reference=None, still=False):
    """The sample photograph; ``move(t)`` gives x, y in pixels of the frame and a zoom."""
    photo = read_image(PHOTO)

    def matrix(t):
        x, y, zoom = move(t)
        # The face of the photograph, around (222, 125), comes to the middle of the frame.
        return np.array([[zoom, 0, WIDTH / 2 + x - zoom * 222], [0, zoom, HEIGHT / 2 + y - zoom * 125]])

    def image(t):
        return cv2.warpAffine(photo, matrix(t), (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT_101)

    def truth(t):
        to_photo = cv2.invertAffineTransform(matrix(0.0))
        xy = reference[:, :2] @ to_photo[:, :2].T + to_photo[:, 2]
        now = matrix(t)
        return np.column_stack([xy @ now[:, :2].T + now[:, 2], reference[:, 2] * now[0, 0] / matrix(0.0)[0, 0]])

    return Motion(name, image, truth, still)


def drawn_motion(name, turn, still=False):
    """A drawn head; ``turn(t)`` gives yaw and pitch in degrees, and how far the mouth is open, 0 to 1."""
    face, model = synthetic_face(DRAWN_FACE, size=HEIGHT), head_model()
    ground = random_background(HEIGHT, np.random.default_rng(3))
    beside = (WIDTH - HEIGHT) // 2

    def at(t):
        yaw, pitch, aperture = turn(t)
        para = face.pose_para.copy()
        para[:3] = np.radians([pitch, yaw, 5])
        expression = face.expression.copy()
        expression[Expression.OPEN_MOUTH] = aperture
        return para, expression

    def image(t):
        para, expression = at(t)
        rotation, shift, scale = projection(para)
        head = model.vertices_um(face.shape, expression)
        picture, _ = draw_head(model, head, rotation, scale, shift, face.look, ground)
        square = (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
        return cv2.copyMakeBorder(square, 0, 0, beside, beside, cv2.BORDER_REFLECT_101)

    def truth(t):
        para, expression = at(t)
        return to_image(model.landmarks_um(face.shape, expression), para, HEIGHT) + np.array([beside, 0, 0])

    return Motion(name, image, truth, still)


def noisy(picture, rng, noise):
    return np.clip(picture + rng.standard_normal(picture.shape, np.float32) * noise, 0, 255).astype(np.uint8)


def follow(motion, landmarker, seconds, noise):
    """The raw track of a motion."""
    rng = np.random.default_rng(0)
    tracker = Tracker(landmarker, smooth=False, max_faces=1)
    times_s, points, pose, picture = [], [], [], None
    for i in range(round(seconds * FRAMES_A_SECOND)):
        t = i / FRAMES_A_SECOND
        if picture is None or not motion.still:
            picture = motion.image(t)
        faces = tracker(noisy(picture, rng, noise), t)
        if faces:
            face = faces[0]
            times_s.append(t)
            points.append(face.points.astype(np.float64))
            pose.append((face.yaw, face.pitch, face.roll))
    if len(points) < seconds * FRAMES_A_SECOND * 0.95:
        raise SystemExit(f"{motion.name}: the face was found in {len(points)} frames only")
    return Track(motion.name, motion.still, np.array(times_s), np.array(points), np.array(pose), motion.truth)


def record(landmarker, seconds, noise):
    rest = photo_motion("photograph, still", lambda t: (0.0, 0.0, 1.5), still=True)
    tracks = [follow(rest, landmarker, seconds, noise)]
    reference = tracks[0].points.mean(0)
    size = np.ptp(reference[:, :2], axis=0).max()
    sway, beat, slow = wave(0.5), wave(2.0), wave(0.25)
    reach = size / (2 * math.pi * 0.5)  # so that the greatest speed is one face size a second
    motions = [
        drawn_motion("drawn head, still", lambda t: (10.0, 0.0, 0.0), still=True),
        photo_motion("photograph, to and fro", lambda t: (reach * sway(t), 0.2 * reach * sway(t), 1.5), reference),
        photo_motion("the same, 4 times slower", lambda t: (reach * 0.5 * slow(t / 2), 0.0, 1.5), reference),
        photo_motion("photograph, zoomed", lambda t: (0.0, 0.0, 1.5 + 0.4 * sway(t)), reference),
        drawn_motion("drawn head, turning", lambda t: (30 * sway(t), 8 * wave(0.7)(t), 0.0)),
        drawn_motion("drawn head, speaking", lambda t: (10.0, 0.0, 0.35 + 0.35 * beat(t))),
    ]
    return [*tracks, *(follow(motion, landmarker, seconds, noise) for motion in motions)]


def thinned(track, every):
    """The track of a video with fewer frames."""
    part = slice(None, None, every)
    return Track(track.name, track.still, track.times_s[part], track.points[part], track.pose[part], track.truth)


def smoothed(track):
    smoother = one_euro.FaceSmoother()
    results = [
        smoother(points, HeadPose(*pose), t)
        for points, pose, t in zip(track.points, track.pose, track.times_s, strict=True)
    ]
    points = np.array([points for points, _ in results])
    pose = np.array([(pose.yaw_deg, pose.pitch_deg, pose.roll_deg) for _, pose in results])
    return Track(track.name, track.still, track.times_s, points, pose, track.truth)


def rms(values):
    return float(np.sqrt(np.mean(np.square(values))))


def figures(track, raw):
    """Jitter of what stands still; lag and error of what moves. The first half second is for starting."""
    kept = track.times_s >= 0.5
    times_s, points, pose = track.times_s[kept], track.points[kept], track.pose[kept]
    size = float(np.ptp(raw.points[:, :, :2].mean(0), axis=0).max())
    if track.still:
        steps = np.linalg.norm(np.diff(points[:, :, :2], axis=0), axis=2)
        return {
            "jitter_px": rms(steps),
            "jitter_percent": 100 * rms(steps) / size,
            "pose_jitter_deg": rms(np.linalg.norm(np.diff(pose, axis=0), axis=1)),
        }
    truth = np.array([track.truth(t) for t in times_s])
    offset = (raw.points[kept] - truth).mean(0)[:, :2]

    def error(delay_s):
        late = np.array([track.truth(t - delay_s) for t in times_s])
        return 100 * rms(np.linalg.norm(points[:, :, :2] - late[:, :, :2] - offset, axis=2)) / size

    delays = np.arange(-1.0, 4.01, 0.1)
    lag = float(delays[np.argmin([error(d / FRAMES_A_SECOND) for d in delays])])
    result = {"lag_frames": lag, "error_percent": error(0.0)}
    if np.ptp(raw.pose[:, 0]) > 20:
        # Its own track, unsmoothed and later, is what the pose is compared with: it has no lag.
        late = [
            rms(np.array([np.interp(times_s - d / FRAMES_A_SECOND, times_s, a) for a in raw.pose[kept].T]).T - pose)
            for d in delays
        ]
        result["pose_lag_frames"] = float(delays[np.argmin(late)])
    return result


def table(tracks):
    return [
        {"motion": track.name, "raw": figures(track, track), "smoothed": figures(smoothed(track), track)}
        for track in tracks
    ]


def line(*cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def head(*cells):
    line(*cells)
    print("|" + "---|" * len(cells))


FIGURES = {
    "jitter_px": "jitter, pixels a frame",
    "jitter_percent": "jitter, % of the face a frame",
    "pose_jitter_deg": "jitter of the pose, degrees a frame",
    "lag_frames": "lag, frames",
    "error_percent": "error, % of the face",
    "pose_lag_frames": "lag of the pose, frames",
}


def print_table(rows):
    head("motion", "", "raw", "smoothed", "ratio")
    for row in rows:
        for name, value in row["raw"].items():
            decimals, after = 1 if name.endswith("frames") else 2, row["smoothed"][name]
            texts = (f"{round(v, decimals) + 0.0:.{decimals}f}" for v in (value, after))
            line(row["motion"], FIGURES[name], *texts, "" if name.endswith("frames") else f"{after / value:.2f}")


def sweep(tracks):
    """Smoothed over raw: jitter of what stands still, error of what moves; then the pose's jitter and lag."""
    head("constant", "value", *(track.name for track in tracks))
    for name, values in SWEPT.items():
        before = getattr(one_euro, name)
        for value in values:
            setattr(one_euro, name, value)
            cells = []
            for row in table(tracks):
                cell = {key: row["smoothed"][key] / row["raw"][key] for key in row["raw"] if key.endswith("percent")}
                texts = [f"{ratio:.2f}" for ratio in cell.values()]
                texts += [f"pose {row['smoothed'][k]:.2f}" for k in row["raw"] if k.startswith("pose")]
                cells.append(", ".join(texts))
            line(name, f"{value:g}", *cells)
        setattr(one_euro, name, before)


def box_around(points):
    return np.concatenate([points[:, :2].min(0), points[:, :2].max(0)])


def mean_confidence(landmarker, image, box, frames=1):
    """Of the last of so many frames, each looked at around the landmarks before; 0 where they lead astray."""
    try:
        for _ in range(frames):
            (face,) = landmarker(image, [box], "landmarks")
            box = box_around(face.points)
    except ValueError:
        return 0.0
    return float(face.confidence.mean())


def confidence(landmarker, folders, count):
    """Quantiles of the mean confidence of a face, for many kinds of faces and of what is none."""
    rng = np.random.default_rng(0)
    found = defaultdict(list)
    sets = [data.split("val") if "val" in data.splits else data for data in map(read_dataset, folders)]
    for _ in range(count):
        data = sets[rng.integers(len(sets))]
        i = int(rng.integers(len(data)))
        image, box = data.read_image(i), box_around(data.points_px[i])
        size = (box[2:] - box[:2]).max()

        def look(name, picture, box=box):
            found[name].append(mean_confidence(landmarker, picture, box))

        look("faces", image)
        blur = max(3, round(0.12 * size))
        look("blurred by 12 % of their size", cv2.filter2D(image, -1, np.full((1, blur), 1 / blur, np.float32)))
        look("at 15 % of their brightness", (image * 0.15).astype(np.uint8))
        scale = 24 / size
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        look("24 pixels large", small, (box + 0.5) * scale - 0.5)
        for part in (0.35, 0.5, 0.65, 0.8):
            rest = image[:, : max(4, round(box[2] - part * (box[2] - box[0])))]
            look(f"with {part:.0%} beyond the edge", np.ascontiguousarray(rest))
    while len(found["no face"]) < count:
        data = sets[rng.integers(len(sets))]
        i = int(rng.integers(len(data)))
        image, face = data.read_image(i), box_around(data.points_px[i])
        side = rng.uniform(0.3, 1) * (face[2:] - face[:2]).max()
        x, y = rng.uniform(-side / 4, np.array(image.shape[1::-1]) - side * 3 / 4)
        beside = max(face[0] - x - side, x - face[2], face[1] - y - side, y - face[3])
        if beside > 0.1 * side:
            box = np.array([x, y, x + side, y + side])
            found["no face"].append(mean_confidence(landmarker, image, box))
            found["no face, five frames later"].append(mean_confidence(landmarker, image, box, 6))
    shares = (0.005, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
    head("mean confidence", *(f"{s:.1%}" for s in shares), f"below {MIN_CONFIDENCE}")
    for name, values in found.items():
        quantiles = (f"{q:.2f}" for q in np.quantile(values, shares))
        line(name, *quantiles, f"{np.mean(np.array(values) < MIN_CONFIDENCE):.1%}")


def written(path, images, size):
    """A video of these images, all of this width and height, at the steady rate."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FRAMES_A_SECOND, options={"preset": "veryfast", "crf": "20"})
        stream.width, stream.height = size
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        container.mux(stream.encode())
    return path


def shares(weights, threads, seconds):
    """Times of the parts of `jvcr video`, on a video of the sample photograph in motion."""
    motion = photo_motion("", lambda t: (120 * math.sin(t), 20 * math.sin(2 * t), 1.4 + 0.2 * math.sin(0.7 * t)))
    landmarker, rng = Landmarker(weights, threads), np.random.default_rng(0)
    tracker = Tracker(landmarker)
    spent = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        times_s = np.arange(round(seconds * FRAMES_A_SECOND)) / FRAMES_A_SECOND
        images = (noisy(motion.image(t), rng, 4.0) for t in times_s)
        path = written(Path(folder) / "in.mp4", images, (WIDTH, HEIGHT))
        frames = open_source(str(path)).frames()
        sink = open_sink(Path(folder) / "out.mp4", landmarker.scheme)
        while True:
            times = [time.perf_counter()]
            frame = next(frames, None)
            if frame is None:
                break
            times.append(time.perf_counter())
            faces = tracker(frame.image, frame.time_s)
            times.append(time.perf_counter())
            json.dumps(frame_record(frame, faces))
            times.append(time.perf_counter())
            sink.write(frame, faces)
            times.append(time.perf_counter())
            for name, took in zip(("decode", "track", "record", "draw and encode"), np.diff(times), strict=True):
                spent[name].append(1000 * took)
            spent["all"].append(1000 * (times[-1] - times[0]))
        sink.close()
    total = np.mean(spent["all"])
    head("ms a frame", "mean", "median", "fastest", "share")
    for name, values in spent.items():
        figures = (f"{value:.1f}" for value in (np.mean(values), np.median(values), min(values)))
        line(name, *figures, f"{np.mean(values) / total:.0%}")
    print(f"{1000 / total:.0f} frames a second, by the median {1000 / np.median(spent['all']):.0f}")


def memory(weights, threads, count):
    """Peak memory of this process while a video of so many small frames passes, all three outputs written."""
    photo = read_image(PHOTO)

    def image(t):
        x, y, zoom = 80 + 20 * math.sin(t), 60 + 5 * math.sin(2 * t), 0.35 + 0.05 * math.sin(0.7 * t)
        move = np.array([[zoom, 0, x - zoom * 222], [0, zoom, y - zoom * 125]])
        return cv2.warpAffine(photo, move, (160, 120), borderMode=cv2.BORDER_REFLECT_101)

    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / "in.mp4", (image(i / FRAMES_A_SECOND) for i in range(count)), (160, 120))
        head("frames", "peak memory, MiB")

        def passed(frame):
            if frame.number + 1 in (count // 100, count // 10, count):
                line(f"{frame.number + 1:,}", f"{peak_bytes() / 2**20:.0f}")

        outputs = [Path(folder) / f"out{suffix}" for suffix in (".jsonl", ".csv", ".mp4")]
        source = open_source(str(path))
        track_video(source.frames(), Tracker(Landmarker(weights, threads)), outputs, progress=passed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--threads", type=int, help="all available by default")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each motion; also of the video of --shares")
    parser.add_argument("--noise", type=float, default=4.0, help="standard deviation of the sensor noise, of 255")
    parser.add_argument("--every", type=int, default=1, help="take one of so many frames")
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--confidence", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--count", type=int, default=500, help="faces for --confidence, and as many places without one")
    parser.add_argument("--shares", action="store_true")
    parser.add_argument("--memory", nargs="?", type=int, const=10_000, metavar="FRAMES", help="10,000 by default")
    options = parser.parse_args()
    if options.shares:
        shares(options.weights, options.threads, options.seconds)
        return
    if options.memory:
        memory(options.weights, options.threads, options.memory)
        return
    landmarker = Landmarker(options.weights, options.threads)
    if options.confidence:
        confidence(landmarker, options.confidence, options.count)
        return
    tracks = [thinned(track, options.every) for track in record(landmarker, options.seconds, options.noise)]
    if options.sweep:
        sweep(tracks)
    else:
        print_table(table(tracks))


if __name__ == "__main__":
    main()
