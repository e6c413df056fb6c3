// The face detector: `jvcr.inference.face_detector` and `proposals` in JavaScript, with the same constants and networks.

import { Crop, radians } from "./geometry.js";
import { even, meanColour, padded, reduced, warpCrop } from "./pixels.js";

const clip = (v, least, most) => Math.min(Math.max(v, least), most);
const logistic = (logit) => 1 / (1 + Math.exp(-clip(logit, -30, 30)));
const turned = (angle) => ((((angle + 180) % 360) + 360) % 360) - 180;

/** A picture with smaller ones of given longer sides, the smallest first, each made when it is first needed. */
class Pyramid {
  constructor(image, longSides) {
    const longest = Math.max(image.width, image.height);
    this.image = image;
    this.sizes = longSides
      .filter((_, n) => longest > 1.2 * (n ? longSides[n - 1] : 0))
      .map((side) => [image.width, image.height].map((v) => Math.max(1, Math.round(v * Math.min(1, side / longest)))));
    this.scales = this.sizes.map(([w, h]) => [image.width / w, image.height / h]);
    this.made = [];
  }

  at(number) {
    this.made[number] ??= reduced(this.image, ...this.sizes[number]);
    return this.made[number];
  }
}

/**
 * Finds faces at every angle.
 *
 * `networks` run the two ONNX files: propose(pixels, width, height) gives 6 x cells, look(pixels, n) gives n x 6. `info` is what the
 * manifest says of the detector.
 */
export class FaceDetector {
  constructor(networks, info, crops) {
    Object.assign(this, { networks, info, crops, longSide: info.longSide, minScore: info.minScore });
    this.grids = new Map();
  }

  /** Boxes [x0, y0, x1, y1, angle] and scores, the most certain first. */
  async detect(image, longSide = this.longSide) {
    const { margin, detectorScale, detectorRise } = this.crops;
    return (await this.find(image, longSide)).map(({ x, y, side, angle, score }) => {
      const size = (side / margin) * detectorScale;
      const cx = x + detectorRise * size * Math.sin(radians(angle)), cy = y - detectorRise * size * Math.cos(radians(angle));
      return { box: [cx - size / 2, cy - size / 2, cx + size / 2, cy + size / 2, angle], score };
    });
  }

  async find(image, longSide) {
    const { settings, longSides } = this.info;
    const pyramid = new Pyramid(image, [...longSides.filter((v) => v < longSide), Math.round(longSide)]);
    const fill = meanColour(pyramid.at(0));
    let found = [], rest = [];
    for (let number = 0; number <= pyramid.sizes.length; number++) {
      const last = number === pyramid.sizes.length; // at last the less likely proposals of the largest picture
      const picture = last ? number - 1 : number;
      let proposals = rest;
      if (!last) {
        const all = await this.proposed(pyramid.at(picture), fill);
        proposals = all.filter(({ logit }) => logistic(logit) >= settings.proposed[0]);
        rest = all.filter(({ logit }) => logistic(logit) < settings.proposed[0]);
      }
      const scale = Math.min(...pyramid.scales[picture]);
      const known = found.filter((face) => face.score >= settings.sure);
      const fresh = proposals.filter((place) => !known.some((face) => covers(face, place, scale)));
      found = [...found, ...(await this.looked(fresh, pyramid, picture, fill))];
      const smallOnes = found.some((face) => face.side / scale < settings.small && face.score >= settings.doubt);
      if (!smallOnes && found.some((face) => face.score >= settings.sure)) break;
    }
    return distinct(found, (face) => face.joint).filter((face) => face.score >= this.minScore);
  }

  /** Squares of a picture, in its pixels, with the logits of the proposal network. */
  async proposed(small, fill) {
    const { strides, settings } = this.info;
    const coarsest = strides[strides.length - 1];
    const [width, height] = [small.width, small.height].map((v) => Math.ceil(v / coarsest) * coarsest);
    const cells = this.grid(width, height);
    const outputs = await this.networks.propose(padded(small, width, height, fill).data, width, height);
    const n = cells.length, least = Math.log(settings.proposed[1] / (1 - settings.proposed[1]));
    let chosen = [];
    const logits = Array.from(outputs.subarray(0, n), (v) => even(v * 64) / 64);
    for (let i = 0; i < n; i++) if (logits[i] >= least) chosen.push(i);
    chosen = chosen.sort((a, b) => logits[b] - logits[a]).slice(0, 4 * settings.most);
    const places = chosen.map((i) => {
      const [x, y, stride, side] = cells[i];
      const [dx, dy, size, cos, sin] = [1, 2, 3, 4, 5].map((k) => outputs[k * n + i]);
      const angle = (Math.atan2(sin, cos) * 180) / Math.PI;
      return { x: x + dx * stride, y: y + dy * stride, side: side * Math.exp(clip(size, -3, 3)), angle, logit: logits[i] };
    });
    return distinct(places, (place) => place.logit, 0.5, 0.85).slice(0, settings.most);
  }

  grid(width, height) {
    const key = `${width}x${height}`;
    if (!this.grids.has(key)) {
      if (this.grids.size >= 16) this.grids.clear();
      const { strides, sides } = this.info, cells = [];
      strides.forEach((stride, n) => {
        for (let y = 0; y < height / stride; y++) {
          for (let x = 0; x < width / stride; x++) cells.push([(x + 0.5) * stride - 0.5, (y + 0.5) * stride - 0.5, stride, sides[n]]);
        }
      });
      this.grids.set(key, cells);
    }
    return this.grids.get(key);
  }

  /** What places of one of the pictures show: squares in the image, with joint scores. */
  async looked(places, pyramid, number, fill) {
    const { settings } = this.info;
    if (!places.length) return [];
    const [sx, sy] = pyramid.scales[number];
    let squares = places.map(({ x, y, side, angle, logit }) => (
      onGrid({ x: (x + 0.5) * sx - 0.5, y: (y + 0.5) * sy - 0.5, side: (side * (sx + sy)) / 2, angle, logit, small: side }, settings.grid)));
    const first = await this.seen(squares, pyramid, fill);
    const again = first.map((_, i) => i).filter((i) => logistic(first[i][0]) >= settings.upright);
    if (!again.length) return [];
    squares = again.map((i) => moved(squares[i], first[i]));
    const shown = squares.map((square) => onGrid(square, settings.grid));
    const second = await this.seen(shown, pyramid, fill);
    return squares.map((square, i) => {
      const found = moved(shown[i], second[i]);
      const clues = cluesOf(square, first[again[i]], second[i], apart(found, square));
      const joint = clues.reduce((sum, v, k) => sum + v * settings.joining[k], 0);
      return { ...found, joint, score: logistic(joint) };
    });
  }

  /** What the second look says of squares: six numbers each. */
  async seen(squares, pyramid, fill) {
    const { size, view } = this.info;
    const pixels = new Uint8Array(3 * size * size * squares.length);
    squares.forEach(({ x, y, side, angle }, i) => {
      const fine = pyramid.scales.findIndex((scale) => view * side >= size * Math.max(...scale));
      const [picture, [sx, sy]] = fine < 0 ? [pyramid.image, [1, 1]] : [pyramid.at(fine), pyramid.scales[fine]];
      const crop = new Crop([(x + 0.5) / sx - 0.5, (y + 0.5) / sy - 0.5, 0], (view * side) / ((sx + sy) / 2), angle);
      warpCrop(picture, crop, size, pixels, 3 * size * size * i, fill);
    });
    const outputs = await this.networks.look(pixels, squares.length);
    return squares.map((_, i) => outputs.subarray(6 * i, 6 * i + 6));
  }
}

/** Whether a known face is what a place of a picture, `scale` times as coarse as the image, shows. */
function covers(face, place, scale) {
  const side = face.side / scale;
  const apart = Math.hypot(place.x - face.x / scale, place.y - face.y / scale);
  return Math.abs(Math.log2(place.side / side)) < 0.8 && apart < 0.35 * side;
}

/** A square moved to a grid, so that all machines look at the same one. */
function onGrid(square, [part, degrees]) {
  const step = 2 ** Math.floor(Math.log2(square.side)) * part;
  const [x, y, side] = [square.x, square.y, square.side].map((v) => even(v / step) * step);
  return { ...square, x, y, side, angle: even(square.angle / degrees) * degrees };
}

/** A square as the second look corrects it. */
function moved(square, [, dx, dy, size, cos, sin]) {
  const c = Math.cos(radians(square.angle)), s = Math.sin(radians(square.angle));
  return {
    ...square,
    x: square.x + square.side * (dx * c - dy * s),
    y: square.y + square.side * (dx * s + dy * c),
    side: square.side * Math.exp(clip(size, -1.5, 1.5)),
    angle: turned(square.angle + (Math.atan2(sin, cos) * 180) / Math.PI),
  };
}

/** How far a square lies from another, in its sides, and how much it differs in size. */
const apart = (a, b) => Math.hypot(a.x - b.x, a.y - b.y) / b.side + Math.abs(Math.log(a.side / b.side));

const cluesOf = ({ logit, small }, first, second, off) => [
  clip(logit, -6, 6), clip(first[0], -8, 8), clip(second[0], -8, 8), clip(Math.log2(Math.max(small, 1) / 32), -2, 3),
  Math.hypot(second[4], second[5]), off, 1,
];

/** The squares that share little with a more certain one, the most certain first. */
function distinct(squares, scoreOf, mostShared = 0.35, mostInside = 0.75) {
  const kept = [];
  for (const one of [...squares].sort((a, b) => scoreOf(b) - scoreOf(a))) {
    const isNew = kept.every((other) => {
      const reach = (one.side + other.side) / 2, smaller = Math.min(one.side, other.side);
      const across = Math.max(Math.min(reach - Math.abs(one.x - other.x), smaller), 0);
      const down = Math.max(Math.min(reach - Math.abs(one.y - other.y), smaller), 0);
      const shared = across * down;
      return shared <= mostShared * (one.side ** 2 + other.side ** 2 - shared) && shared <= mostInside * smaller ** 2;
    });
    if (isNew) kept.push(one);
  }
  return kept;
}
