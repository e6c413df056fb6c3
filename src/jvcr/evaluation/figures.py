"""What ``summary.json`` holds: a dataclass for each of its objects.

Every error is in percent, angles are in degrees, shares go from 0 to 1. Averages are over the faces that were detected.
A figure that has no face to average, or that the data set cannot give (yaw or pose unknown, a scheme without eye
corners, no second views), is None; nothing is ever NaN. ``python -m jvcr.evaluation.schema`` prints the JSON Schema of
these classes.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

from jvcr.evaluation.hand import HandLabels
from jvcr.evaluation.metrics import BinSummary, PoseErrors
from jvcr.evaluation.regions import ApertureFigures
from jvcr.evaluation.reliability import Deciles, Reliability

Interval: TypeAlias = list[float] | None
"""Lower and upper end of the 95 % interval of a mean, percent: bootstrap over subjects where the data set names them,
else over images (`jvcr.evaluation.summary.resampling_units`). None with fewer than two of these."""


@dataclass(frozen=True)
class Intervals:
    """The intervals of the means of `BandedError`."""

    bins: dict[str, Interval]
    bin_mean: Interval
    image_mean: Interval


@dataclass(frozen=True)
class BandedError(BinSummary):
    """An error's means, percent: see `bin_summary`."""

    intervals: Intervals
    """The intervals of these means."""


@dataclass(frozen=True)
class GroundTruthError:
    """Mean 3D distance, percent of the 3D distance of the true outer eye corners; means over faces (Tables I-III)."""

    aligned_z: float | None
    """The prediction's mean z moved to the truth's: the published measure."""
    raw: float | None
    """z as it stands: the same as aligned_z where truth and prediction both have their mean z at 0."""
    similarity: float | None
    """After the best scale, rotation and shift of the prediction onto the truth of the same view: the error of shape.
    Not the CVGTCE."""
    interval: Interval
    """Of aligned_z."""


@dataclass(frozen=True)
class CorrectKeypoints:
    """Share of all landmarks, 0 to 1, that are off by at most so much of sqrt(width * height) of the true box.

    All landmarks of objects that were not detected count as wrong. Keys are percent: `pck`.
    """

    image: dict[str, float]
    """By the distance in x and y."""
    space: dict[str, float] | None
    """By the distance in three dimensions, mean depth aligned; None where the annotation has no depth of its own."""


@dataclass(frozen=True)
class CrossViewError:
    """The prediction moved by the best similarity onto the truth of another view of the same face (Table II)."""

    mean: float
    """Percent of the 3D distance of the outer eye corners of the other view, mean over pairs."""
    pairs: int
    """Ordered pairs of views."""


@dataclass(frozen=True)
class Percentiles:
    """Half, and 95 of 100, of the faces have at most this error, percent.

    Faces not detected count as worse than all others; None where the percentile is one of them.
    """

    p50: float | None
    p95: float | None


@dataclass(frozen=True)
class ErrorPercentiles:
    """Percentiles of two errors."""

    nme: Percentiles
    gte: Percentiles
    """Of gte.aligned_z."""


@dataclass(frozen=True)
class Distribution:
    """A cumulative error distribution. Faces not detected count among the faces, as failures."""

    at: list[float]
    """Errors, percent, where the curve is taken."""
    share: list[float]
    """Share of all faces with at most that error."""
    auc: dict[str, float]
    """Threshold, percent -> area under the curve from 0 to it, over it."""
    failure_rate: dict[str, float]
    """Threshold, percent -> share of faces above it or not detected."""


@dataclass(frozen=True)
class Distributions:
    """Cumulative error distributions (Fig. 3)."""

    nme: Distribution | None
    nme_interocular: Distribution | None
    gte: Distribution | None


@dataclass(frozen=True)
class LandmarkReliability(Reliability):
    """How well a landmark's low confidence warns of its error."""

    deciles: Deciles | None
    """None with fewer than ten landmarks in all."""


@dataclass(frozen=True)
class Confidence:
    """What the confidence is worth: against `nme_2d`, of faces by the means over their landmarks."""

    per_face: float | None
    """Rank correlation (Spearman) with the error: below 0 if confident faces have the smaller errors."""
    per_landmark: float | None
    faces: Reliability | None
    landmarks: LandmarkReliability | None


@dataclass(frozen=True)
class DetectionCount:
    """Faces with and without a prediction."""

    detected: int
    not_detected: int


@dataclass(frozen=True)
class DetectionCounts(DetectionCount):
    """The same of a part of the data set and of its yaw bands; faces of unknown yaw are in no band."""

    bins: dict[str, DetectionCount]


@dataclass(frozen=True)
class AllDetectionCounts(DetectionCounts):
    """The same of all faces and of each part."""

    by_source: dict[str, DetectionCounts]


@dataclass(frozen=True)
class Summary:
    """Figures of one evaluation."""

    nme: BandedError
    """2D error over all landmarks, percent of sqrt(width * height) of the true landmarks' box; no alignment (Table IV):
    `nme_2d`."""
    nme_3d: BandedError | None
    """3D error, mean depth aligned, percent of sqrt(width * height) of the true landmarks' box: `nme_3d`. No common
    definition exists. None, as all that is in three dimensions, where the annotation has no depth of its own."""
    nme_interocular: BandedError | None
    """2D error, percent of the distance of the true outer eye corners in the image; of little meaning in profiles. None
    without eye corners in the scheme."""
    gte: GroundTruthError
    """Ground truth error: `gte` and `gte_similarity`."""
    mpjpe: float | None
    """Mean 3D distance, mean depth aligned, pixels: `mpjpe`. None where the annotation has no depth of its own."""
    pck: CorrectKeypoints
    """Percentage of correct keypoints, as shares: the measure of body and hand pose."""
    cvgtce: CrossViewError | None
    """Cross view ground truth consistency error: `cvgtce`. None where the data set names no views."""
    percentiles: ErrorPercentiles
    """Half, and 95 of 100, of the faces have at most this error."""
    ced: Distributions
    """Cumulative error distributions."""
    head_pose: PoseErrors | None
    """Mean errors of head pose, degrees, of the pose that the scheme's template has in the landmarks:
    `head_pose_mae`."""
    confidence: Confidence
    """Confidence against the error."""
    images: int
    """Faces evaluated, those not detected included."""
    annotation: str
    """Which of the data set's labels these figures are against; empty where it has one."""
    by_source: dict[str, BandedError]
    """The NME of each part of the data set; empty if parts have no names."""
    by_region: dict[str, BandedError]
    """The NME over the landmarks of each part of the face alone: `regions`."""
    apertures: dict[str, ApertureFigures | None]
    """Closed eyes and open mouths; None for a scheme without such contours."""
    hand: HandLabels | None
    """Errors against what people labelled; None for a data set without."""
    detected: int
    """Faces with a prediction: those that the averages are over."""
    counts: AllDetectionCounts
    """Faces detected and not, by yaw band and part."""
    metadata: dict[str, Any]
    """What the predictions say of themselves, such as `Metadata`."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for ``summary.json``: the metadata stand beside the figures."""
        figures = asdict(self)
        metadata = figures.pop("metadata")
        return figures | {key: value for key, value in metadata.items() if key not in figures}


@dataclass(frozen=True)
class Metadata:
    """What ``jvcr evaluate`` says of predictions, beside the figures in ``summary.json``: each where it applies."""

    box: Literal["truth", "detector", "dataset", "file", "not stated"]
    """Where each face was looked for: truth, the box of its true landmarks; detector, the detection that overlaps it
    best; dataset, the box that the data set comes with; file, a caller's boxes, taken as detections."""
    box_kind: Literal["detector", "landmarks"]
    """What the boxes of a file or data set were taken to surround."""
    boxes: str
    """The file of boxes, as given."""
    seconds: float
    """Time that the predictions took, seconds."""
    unusable: list[str]
    """Faces that could not be looked at, and why."""
    problems: list[str]
    """What the reader of the data set left out, and why; not among the faces evaluated."""
    data: str
    """The data set's folder, as given."""
    layout: str
    """The data set's kind, as its reader tells it."""
    split: str | None
    """The part of the data set that was evaluated; null for one without splits."""
    scheme: str
    """Name of the landmarks' scheme."""
    weights: str
    """The weights, as given."""
    weights_sha256: str
    """Hash of the weights' file."""
    training: dict[str, Any]
    """Of what the weights' file says of its training: recipe, train_faces and faces_seen."""
    passes: int
    """How often each face was looked at."""
    threads: int | None
    """Processor threads; null for all."""
    version: str
    """Of jvcr, when the predictions were made."""
    command: str
    """The command that wrote this file."""
    predictions: str
    """The file that was scored, where nothing was run."""
    predicted_by: str
    """The command that made those predictions; empty if the file does not say."""
