// From boxes to faces: `jvcr.inference.regressor` and `Landmarker` in JavaScript.

import { average, Crop, headPose, inImageFrame, leanOf, mean, openness, rotationOf, sampled, uprightSquare } from "./geometry.js";
import { stretchContrast, warpCrop } from "./pixels.js";

const rounded = (v, decimals) => Number(v.toFixed(decimals)) || 0;

/**
 * Finds the landmarks of faces whose boxes are known.
 *
 * `run(image, n)` runs the ONNX file on n x 3 x S x S numbers in [0, 1], and gives coordinates, volumes and the volumes' shape; `info` is
 * what the manifest says of the network.
 */
export class Landmarks {
  constructor(run, info, constants) {
    Object.assign(this, { run, info, constants, template: info.scheme.template?.points });
  }

  /** Faces in boxes [x0, y0, x1, y1, angle]; `detected` are a detector's, others surround the landmarks. Scores are those of the boxes. */
  async faces(image, boxes, { volumes = false, ...how } = {}) {
    return (await this.find(image, boxes, how)).map((found) => this.face(found, volumes));
  }

  /** As `faces`, but to the last digit: points, whose depth has its mean at 0, their confidence, pose, box, score, volume and crop. */
  async find(image, boxes, { detected = true, hasAngle = true, scores = [] } = {}) {
    const { crop: rule, scheme } = this.info;
    const cropOf = detected ? Crop.fromDetection : Crop.fromBox;
    const crops = boxes.map((box) => cropOf(box, this.constants.crops, rule, scheme.depth ?? 1));
    const found = crops.length ? await this.regress(image, crops, detected, hasAngle) : [];
    return found.map((one, i) => {
      const z = mean(one.points)[2];
      const points = one.points.map((p) => [p[0], p[1], p[2] - z]);
      const [x, y, depth] = one.crop.center;
      const pose = this.template ? headPose(points, this.template) : null;
      return { ...one, points, pose, box: boxes[i], score: scores[i] ?? null, crop: one.crop.with({ center: [x, y, depth - z] }) };
    });
  }

  async regress(image, crops, rough, hasAngle) {
    const found = await this.look(image, crops), { calibration } = this.info;
    if (!calibration || !rough) return found;
    const enough = calibration.doubtful_confidence;
    const doubtful = found.map((_, i) => i).filter((i) => average(found[i].confidence) < enough);
    if (!doubtful.length) return found;
    const again = await this.again(image, doubtful.map((i) => found[i]));
    doubtful.forEach((i, n) => (found[i] = again[n]));
    const limit = hasAngle ? calibration.low_confidence : enough;
    const low = doubtful.filter((i) => average(found[i].confidence) < limit);
    for (const turn of low.length ? this.constants.otherAngles : []) {
      const first = await this.look(image, low.map((i) => crops[i].with({ angle: crops[i].angle + turn })));
      const others = await this.again(image, first);
      low.forEach((i, n) => {
        if (average(others[n].confidence) > average(found[i].confidence) + this.constants.clearlyMore) found[i] = others[n];
      });
    }
    return found;
  }

  /** One pass of the network over crops. */
  async look(image, crops) {
    const { imageSize: size, stretch } = this.info;
    const input = new Float32Array(3 * size * size * crops.length), pixels = new Uint8Array(3 * size * size);
    crops.forEach((crop, n) => {
      warpCrop(image, crop, size, pixels);
      if (stretch) stretchContrast(pixels);
      const start = 3 * size * size * n;
      for (let i = 0, at = 0; i < size * size; i++, at += 3) {
        for (let c = 0; c < 3; c++) input[start + c * size * size + i] = pixels[at + c] / 255;
      }
    });
    const { coordinates, volumes, shape } = await this.run(input, crops.length);
    const landmarks = coordinates.length / crops.length / 3, voxels = volumes.length / crops.length;
    return crops.map((crop, n) => {
      const points = Array.from({ length: landmarks }, (_, i) => Array.from(coordinates.subarray(3 * (n * landmarks + i), 3 * (n * landmarks + i) + 3)));
      const confidence = points.map((point) => Math.min(Math.max(sampled(volumes, n * voxels, shape, point), 0), 1));
      return { crop, points: crop.toImage(points), confidence, volume: volumes.subarray(n * voxels, (n + 1) * voxels), shape };
    });
  }

  again(image, found) {
    return this.look(image, found.map((one) => this.upright(one)));
  }

  /** The crop around landmarks; the one they were found in where they have no extent. */
  upright({ points, crop }) {
    const { crop: rule, scheme } = this.info, { crops } = this.constants;
    const level = Crop.aroundLandmarks(points, crops, rule, scheme.depth ?? 1);
    if (!level) return crop;
    if (!this.template || rule !== "longer") return level.with({ angle: crop.angle });
    const angle = leanOf(points, this.template);
    const [x, y, side] = uprightSquare(points, angle, crops.margin);
    return level.with({ center: [x, y, level.center[2]], side, angle });
  }

  /** What was found, with the keys and the decimals of `Face.to_dict`. */
  face({ points, confidence, pose, box, score, volume, shape, crop }, volumes = false) {
    const { scheme, calibration } = this.info, { openRanges } = this.constants;
    const angle = (v) => (pose ? rounded(v, 2) : null);
    const face = {
      points: points.map((p) => p.map((v) => rounded(v, 2))),
      box: box.slice(0, 4).map((v) => rounded(v, 2)),
      angle: rounded(box[4] ?? 0, 2),
      score: score === null ? null : rounded(score, 3),
      confidence: confidence.map((v) => rounded(v, 3)),
      expected_error: calibration ? expectedError(confidence, calibration.coefficients).map((v) => rounded(v, 2)) : null,
      yaw: angle(pose?.yaw),
      pitch: angle(pose?.pitch),
      roll: angle(pose?.roll),
    };
    face.rotation = pose ? inImageFrame(rotationOf(face)).map((row) => row.map((v) => rounded(v, 6))) : null;
    const contour = (name, count) => {
      const own = scheme.groups[name]?.landmarks ?? [];
      return own.length === count ? own.map((i) => face.points[i]) : null;
    };
    const eyes = ["left_eye", "right_eye"].map((name) => contour(name, 6)), lips = contour("inner_lips", 8);
    face.eye_open = eyes.every(Boolean) ? eyes.map((eye) => rounded(openness(eye, openRanges.eye), 3)) : null;
    face.mouth_open = lips ? rounded(openness(lips, openRanges.mouth), 3) : null;
    face.scheme = scheme.name;
    if (volumes) face.volume = packed(volume, Array.from(shape), crop);
    return face;
  }
}

/** A volume in bytes, and the affine map from its (x, y, z) indices to the picture: the service's `VolumeAnswer`. */
function packed(volume, shape, crop) {
  const cells = [...shape].reverse();
  const corner = cells.map((n) => 1 / n - 1);
  const [origin, ...ends] = crop.toImage([corner, ...cells.map((n, k) => corner.map((v, j) => v + (j === k ? 2 / n : 0)))]);
  const data = Uint8Array.from(volume, (v) => Math.round(255 * Math.min(Math.max(v, 0), 1)));
  return { shape, data, to_image: origin.map((start, row) => [...ends.map((end) => end[row] - start), start]) };
}

/** Percent of the face's size, from confidences: `jvcr.weights.calibration.Calibration`. */
function expectedError(confidence, coefficients) {
  const logs = confidence.map((v) => Math.log(Math.min(Math.max(v, 0.02), 1)));
  const all = average(logs);
  return logs.map((log, i) => {
    const [a, b, c, d] = coefficients[i];
    return Math.min(Math.max(Math.exp(a + b * log + c * log * log + d * all) - 0.1, 0), 100);
  });
}
