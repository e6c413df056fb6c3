// The similarity between a picture and the crop's cube, and the pose of a head: `jvcr.geometry` in JavaScript.
//
// image  x right, y down, z away from the camera, pixels; a whole number is a pixel's centre
// unit   the crop's cube, [-1, 1] on each axis; -1 and 1 are the crop's edges

export const radians = (degrees) => (degrees * Math.PI) / 180;
const degrees = (angle) => (angle * 180) / Math.PI;

/** A square (in depth: a cube, or a cuboid) in a picture, turned in its plane: `jvcr.geometry.crop.Crop`. */
export class Crop {
  constructor(center, side, angle = 0, depth = 1) {
    Object.assign(this, { center, side, angle, depth });
  }

  /** The crop of a box around the landmarks themselves, x0, y0, x1, y1 and the angle that it is turned by. */
  static fromBox([x0, y0, x1, y1, angle = 0], { margin }, rule = "longer", depth = 1) {
    const extent = rule === "longer" ? Math.max(x1 - x0, y1 - y0) : x1 - x0;
    return new Crop([(x0 + x1) / 2, (y0 + y1) / 2, 0], margin * extent, angle, depth);
  }

  /** The crop of a face detector's box. */
  static fromDetection([x0, y0, x1, y1, angle = 0], { margin, detectorScale, detectorRise }, rule = "longer", depth = 1) {
    const size = Math.sqrt((x1 - x0) * (y1 - y0)), rise = detectorRise * size, turn = radians(angle);
    const center = [(x0 + x1) / 2 - rise * Math.sin(turn), (y0 + y1) / 2 + rise * Math.cos(turn), 0];
    return new Crop(center, margin * (rule === "longer" ? size / detectorScale : x1 - x0), angle, depth);
  }

  /** The cube around landmarks; null where they have no extent. */
  static aroundLandmarks(points, { margin }, rule = "longer", depth = 1) {
    const [low, high] = bounds(points);
    const width = high[0] - low[0], height = high[1] - low[1];
    const extent = rule === "longer" ? Math.max(width, height) : width;
    if (!(extent > 0)) return null;
    const z = rule === "longer" ? (low[2] + high[2]) / 2 : mean(points)[2];
    return new Crop([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, z], margin * extent, 0, depth);
  }

  with(changes) {
    return Object.assign(new Crop(this.center, this.side, this.angle, this.depth), changes);
  }

  /** Points of the unit frame in the picture. */
  toImage(points) {
    const half = this.side / 2, cos = half * Math.cos(radians(this.angle)), sin = half * Math.sin(radians(this.angle));
    const [x0, y0, z0] = this.center;
    return points.map(([x, y, z]) => [cos * x - sin * y + x0, sin * x + cos * y + y0, half * this.depth * z + z0]);
  }

  /** Six numbers a, b, x, c, d, y: pixel (j, i) of a crop of size x size lies at (a j + b i + x, c j + d i + y). */
  toImageMatrix(size) {
    const half = this.side / 2, cos = half * Math.cos(radians(this.angle)), sin = half * Math.sin(radians(this.angle));
    const scale = 2 / size, edge = 1 / size - 1;
    return [cos * scale, -sin * scale, (cos - sin) * edge + this.center[0], sin * scale, cos * scale, (sin + cos) * edge + this.center[1]];
  }

  corners() {
    return this.toImage([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]);
  }
}

/** Least and greatest of each coordinate. */
export function bounds(points) {
  const low = [...points[0]], high = [...points[0]];
  for (const point of points) {
    for (let k = 0; k < point.length; k++) {
      if (point[k] < low[k]) low[k] = point[k];
      if (point[k] > high[k]) high[k] = point[k];
    }
  }
  return [low, high];
}

export function mean(points) {
  const sums = points[0].map(() => 0);
  for (const point of points) point.forEach((v, k) => (sums[k] += v));
  return sums.map((sum) => sum / points.length);
}

export const average = (values) => values.reduce((a, b) => a + b, 0) / values.length;

/** Longer side of the landmarks' box, never 0. */
export function sizeOf(points) {
  const [low, high] = bounds(points);
  return Math.max(high[0] - low[0], high[1] - low[1], 1e-6);
}

/** The upright crop around landmarks in a picture that was turned back by an angle: x, y, side. */
export function uprightSquare(points, angle, margin) {
  const cos = Math.cos(radians(angle)), sin = Math.sin(radians(angle));
  const [low, high] = bounds(points.map(([x, y]) => [cos * x + sin * y, cos * y - sin * x]));
  const u = (low[0] + high[0]) / 2, v = (low[1] + high[1]) / 2;
  return [cos * u - sin * v, sin * u + cos * v, margin * Math.max(high[0] - low[0], high[1] - low[1])];
}

/** The proper rotation nearest to a 3 x 3 matrix, or that best moves points whose products with others it sums (Horn, 1987). */
export function nearestRotation(m) {
  const [[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]] = m;
  const q = largestEigenvector([
    [xx + yy + zz, zy - yz, xz - zx, yx - xy],
    [zy - yz, xx - yy - zz, xy + yx, xz + zx],
    [xz - zx, xy + yx, yy - xx - zz, yz + zy],
    [yx - xy, xz + zx, yz + zy, zz - xx - yy],
  ]);
  const [w, x, y, z] = q;
  return [
    [w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)],
    [2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)],
    [2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z],
  ];
}

/** Of a symmetric matrix, by Jacobi's rotations. */
function largestEigenvector(matrix) {
  const n = matrix.length, a = matrix.map((row) => [...row]);
  const vectors = a.map((_, i) => a.map((_, j) => (i === j ? 1 : 0)));
  for (let sweep = 0; sweep < 50; sweep++) {
    let off = 0;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) off += a[p][q] ** 2;
    if (off < 1e-30 * a.reduce((sum, row, i) => sum + row[i] ** 2, 1e-300)) break;
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        if (a[p][q] === 0) continue;
        const theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
        const t = (theta < 0 ? -1 : 1) / (Math.abs(theta) + Math.sqrt(theta * theta + 1));
        const c = 1 / Math.sqrt(t * t + 1), s = t * c;
        for (let k = 0; k < n; k++) [a[k][p], a[k][q]] = [c * a[k][p] - s * a[k][q], s * a[k][p] + c * a[k][q]];
        for (let k = 0; k < n; k++) [a[p][k], a[q][k]] = [c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]];
        for (let k = 0; k < n; k++) [vectors[k][p], vectors[k][q]] = [c * vectors[k][p] - s * vectors[k][q], s * vectors[k][p] + c * vectors[k][q]];
      }
    }
  }
  let best = 0;
  for (let i = 1; i < n; i++) if (a[i][i] > a[best][best]) best = i;
  const length = Math.hypot(...vectors.map((row) => row[best]));
  return vectors.map((row) => row[best] / length);
}

/** The rotation that best moves a template onto landmarks. */
function rotationOnto(points, template) {
  const a = mean(template), b = mean(points);
  const m = [[0, 0, 0], [0, 0, 0], [0, 0, 0]];
  points.forEach((point, n) => {
    for (let i = 0; i < 3; i++) for (let j = 0; j < 3; j++) m[i][j] += (point[i] - b[i]) * (template[n][j] - a[j]);
  });
  return nearestRotation(m);
}

/** Pitch, yaw and roll, degrees, of a rotation in the frame x right, y up, z towards the camera. */
export function eulerOf(m) {
  const yaw = Math.asin(Math.max(-1, Math.min(1, -m[0][2])));
  const straight = Math.abs(m[0][2]) < 1 - 1e-9;
  const pitch = straight ? Math.atan2(m[1][2], m[2][2]) : Math.atan2(-m[2][1], m[1][1]);
  const roll = straight ? Math.atan2(m[0][1], m[0][0]) : 0;
  return { yaw: degrees(yaw), pitch: degrees(pitch), roll: degrees(roll) };
}

/** The opposite of `eulerOf`. */
export function rotationOf({ yaw, pitch, roll }) {
  const [p, y, r] = [pitch, yaw, roll].map(radians);
  const rx = [[1, 0, 0], [0, Math.cos(p), Math.sin(p)], [0, -Math.sin(p), Math.cos(p)]];
  const ry = [[Math.cos(y), 0, -Math.sin(y)], [0, 1, 0], [Math.sin(y), 0, Math.cos(y)]];
  const rz = [[Math.cos(r), Math.sin(r), 0], [-Math.sin(r), Math.cos(r), 0], [0, 0, 1]];
  return times(times(rx, ry), rz);
}

const times = (a, b) => a.map((row) => b[0].map((_, j) => row.reduce((sum, v, k) => sum + v * b[k][j], 0)));

/** A rotation of the pose's frame in the image frame, x right, y down, z away from the camera; and back. */
export const inImageFrame = (m) => m.map((row, i) => row.map((v, j) => ((i === 0) === (j === 0) ? v : -v)));

/** Where a head looks: `jvcr.geometry.pose.head_pose`. */
export const headPose = (points, template) => eulerOf(inImageFrame(rotationOnto(points, template)));

/** How far a head leans in the picture's plane, degrees. */
export function leanOf(points, template) {
  const rotation = rotationOnto(points, template);
  return degrees(Math.atan2(-rotation[0][1], rotation[1][1]));
}

/** The volume's value at a point of the unit frame, by trilinear interpolation; volume is [depth][height][width], flat. */
export function sampled(volume, offset, [depth, height, width], point) {
  const cells = [width, height, depth];
  const low = [], high = [], share = [];
  for (let k = 0; k < 3; k++) {
    const place = Math.min(Math.max((point[k] + 1) * (cells[k] / 2) - 0.5, 0), cells[k] - 1);
    low[k] = Math.floor(place);
    high[k] = Math.min(low[k] + 1, cells[k] - 1);
    share[k] = place - low[k];
  }
  const at = (z, y, x) => volume[offset + (z * height + y) * width + x];
  const along = (z, y) => at(z, y, low[0]) * (1 - share[0]) + at(z, y, high[0]) * share[0];
  const plane = (z) => along(z, low[1]) * (1 - share[1]) + along(z, high[1]) * share[1];
  return plane(low[2]) * (1 - share[2]) + plane(high[2]) * share[2];
}

/** How far an eye or a mouth is open, 0 to 1: `jvcr.geometry.aperture.openness`. */
export function openness(contour, { closed, wide }) {
  const half = contour.length / 2, apart = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
  let sum = 0;
  for (let i = 1; i < half; i++) sum += apart(contour[i], contour[contour.length - i]);
  const width = apart(contour[0], contour[half]);
  const aperture = width > 0 ? sum / (half - 1) / width : 0;
  return Math.min(Math.max((aperture - closed) / (wide - closed), 0), 1);
}
