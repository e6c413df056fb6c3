"""The figures of the model card, measured again.

    python benchmarks/model_card.py faces3d --sample aflw2000_sample
    python benchmarks/model_card.py faces3d --sample aflw2000_sample --write src/jvcr/weights/MODEL_CARD.md

Runs the weights over the validation faces with their true and with detected boxes, in one pass and in two, and over
the faces of --sample, and prints the card's tables; --write puts them between the card's markers. Only the weights and
the data decide the figures: another machine changes the last digit at most.
"""

import argparse
from pathlib import Path

import marked
import numpy as np

from jvcr.cli.progress import counting
from jvcr.data.readers import read_dataset
from jvcr.evaluation.metrics import YAW_BINS, landmark_errors
from jvcr.evaluation.predictions import predict
from jvcr.evaluation.regions import APERTURES
from jvcr.evaluation.reliability import LARGE_ERROR
from jvcr.evaluation.report import figure, with_interval
from jvcr.evaluation.statistics import spearman
from jvcr.evaluation.summary import summarise
from jvcr.files import sha256
from jvcr.inference import Landmarker
from jvcr.weights.calibration import Calibration
from jvcr.weights.header import find_weights

START, END = "<!-- figures: benchmarks/model_card.py -->", "<!-- end of figures -->"
BOXES = {"truth": "true boxes", "detector": "detected boxes"}


def measured(landmarker, dataset, box, passes, what):
    """The predictions of one run."""
    landmarker.passes = passes
    with counting(f"{what}, {BOXES[box]}, {passes} pass{'es' * (passes > 1)}", len(dataset)) as advance:
        return predict(landmarker, dataset, box, advance)


def row(name, nme, *more):
    """A row of a table of errors."""
    bands = [figure(nme.bins[band]) for band in YAW_BINS]
    mean = with_interval(nme.image_mean, nme.intervals.image_mean)
    return cells(name, *bands, figure(nme.bin_mean), mean, *more)


def cells(*texts):
    return f"| {' | '.join(texts)} |"


def percent(share):
    return f"{100 * share:.0f} %"


def results(runs):
    """Rows for each run, then for each source of the validation faces."""
    lines = [
        "| faces, box | NME 0-30° | 30-60° | 60-90° | bin mean | image mean [95 %] | GTE | detected |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, summary in runs.items():
        lines.append(row(name, summary.nme, figure(summary.gte.aligned_z), f"{summary.detected} / {summary.images}"))
    for name, summary in runs.items():
        lines += [row(f"{name}: {source}", nme, "", "") for source, nme in summary.by_source.items()]
    return lines


def parts(summary):
    """The error of each part of the face."""
    lines = [
        "| part of the face | NME 0-30° | 30-60° | 60-90° | bin mean | image mean [95 %] |",
        "|---|---|---|---|---|---|",
    ]
    return lines + [row(part, nme) for part, nme in summary.by_region.items()]


def apertures(summary):
    """Closed eyes and open mouths."""
    lines = [
        "| in the label | faces | error of the part | on others | aperture, true | predicted | sensitivity "
        "| specificity | AUC |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for name, kind in APERTURES.items():
        of = summary.apertures[name]
        counted, error = f"{of.chosen} of {of.faces}", f"{kind.region} {figure(of.error)}"
        means = figure(of.others_error), figure(of.truth), figure(of.predicted)
        shares = percent(of.sensitivity), percent(of.specificity), figure(of.auc)
        lines.append(cells(name.replace("_", " "), counted, error, *means, *shares))
    return lines


def confidence(summary):
    """What leaving out the least confident gets rid of."""
    of = summary.confidence
    lines = [
        "| least confident left out | faces below | large errors among them | error of the rest | landmarks below "
        "| large errors among them | error of the rest |",
        "|---|---|---|---|---|---|---|",
    ]
    for face, landmark in zip(of.faces.left_out, of.landmarks.left_out, strict=True):
        pair = [(figure(part.threshold), percent(part.recall), figure(part.error)) for part in (face, landmark)]
        lines.append(cells(percent(face.share), *pair[0], *pair[1]))
    ranks = f"{figure(of.per_face)} a face, {figure(of.per_landmark)} a landmark"
    return [*lines, "", f"Rank correlation (Spearman) of confidence and error: {ranks}."]


def expected_errors(dataset, predictions):
    """Expected beside measured errors, by tenths; fitted on one half of the faces, measured on the other, both ways."""
    errors = 100 * landmark_errors(predictions.points_px, dataset.points_px)
    confidences, expected = predictions.confidence, np.zeros_like(errors)
    half = np.random.default_rng(0).permutation(len(errors)) % 2 == 0
    for fitted in (half, ~half):
        calibration = Calibration.fit(confidences[fitted], errors[fitted], dataset.scheme.mirror)
        expected[~fitted] = calibration.expected_error(confidences[~fitted])
    tenths = np.array_split(np.argsort(expected, axis=None), 10)
    large = errors.ravel() > LARGE_ERROR
    lines = ["| expected error | measured, mean | median | 90 of 100 below |", "|---|---|---|---|"]
    for tenth in tenths:
        of = errors.ravel()[tenth]
        values = expected.ravel()[tenth].mean(), of.mean(), np.median(of), np.quantile(of, 0.9)
        lines.append(cells(*map(figure, values)))
    rank = figure(spearman(expected.ravel(), errors.ravel()))
    found = percent(large[tenths[-1]].sum() / large.sum())
    return [
        *lines,
        "",
        f"Rank correlation of expected and measured error: {rank}; {found} of the large errors are in the last tenth.",
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="landmark folder with a split 'val'")
    parser.add_argument("--sample", type=Path, help="folder of AFLW2000-3D, or of some of its faces")
    parser.add_argument("--weights", default="compact")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--write", type=Path, metavar="FILE.md", help="put the tables between this file's markers")
    options = parser.parse_args()

    landmarker = Landmarker(options.weights, threads=options.threads)
    val = read_dataset(options.data, landmarker.scheme).split("val")
    runs = {
        f"{options.data.name} val, {boxes}{', 2 passes' * (passes > 1)}": measured(
            landmarker, val, box, passes, options.data.name
        )
        for box, boxes in BOXES.items()
        for passes in (1, 2)
    }
    if options.sample is not None:
        sample = read_dataset(options.sample, landmarker.scheme)
        for box, boxes in BOXES.items():
            name = f"{len(sample)} faces of AFLW2000-3D, {boxes}"
            runs[name] = measured(landmarker, sample, box, 1, options.sample.name)
    predictions = next(iter(runs.values()))
    summaries = {name: summarise(sample if "AFLW2000" in name else val, run) for name, run in runs.items()}
    first = next(iter(summaries.values()))
    digest = sha256(find_weights(options.weights, ".onnx"))
    lines = [f"Weights {digest[:16]}.", "", *results(summaries), "", *parts(first), "", *apertures(first)]
    text = "\n".join([*lines, "", *confidence(first), "", *expected_errors(val, predictions)])
    if options.write is None:
        print(text)
        return
    marked.put(options.write, START, END, text.splitlines())
    print(f"written: {options.write}")


if __name__ == "__main__":
    main()
