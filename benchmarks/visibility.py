"""Is a landmark hidden? What the confidence says of it, beside what the head's pose alone says.

    python benchmarks/visibility.py faces3d
    python benchmarks/visibility.py faces3d --predictions results/val/predictions.npz

Measured on the validation faces of a landmark folder whose landmarks.npz has ``occlusion`` (faces, landmarks): 0
visible, 1 hidden by something, 2 hidden by the head itself, -1 unknown. Four predictors of "hidden":

    confidence        low confidence, one scale for all landmarks
    of its landmark   how far the confidence lies below that landmark's usual one
    pose              how often that landmark is hidden at that yaw in the *training* labels, steps of 10 degrees; the
                      yaw is that of the predicted landmarks, so it can be had wherever landmarks are
    both              logistic regression of the last two

What has something to be fitted (usual confidences, thresholds, the regression) is fitted on one half of the validation
faces and measured on the other, and the other way round. The balanced accuracy is the mean of sensitivity and
specificity; 50 % is chance.
"""

import argparse
from pathlib import Path

import numpy as np

from jvcr.data.readers.folder import MANIFEST, read_folder
from jvcr.evaluation.predictions import Predictions, predict
from jvcr.evaluation.statistics import roc_auc
from jvcr.files import load_arrays
from jvcr.geometry.pose import head_pose
from jvcr.inference import Landmarker

STEP_DEG = 10
VISIBLE, BY_SOMETHING, BY_HEAD = 0, 1, 2
QUESTIONS = {
    "hidden by anything": (BY_SOMETHING, BY_HEAD),
    "hidden by the head": (BY_HEAD,),
    "hidden by something else": (BY_SOMETHING,),
}


def with_occlusion(folder):
    """The data set's faces whose occlusion is known, and their (F, N) labels."""
    dataset = read_folder(folder)
    columns = load_arrays(folder / MANIFEST)
    if "occlusion" not in columns:
        raise SystemExit(f"{folder / MANIFEST} has no 'occlusion': nothing says there what is hidden")
    of = dict(zip(columns["image"].tolist(), columns["occlusion"], strict=True))
    occlusion = np.stack([of[image] for image in dataset.images.tolist()])
    known = (occlusion >= 0).all(axis=1)
    return dataset.select(known), occlusion[known]


def yaw_of(points, scheme):
    template = np.array(scheme.template)
    return np.array([head_pose(face, template).yaw_deg for face in points])


def folded(values, yaw, scheme):
    """(F, N) values with the landmarks of faces of negative yaw mirrored, as if all looked to one side."""
    return np.where(yaw[:, None] < 0, values[:, scheme.mirror], values)


def steps(yaw):
    return np.minimum(np.abs(yaw) // STEP_DEG, 90 // STEP_DEG - 1).astype(int)


def hidden_by_yaw(occlusion, yaw, kinds, scheme):
    """(steps, N) share of training faces on which each landmark is hidden, of those on which it is so or visible."""
    occlusion = folded(occlusion, yaw, scheme)
    shares = []
    for step in range(90 // STEP_DEG):
        part = occlusion[steps(yaw) == step]
        hidden, visible = np.isin(part, kinds).sum(axis=0), (part == VISIBLE).sum(axis=0)
        shares.append((hidden + 1) / (hidden + visible + 2))  # Laplace's rule: no certainty from few faces
    return np.array(shares)


def logistic(inputs, hidden, rounds=20):
    """Weights of a logistic regression, by Newton's method; a constant comes last."""
    x = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
    weights = np.zeros(x.shape[1])
    for _ in range(rounds):
        p = 1 / (1 + np.exp(-x @ weights))
        curvature = (x * (p * (1 - p))[:, None]).T @ x + 1e-6 * np.eye(x.shape[1])
        weights += np.linalg.solve(curvature, x.T @ (hidden - p))
    return weights


def best_threshold(scores, hidden):
    """Where the balanced accuracy is highest."""
    order = np.argsort(-scores)
    sensitivity = np.cumsum(hidden[order]) / hidden.sum()
    specificity = 1 - np.cumsum(~hidden[order]) / (~hidden).sum()
    return scores[order][np.argmax(sensitivity + specificity)]


def balanced_accuracy(scores, hidden, threshold):
    positive = scores >= threshold
    return (positive[hidden].mean() + (~positive[~hidden]).mean()) / 2


def scores(confidence, pose, asked, hidden, fit, measure):
    """Name of a predictor -> its scores of the landmarks asked about, on the faces to fit and on those to measure."""
    usual = np.nanmedian(np.where(asked[fit], confidence[fit], np.nan), axis=0)
    halves = []
    for half in (fit, measure):
        here, sure = asked[half], confidence[half]
        halves.append({"confidence": -sure[here], "of its landmark": (usual - sure)[here], "pose": pose[half][here]})
    weights = logistic(inputs(halves[0]), hidden[fit][asked[fit]])
    for half in halves:
        half["both"] = inputs(half) @ weights[:-1]
    return halves


def inputs(part):
    """(n, 2) what the regression of both takes: the share as log odds, as it gives them."""
    return np.stack([part["of its landmark"], np.log(part["pose"] / (1 - part["pose"]))], axis=1)


def answer(question, kinds, confidence, occlusion, pose, halves):
    """Prints AUC and balanced accuracy of each predictor, means over both halves."""
    hidden = np.isin(occlusion, kinds)
    asked = hidden | (occlusion == VISIBLE)
    figures = {}
    for fit, measure in (halves, halves[::-1]):
        of_fit, of_measure = scores(confidence, pose, asked, hidden, fit, measure)
        truth_fit, truth = hidden[fit][asked[fit]], hidden[measure][asked[measure]]
        for name, values in of_measure.items():
            threshold = best_threshold(of_fit[name], truth_fit)
            accuracy = balanced_accuracy(values, truth, threshold)
            figures.setdefault(name, []).append((roc_auc(values, truth), accuracy))
    print(f"\n{question}: {hidden.sum():,} of {asked.sum():,} landmarks ({100 * hidden.sum() / asked.sum():.1f} %)")
    for name, both in figures.items():
        area, accuracy = np.mean(both, axis=0)
        print(f"  {name:16} AUC {area:.3f}   balanced accuracy {100 * accuracy:.1f} %")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with landmarks.npz, splits train and val")
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--predictions", type=Path, help="of jvcr evaluate on the validation faces; else they are made")
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()

    dataset, occlusion = with_occlusion(options.data)
    train, val = dataset.splits == "train", dataset.splits == "val"
    faces, occlusion_val = dataset.select(val), occlusion[val]
    if options.predictions is None:
        made = predict(Landmarker(options.weights, threads=options.threads), faces)
        place = np.arange(len(faces))
    else:
        made = Predictions.load(options.predictions)
        of = {image: i for i, image in enumerate(made.images.tolist())}
        if missing := [image for image in faces.images.tolist() if image not in of]:
            raise SystemExit(f"{options.predictions} lacks {len(missing)} of {len(faces)} faces, such as {missing[0]}")
        place = np.array([of[image] for image in faces.images.tolist()])
    detected = made.detected[place]
    place, occlusion_val = place[detected], occlusion_val[detected]
    confidence, points = made.confidence[place], made.points_px[place]
    scheme = dataset.scheme

    yaw_train = yaw_of(dataset.points_px[train], scheme)
    yaw = yaw_of(points, scheme)
    halves = np.array_split(np.random.default_rng(0).permutation(len(points)), 2)
    box = made.metadata.get("box", "not stated")
    print(f"{len(points)} validation faces of known occlusion, {train.sum():,} for training; box: {box}")
    for question, kinds in QUESTIONS.items():
        table = hidden_by_yaw(occlusion[train], yaw_train, kinds, scheme)
        pose = folded(table[steps(yaw)], yaw, scheme)
        answer(question, kinds, confidence, occlusion_val, pose, halves)


if __name__ == "__main__":
    main()
