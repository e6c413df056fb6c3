// Following the faces of a video: `jvcr.inference.tracker` and `one_euro` in JavaScript, with the same constants.

import { average, bounds, Crop, eulerOf, leanOf, mean, nearestRotation, rotationOf, sizeOf, uprightSquare } from "./geometry.js";
import { areaResized } from "./pixels.js";

const ONE_DEGREE = Math.sqrt(2) * (Math.PI / 180); // how far a turn by a degree moves a rotation matrix

/** A low-pass filter whose cutoff rises with the square of the speed (Casiez, Roussel and Vogel, 2012); rows of numbers. */
class OneEuroFilter {
  constructor(cutoff, beta, speedCutoff) {
    Object.assign(this, { cutoff, beta, speedCutoff, values: null, velocity: null, time: -Infinity });
  }

  next(rows, time, unit) {
    if (!this.values) {
      this.values = rows.map((row) => [...row]);
      this.velocity = rows.map((row) => row.map(() => 0));
    } else {
      const step = time - this.time, slow = share(this.speedCutoff, step);
      rows.forEach((row, i) => {
        const old = this.values[i], velocity = this.velocity[i];
        row.forEach((v, k) => (velocity[k] += slow * ((v - old[k]) / (step * unit) - velocity[k])));
        const fast = share(this.cutoff + this.beta * velocity.reduce((sum, v) => sum + v * v, 0), step);
        row.forEach((v, k) => (old[k] += fast * (v - old[k])));
      });
    }
    this.time = time;
    return this.values.map((row) => [...row]);
  }
}

const share = (cutoff, step) => {
  const turns = 2 * Math.PI * step * cutoff;
  return turns / (turns + 1);
};

/** Smooths a face's motion in the picture, its shape in its own frame, and the rotation of its head. */
class FaceSmoother {
  constructor({ cutoff, speedCutoff, motionBeta, shapeBeta, poseBeta }) {
    this.motion = new OneEuroFilter(cutoff, motionBeta, speedCutoff);
    this.shape = new OneEuroFilter(cutoff, shapeBeta, speedCutoff);
    this.rotation = new OneEuroFilter(cutoff, poseBeta, speedCutoff);
    this.last = null;
  }

  next(points, pose, time) {
    const size = Math.max(sizeOf(points), 1), [mx, my] = mean(points);
    const around = points.map(([x, y]) => [x - mx, y - my]);
    let zx = 0, zy = 0; // the complex number that turns and zooms the shape
    if (!this.last) zx = Math.sqrt(around.reduce((sum, [x, y]) => sum + x * x + y * y, 0) / around.length);
    else {
      let norm = 0;
      around.forEach(([x, y], i) => {
        const [a, b] = this.last[i];
        zx += a * x + b * y;
        zy += a * y - b * x;
        norm += a * a + b * b;
      });
      zx /= Math.max(norm, 1e-9);
      zy /= Math.max(norm, 1e-9);
    }
    if (!zx && !zy) zx = 1;
    const square = zx * zx + zy * zy, zoom = Math.sqrt(square);
    const shape = around.map(([x, y], i) => [(x * zx + y * zy) / square, (y * zx - x * zy) / square, points[i][2] / zoom]);
    this.last = this.shape.next(shape, time, size / zoom);
    const [[x, y, u, v]] = this.motion.next([[mx, my, zx, zy]], time, size);
    const depth = Math.hypot(u, v);
    const smooth = this.last.map(([a, b, z]) => [x + u * a - v * b, y + u * b + v * a, z * depth]);
    if (!pose) return { points: smooth, pose };
    const flat = this.rotation.next([rotationOf(pose).flat()], time, ONE_DEGREE)[0];
    return { points: smooth, pose: eulerOf(nearestRotation([flat.slice(0, 3), flat.slice(3, 6), flat.slice(6)])) };
  }
}

const boxOf = (points) => {
  const [low, high] = bounds(points);
  return [low[0], low[1], high[0], high[1]];
};
const between = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);

/** Follows the faces of one video; the detector looks for new ones now and then. */
export class Tracker {
  constructor(landmarks, detector, { tracker, smoother }) {
    Object.assign(this, { landmarks, detector, rules: tracker, smoothing: smoother, tracks: [], lost: [], lastId: 0 });
    Object.assign(this, { time: -Infinity, detected: -Infinity, lookAgain: false, size: null, view: null });
  }

  get minConfidence() {
    return this.landmarks.info.calibration?.low_confidence ?? 0;
  }

  /** The faces that are followed into a frame, in the order of their identities. */
  async next(image, time, volumes = false) {
    if (!(Number.isFinite(time) && time > this.time)) throw new Error(`time must rise from frame to frame, got ${time} after ${this.time}`);
    this.time = time;
    this.fitTo(image);
    this.lost = this.lost.filter((track) => time - track.time <= this.rules.keep);
    await this.follow(image);
    if (this.isDue()) await this.detect(image);
    this.tracks.sort((a, b) => a.id - b.id);
    return this.tracks.map((track) => {
      const { points, pose } = track.smoother.next(track.face.points, track.face.pose, time);
      return { id: track.id, ...this.landmarks.face({ ...track.face, points, pose }, volumes) };
    });
  }

  fitTo({ width, height }) {
    if (this.size && (this.size[0] !== width || this.size[1] !== height)) {
      const across = width / this.size[0], down = height / this.size[1];
      for (const track of [...this.tracks, ...this.lost]) {
        const points = track.face.points.map(([x, y, z]) => [(x + 0.5) * across - 0.5, (y + 0.5) * down - 0.5, (z * (across + down)) / 2]);
        track.face = { ...track.face, points };
        track.velocity = [track.velocity[0] * across, track.velocity[1] * down];
        track.smoother = new FaceSmoother(this.smoothing);
      }
      this.lookAgain = true;
    }
    this.size = [width, height];
  }

  async follow(image) {
    const view = thumbnail(image);
    let otherView = false;
    if (deviation(view) >= 1) { // a black frame is passed over
      otherView = this.view !== null && correlation(view, this.view) < this.rules.sameView;
      this.view = view;
    }
    const inside = this.tracks.filter((track) => showsSome(boxOf(track.face.points), image));
    this.tracks.filter((track) => !inside.includes(track)).forEach((track) => this.lose(track));
    this.tracks = [];
    const boxes = inside.map((track) => this.uprightBox(track.face.points));
    const faces = await this.landmarks.find(image, boxes, { detected: false });
    inside.forEach((track, i) => {
      const face = faces[i], look = thumbnail(image, boxOf(face.points));
      const growth = sizeOf(face.points) / sizeOf(track.face.points);
      if (otherView && correlation(look, track.look) < this.rules.sameLook) this.lookAgain = true; // a cut
      else if (this.isFace(face) && growth <= this.rules.largestChange && growth >= 1 / this.rules.largestChange) {
        this.move(track, face, look);
        this.tracks.push(track);
      } else this.lose(track);
    });
    // The face that is hidden behind another one jumps onto it.
    const astray = (track) => track.astray / sizeOf(track.face.points);
    for (const track of [...this.tracks].sort((a, b) => astray(b) - astray(a))) {
      if (this.tracks.some((other) => other !== track && this.sameFace(track.face, other.face))) {
        this.tracks = this.tracks.filter((other) => other !== track);
        track.face = track.before;
        this.lose(track);
      }
    }
  }

  move(track, face, look) {
    const step = this.time - track.time;
    const [a, b] = [mean(track.face.points), mean(face.points)], moved = [b[0] - a[0], b[1] - a[1]];
    track.astray = Math.hypot(...moved.map((v, k) => v - track.velocity[k] * step));
    const part = step / (step + this.rules.velocityMemory);
    track.velocity = track.velocity.map((v, k) => v + part * (moved[k] / step - v));
    Object.assign(track, { before: track.face, face, look, time: this.time });
  }

  lose(track) {
    this.lost.push(track);
    this.lookAgain = true;
  }

  isFace(face) {
    return average(face.confidence) >= this.minConfidence && sizeOf(face.points) >= this.rules.smallestFace;
  }

  isDue() {
    const every = this.lost.length ? Math.min(this.rules.detectEvery, this.rules.searchEvery) : this.rules.detectEvery;
    return this.time - this.detected >= every - 1e-6 || this.lookAgain || !this.tracks.length;
  }

  async detect(image) {
    Object.assign(this, { detected: this.time, lookAgain: false });
    const found = await this.detector.detect(image, this.rules.detectLongSide);
    const seen = this.matched(found.map(({ box }) => Crop.fromDetection(box, this.landmarks.constants.crops)));
    for (const [number, track] of seen) track.face = { ...track.face, score: found[number].score };
    const fresh = found.filter((_, number) => !seen.has(number));
    if (!fresh.length) return;
    for (const face of await this.landmarks.find(image, fresh.map(({ box }) => box), { scores: fresh.map(({ score }) => score) })) {
      if (this.isFace(face) && !this.tracks.some((track) => this.sameFace(face, track.face))) this.begin(face, image);
    }
  }

  /** Number of a detection's square -> the track that it shows, best overlap first. */
  matched(squares) {
    const pairs = squares.flatMap((square, number) => this.tracks.map((track) => {
      const around = Crop.aroundLandmarks(track.face.points, this.landmarks.constants.crops);
      return { number, track, shared: around ? sharedPart(square, around) : 0 };
    })).sort((a, b) => b.shared - a.shared);
    const matched = new Map();
    for (const { number, track, shared } of pairs) {
      if (shared >= this.rules.sameSquare && !matched.has(number) && ![...matched.values()].includes(track)) matched.set(number, track);
    }
    return matched;
  }

  /** Follows a face from now on: one that was lost, if it can be that one, or a new one. */
  begin(face, image) {
    const back = this.lost.map((track) => ({ track, away: this.away(track, face) })).filter(({ away }) => away <= 1).sort((a, b) => a.away - b.away)[0];
    if (back) this.lost = this.lost.filter((track) => track !== back.track);
    const id = back ? back.track.id : ++this.lastId;
    const look = thumbnail(image, boxOf(face.points)), smoother = new FaceSmoother(this.smoothing);
    this.tracks.push({ id, face, before: face, look, time: this.time, velocity: [0, 0], astray: 0, smoother });
  }

  away(track, face) {
    const size = sizeOf(track.face.points), growth = sizeOf(face.points) / size, { largestGrowth, reach, reachPerSecond, longestReach } = this.rules;
    if (growth > largestGrowth || growth < 1 / largestGrowth) return Infinity;
    const far = Math.min(reach + reachPerSecond * (this.time - track.time), longestReach);
    return between(mean(face.points), mean(track.face.points)) / (far * size);
  }

  uprightBox(points) {
    const { template } = this.landmarks, lean = template ? leanOf(points, template) : 0;
    if (Math.abs(lean) <= this.rules.uprightWithin) return [...boxOf(points), 0];
    const [x, y, side] = uprightSquare(points, lean, 1);
    return [x - side / 2, y - side / 2, x + side / 2, y + side / 2, lean];
  }

  sameFace(a, b) {
    return average(a.points.map((p, i) => between(p, b.points[i]))) < this.rules.sameFace * Math.min(sizeOf(a.points), sizeOf(b.points));
  }
}

function sharedPart(a, b) {
  const sides = [0, 1].map((k) => Math.min(a.center[k] + a.side / 2, b.center[k] + b.side / 2) - Math.max(a.center[k] - a.side / 2, b.center[k] - b.side / 2));
  const common = Math.max(0, sides[0]) * Math.max(0, sides[1]);
  return common / (a.side ** 2 + b.side ** 2 - common);
}

/** Whether a box shows some of a picture, and is one that a face could have. */
function showsSome([x0, y0, x1, y1], { width, height }) {
  const side = Math.max(x1 - x0, y1 - y0);
  return x1 > x0 && y1 > y0 && side >= 1 && x1 > -0.5 && y1 > -0.5 && x0 < width - 0.5 && y0 < height - 0.5 && side <= 1000 * Math.max(width, height);
}

/** A picture, or what of it lies in a box, reduced to 16 x 16 pixels. */
function thumbnail(image, box) {
  const { width, height } = image;
  let [x0, y0, x1, y1] = [0, 0, width - 1, height - 1];
  if (box) [x0, y0, x1, y1] = box.map((v, k) => Math.min(Math.max(Math.round(v), 0), (k % 2 ? height : width) - 1));
  const step = Math.max(1, Math.floor(Math.min(x1 - x0 + 1, y1 - y0 + 1) / 64));
  const columns = Math.ceil((x1 - x0 + 1) / step), rows = Math.ceil((y1 - y0 + 1) / step);
  const data = new Uint8Array(3 * columns * rows);
  for (let y = 0, at = 0; y < rows; y++) {
    for (let x = 0; x < columns; x++, at += 3) {
      const from = 3 * ((y0 + y * step) * width + x0 + x * step);
      for (let c = 0; c < 3; c++) data[at + c] = image.data[from + c];
    }
  }
  return areaResized({ width: columns, height: rows, data }, 16, 16).data;
}

function deviation(values) {
  const middle = average(Array.from(values));
  return Math.sqrt(average(Array.from(values, (v) => (v - middle) ** 2)));
}

/** Of two thumbnails, -1 to 1; 1 if one shows nothing. */
function correlation(a, b) {
  const [x, y] = [a, b].map((values) => {
    const middle = average(Array.from(values));
    return Array.from(values, (v) => v - middle);
  });
  const norm = Math.hypot(...x) * Math.hypot(...y);
  return norm ? x.reduce((sum, v, i) => sum + v * y[i], 0) / norm : 1;
}
