// Drawing: the landmarks over the picture, and the face and its volume in space.

// Low, middle and high confidence.
const CONFIDENCE = [[214, 38, 70], [250, 172, 48], [54, 208, 184]];
// Depth as in the figures of `jvcr figure`: near is warm, far is cold.
const DEPTH = [[183, 29, 2], [232, 75, 12], [254, 147, 42], [238, 207, 58], [183, 247, 53], [101, 253, 105], [26, 228, 182], [47, 178, 244], [71, 115, 235]];
const DEEPEST = 0.75; // of half the cube: here the colours of the depth end

/** What the colours of landmarks can mean: a ramp, and what stands at its ends. */
export const MEANINGS = { depth: { ramp: gradient(DEPTH), ends: ["near", "far"] }, confidence: { ramp: gradient(CONFIDENCE), ends: [0.2, 0.8] } };

// The hidden side of a head, as in `jvcr.viz.landmarks`.
const FADED = 0.45; // how much of a hidden line covers what is behind it
const BEHIND = 0.04; // a landmark is hidden if the surface lies so much in front of it, in sizes of the face
const AWAY = 0.1; // sine of the angle by which a surface must be turned away so that it counts as facing away

const FAINTEST = 0.08; // voxels below this share of the peak are not drawn
const DENSITY = 0.5; // share of what lies behind it that the middle of a full voxel hides
const REST = { angle: 0.42, tilt: 0.22 }; // how the cube stands if nobody turned it, radians
const NEAREST = 0.5, FARTHEST = 3; // how large the cube may be made

function colour(ramp, share) {
  const place = Math.min(Math.max(share, 0), 1) * (ramp.length - 1);
  const low = Math.min(Math.floor(place), ramp.length - 2);
  return ramp[low].map((c, i) => Math.round(c + (ramp[low + 1][i] - c) * (place - low)));
}

const css = (rgb, alpha = 1) => `rgb(${rgb.join(" ")} / ${alpha})`;
function gradient(ramp) {
  return `linear-gradient(90deg, ${ramp.map((c) => `rgb(${c.join(" ")})`).join(", ")})`;
}

/** The colours of a face's landmarks by their depth, as in the pictures of `jvcr predict`, or by their confidence. */
function coloursOf({ points, confidence }, meaning) {
  const [values, ramp] = meaning === "depth" ? [points.map((p) => p[2]), DEPTH] : [confidence, CONFIDENCE];
  const [low, high] = meaning === "depth" ? extent(points, 2) : MEANINGS.confidence.ends;
  return values.map((v) => colour(ramp, (v - low) / (high - low || 1)));
}

/** Makes a canvas as fine as the screen, and gives its context, which draws in CSS pixels. */
function prepared(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const finer = window.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * finer)), Math.max(1, Math.round(height * finer))];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const context = canvas.getContext("2d");
  context.setTransform(finer, 0, 0, finer, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

const extent = (points, k) => [Math.min(...points.map((p) => p[k])), Math.max(...points.map((p) => p[k]))];

const edgesOf = (scheme) => Object.values(scheme?.groups ?? {}).flatMap(({ landmarks, closed }) =>
  landmarks.map((n, i) => [n, landmarks[(i + 1) % landmarks.length]]).slice(0, closed ? undefined : -1));

/** Twice the area of a triangle in the plane; above 0 if its corners follow each other clockwise on the screen. */
const area = (a, b, c) => (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);

const surfaces = new WeakMap();

/** Triangles over a scheme's landmarks, those of Delaunay for its template, clockwise as seen from the front. */
function surfaceOf(scheme) {
  const points = scheme?.template?.points;
  if (!points) return [];
  if (surfaces.has(scheme)) return surfaces.get(scheme);
  const triangles = [];
  const square = ([x, y]) => x * x + y * y;
  for (let a = 0; a < points.length; a++) for (let b = a + 1; b < points.length; b++) for (let c = b + 1; c < points.length; c++) {
    const [p, q, r] = [a, b, c].map((n) => points[n]);
    const twice = 2 * area(p, q, r);
    const x = (square(p) * (q[1] - r[1]) + square(q) * (r[1] - p[1]) + square(r) * (p[1] - q[1])) / twice;
    const y = (square(p) * (r[0] - q[0]) + square(q) * (p[0] - r[0]) + square(r) * (q[0] - p[0])) / twice;
    const reach = Math.hypot(p[0] - x, p[1] - y) * (1 - 1e-6); // on the circle itself may lie others: the face is symmetric
    if (twice && !points.some((other) => Math.hypot(other[0] - x, other[1] - y) < reach)) triangles.push(twice > 0 ? [a, b, c] : [a, c, b]);
  }
  surfaces.set(scheme, triangles);
  return triangles;
}

/** Which landmarks the face itself hides: what a surface over all of them covers, and what all of it around faces away. */
export function hiddenOf(points, scheme) {
  const margin = BEHIND * Math.max(...[0, 1, 2].map((k) => extent(points, k)).map(([low, high]) => high - low));
  const covered = new Set(), seen = new Set(), away = new Set();
  for (const triangle of surfaceOf(scheme)) {
    const [a, b, c] = triangle.map((n) => points[n]);
    const whole = area(a, b, c);
    const [[ux, uy, uz], [vx, vy, vz]] = [b, c].map((p) => p.map((v, k) => v - a[k]));
    const towards = whole >= -AWAY * Math.hypot(ux * vy - uy * vx, uy * vz - uz * vy, uz * vx - ux * vz);
    for (const n of triangle) (towards ? seen : away).add(n);
    points.forEach((p, n) => {
      const shares = [area(p, b, c), area(a, p, c), area(a, b, p)].map((part) => part / whole);
      const surface = shares[0] * a[2] + shares[1] * b[2] + shares[2] * c[2];
      if (shares.every((share) => share > 0) && surface < p[2] - margin) covered.add(n);
    });
  }
  return points.map((_, n) => covered.has(n) || (away.has(n) && !seen.has(n)));
}

/** Lines and dots, the near ones over the far ones, and hidden ones thin and faded. Points have a depth in pixels. */
function drawLandmarks(context, points, colours, scheme, thickness, radius, rim) {
  const hidden = hiddenOf(points, scheme), faint = context.globalAlpha;
  const depths = points.map((p) => p[2]); // a dot lies on all lines that end in it, so that no joint is cut
  const parts = edgesOf(scheme).map((of) => {
    const depth = (points[of[0]][2] + points[of[1]][2]) / 2;
    for (const n of of) depths[n] = Math.min(depths[n], depth);
    return { of, depth };
  });
  points.forEach((_, n) => parts.push({ of: [n], depth: depths[n] }));
  parts.sort((a, b) => b.depth - a.depth);
  context.lineCap = "round";
  const draw = (of, style, wide, large) => {
    const [[x, y], end] = of.map((n) => points[n]);
    Object.assign(context, { lineWidth: wide, strokeStyle: style, fillStyle: style });
    context.beginPath();
    if (end) {
      context.moveTo(x, y);
      context.lineTo(end[0], end[1]);
      context.stroke();
    } else {
      context.arc(x, y, large, 0, 2 * Math.PI);
      context.fill();
    }
  };
  const isHidden = ({ of }) => of.some((n) => hidden[n]);
  for (const { of } of parts.filter(isHidden)) {
    context.globalAlpha = faint * FADED;
    draw(of, css(mix(of.map((n) => colours[n]))), thickness / 2, radius / 2);
  }
  context.globalAlpha = faint;
  for (const { of } of parts.filter((part) => !isHidden(part))) {
    if (rim) draw(of, rim, thickness + 1.6, radius + 0.8);
    draw(of, css(mix(of.map((n) => colours[n]))), thickness, radius);
  }
}

const mix = (colours) => colours[0].map((_, k) => colours.reduce((sum, c) => sum + c[k], 0) / colours.length);

// ---- the picture

/** Part of the picture to show, in its pixels (their edges): all of it, or what lies around a face. */
export function framing(answer, face) {
  if (!face) return { x: answer.width / 2, y: answer.height / 2, width: answer.width, height: answer.height };
  const [[x0, x1], [y0, y1]] = [extent(face.points, 0), extent(face.points, 1)];
  const side = Math.max(x1 - x0, y1 - y0, 4) * 1.7;
  return { x: (x0 + x1 + 1) / 2, y: (y0 + y1 + 1) / 2 - side * 0.04, width: side, height: side };
}

/** Between two framings; the scale changes evenly to the eye. */
export function between(a, b, share) {
  const blend = (p, q) => p * (q / p) ** share;
  const width = blend(a.width, b.width);
  // The middle moves as the width does, so that the way into the picture is straight.
  const moved = Math.abs(b.width - a.width) > 1e-6 * a.width ? (width - a.width) / (b.width - a.width) : share;
  return { x: a.x + (b.x - a.x) * moved, y: a.y + (b.y - a.y) * moved, width, height: blend(a.height, b.height) };
}

/** The picture with the landmarks of its faces. What of it is seen stands in the canvas' data-frame: where its corner
 * lies, and the size of its pixels, both in pixels of the canvas. */
export function drawPhoto(canvas, picture, answer, scheme, chosen, frame, meaning) {
  const { context, width, height } = prepared(canvas);
  const scale = Math.min(width / frame.width, height / frame.height);
  const x0 = width / 2 - frame.x * scale, y0 = height / 2 - frame.y * scale;
  const finer = canvas.width / width;
  canvas.dataset.frame = [x0, y0, scale].map((v) => (v * finer).toFixed(3)).join(" ");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, x0, y0, answer.width * scale, answer.height * scale);
  // The chosen one last, above its neighbours.
  const order = answer.faces.map((_, n) => n).sort((a, b) => (a === chosen) - (b === chosen));
  for (const index of order) {
    const face = answer.faces[index];
    // A landmark's integer is a pixel's centre, half a pixel from the picture's edge.
    const points = face.points.map(([x, y, z]) => [x0 + (x + 0.5) * scale, y0 + (y + 0.5) * scale, z * scale]);
    const [[left, right], [top, bottom]] = [extent(points, 0), extent(points, 1)];
    const size = Math.max(right - left, bottom - top);
    const thickness = Math.min(Math.max(size / 160, 0.8), 2.5), radius = Math.min(Math.max(size / 74, 1.4), 5);
    drawLandmarks(context, points, coloursOf(face, meaning), scheme, thickness, radius, size > 150 && "rgb(10 14 20 / 0.65)");
    if (answer.faces.length > 1) drawLabel(context, `${face.id ?? index + 1}`, (left + right) / 2, top, index === chosen);
  }
}

function drawLabel(context, text, x, y, chosen) {
  context.font = "600 13px system-ui, sans-serif";
  const half = Math.max(11, context.measureText(text).width / 2 + 6);
  const middle = Math.max(y - 20, 13);
  context.beginPath();
  context.roundRect(x - half, middle - 11, 2 * half, 22, 11);
  context.fillStyle = chosen ? "#fff" : "rgb(12 16 22 / 0.72)";
  context.fill();
  Object.assign(context, { fillStyle: chosen ? "#10151c" : "#fff", textAlign: "center", textBaseline: "middle" });
  context.fillText(text, x, middle + 0.5);
}

/** Which face lies at a place of the canvas, in CSS pixels from its corner; -1 is none. */
export function faceAt(canvas, answer, x, y) {
  const [x0, y0, scale] = (canvas.dataset.frame ?? "0 0 1").split(" ").map(Number);
  const finer = canvas.width / canvas.clientWidth;
  const at = [(x * finer - x0) / scale - 0.5, (y * finer - y0) / scale - 0.5];
  return answer.faces.findIndex((face) => [0, 1].every((k) => {
    const [low, high] = extent(face.points, k);
    const more = 0.15 * (high - low);
    return at[k] >= low - more && at[k] <= high + more;
  }));
}

// ---- space: a cube from -1 to 1, x right, y down, z away

function cubeOf(points, volume) {
  if (volume) {
    const [depth, height, width] = volume.shape;
    const cell = [(width - 1) / 2, (height - 1) / 2, (depth - 1) / 2, 1];
    const center = volume.to_image.map((row) => row.reduce((sum, v, k) => sum + v * cell[k], 0));
    return { center, half: (Math.hypot(...volume.to_image.map((row) => row[0])) * width) / 2 };
  }
  const ends = [0, 1, 2].map((k) => extent(points, k));
  const half = (1.25 * Math.max(...ends.map(([low, high]) => high - low), 1e-6)) / 2;
  return { center: ends.map(([low, high]) => (low + high) / 2), half };
}

function voxelsOf(volume, { center, half }) {
  const [depth, height, width] = volume.shape;
  const bytes = typeof volume.data === "string" ? Uint8Array.from(atob(volume.data), (c) => c.charCodeAt(0)) : volume.data;
  const peak = bytes.reduce((a, b) => Math.max(a, b), 1);
  const voxels = [];
  bytes.forEach((value, i) => {
    if (value < FAINTEST * peak) return;
    const cell = [i % width, Math.floor(i / width) % height, Math.floor(i / (width * height)), 1];
    const at = volume.to_image.map((row, k) => (row.reduce((sum, v, j) => sum + v * cell[j], 0) - center[k]) / half);
    voxels.push({ at, share: value / peak });
  });
  return { voxels, step: 2 / Math.max(depth, height, width) };
}

/** The compact volume that landmarks in the cube make: in each voxel the largest of their Gaussians (Eq. 1-2). */
function idealVoxels(points, cells = 32) {
  const shares = new Map();
  const middle = (i) => ((i + 0.5) / cells) * 2 - 1;
  for (const point of points) {
    const near = point.map((v) => Math.round(((v + 1) / 2) * cells - 0.5));
    for (let i = 0; i < 125; i++) {
      const cell = [i % 5, Math.floor(i / 5) % 5, Math.floor(i / 25)].map((v, k) => near[k] + v - 2);
      const away = cell.reduce((sum, v, k) => sum + ((middle(v) - point[k]) * (cells / 2)) ** 2, 0);
      const share = Math.exp(-away / 2);
      if (share >= FAINTEST && share > (shares.get(`${cell}`)?.share ?? 0)) shares.set(`${cell}`, { at: cell.map(middle), share });
    }
  }
  return { voxels: [...shares.values()], step: 2 / cells };
}

/** Soft spots, one for each of some colours of the depth: to draw one is to copy it. */
const SPOTS = Array.from({ length: 32 }, (_, i) => {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 48;
  const context = canvas.getContext("2d");
  const rgb = colour(DEPTH, i / 31);
  const fade = context.createRadialGradient(24, 24, 0, 24, 24, 24);
  for (let k = 0; k <= 8; k++) fade.addColorStop(k / 8, css(rgb, k === 8 ? 0 : Math.exp(-3 * (k / 8) ** 2).toFixed(3)));
  context.fillStyle = fade;
  context.fillRect(0, 0, 48, 48);
  return canvas;
});

const spotOf = (z) => SPOTS[Math.round(Math.min(Math.max((z / DEEPEST + 1) / 2, 0), 1) * 31)];

const CORNERS = Array.from({ length: 8 }, (_, i) => [i & 1 ? 1 : -1, i & 2 ? 1 : -1, i & 4 ? 1 : -1]);
const EDGES = CORNERS.flatMap((_, a) => [1, 2, 4].filter((bit) => !(a & bit)).map((bit) => [a, a | bit]));

/** The face and its volume, side by side in cubes that turn together, under the pointer and the arrow keys. */
export class Space {
  constructor(shape, volume) {
    Object.assign(this, { shape, volume, points: null, colours: null, cloud: null, scheme: null, faint: true });
    Object.assign(this, { angle: -REST.angle, tilt: REST.tilt, size: 1, side: -1, rest: () => {} });
    for (const canvas of [shape, volume]) this.listen(canvas);
  }

  listen(canvas) {
    let last = null;
    canvas.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      canvas.setPointerCapture(event.pointerId);
      last = [event.clientX, event.clientY];
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      this.turn((event.clientX - last[0]) / 120, (event.clientY - last[1]) / 120);
      last = [event.clientX, event.clientY];
    });
    for (const kind of ["pointerup", "pointercancel"]) canvas.addEventListener(kind, () => (last = null));
    canvas.addEventListener("dblclick", () => this.goTo("rest"));
    canvas.addEventListener("wheel", (event) => {
      if (document.activeElement !== canvas) return; // who scrolls past is not held up
      event.preventDefault();
      this.zoom(Math.exp(-event.deltaY / 600));
    }, { passive: false });
    const keys = {
      ArrowLeft: () => this.turn(-0.15, 0), ArrowRight: () => this.turn(0.15, 0),
      ArrowUp: () => this.turn(0, -0.15), ArrowDown: () => this.turn(0, 0.15),
      "+": () => this.zoom(1.1), "=": () => this.zoom(1.1), "-": () => this.zoom(1 / 1.1), 0: () => this.goTo("rest"),
    };
    canvas.addEventListener("keydown", (event) => {
      if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      keys[event.key]();
    });
  }

  turn(angle, tilt) {
    this.rest();
    this.angle += angle;
    this.tilt = Math.min(Math.max(this.tilt + tilt, -1.5), 1.5);
    this.draw();
  }

  zoom(factor) {
    this.size = Math.min(Math.max(this.size * factor, NEAREST), FARTHEST);
    this.draw();
  }

  /** Turns to a view by name: "front", "side" or "rest"; first: the way there begins at the front, as the picture is. */
  goTo(name, first = false) {
    this.rest();
    const to = { front: [0, 0], side: [(this.side * Math.PI) / 2, 0], rest: [this.side * REST.angle, REST.tilt] }[name];
    if (first) Object.assign(this, { angle: 0, tilt: 0 });
    const turns = Math.round((this.angle - to[0]) / (2 * Math.PI)) * 2 * Math.PI;
    const from = [this.angle - turns, this.tilt, this.size];
    this.rest = eased(first ? 1300 : 450, (share) => {
      Object.assign(this, { angle: from[0] + (to[0] - from[0]) * share, tilt: from[1] + (to[1] - from[1]) * share });
      this.size = from[2] + (1 - from[2]) * share;
      this.draw();
    });
  }

  /** Shows a face, or the scheme's average one, faintly, where there is none. Without a volume the one before stays. */
  set(face, volume, scheme, meaning) {
    this.scheme = scheme;
    const points = face?.points ?? scheme?.template?.points;
    if (!face !== this.faint) this.cloud = null;
    this.faint = !face;
    this.points = null;
    if (points) {
      const cube = cubeOf(points, face && volume);
      this.points = points.map((p) => p.map((v, k) => (v - cube.center[k]) / cube.half));
      this.colours = face ? coloursOf(face, meaning) : null;
      this.side = face?.yaw > 10 ? 1 : -1; // a turned head is looked at from the side that shows more of it
      if (face && volume) this.cloud = voxelsOf(volume, cube);
      else if (!face) this.cloud = idealVoxels(this.points);
    }
    this.draw();
  }

  /** Changes the volume alone. */
  setVolume(volume) {
    this.cloud = voxelsOf(volume, cubeOf(null, volume));
    this.draw();
  }

  /** From the cube into a picture of this size: x, y, and how far away. Seen from afar, as the camera is taken to be. */
  projection(width, height) {
    const [ca, sa, ct, st] = [Math.cos(this.angle), Math.sin(this.angle), Math.cos(this.tilt), Math.sin(this.tilt)];
    const scale = (Math.min(width, height * 0.98) / 3.2) * this.size;
    return ([x, y, z]) => {
      const [x1, z1] = [ca * x - sa * z, sa * x + ca * z];
      const [y2, z2] = [ct * y - st * z1, st * y + ct * z1];
      const nearer = 9 / (9 + z2);
      return [width / 2 + scale * nearer * x1, height / 2 + scale * nearer * y2, z2, scale * nearer];
    };
  }

  draw() {
    const style = getComputedStyle(document.documentElement);
    const colours = Object.fromEntries(["cube", "wire", "soft"].map((name) => [name, style.getPropertyValue(`--${name}`)]));
    this.drawIn(this.shape, colours, ["x", "y", "z"], (...drawing) => this.drawShape(...drawing));
    this.drawIn(this.volume, colours, ["w", "h", "d"], (...drawing) => this.drawCloud(...drawing));
  }

  drawIn(canvas, colours, names, content) {
    const { context, width, height } = prepared(canvas);
    const project = this.projection(width, height);
    const corners = CORNERS.map(project);
    const farthest = corners.reduce((best, p, i) => (p[2] > corners[best][2] ? i : best), 0);
    const cube = (front) => {
      context.lineWidth = 1;
      context.strokeStyle = colours.cube;
      context.beginPath();
      for (const [a, b] of EDGES) {
        if ((a !== farthest && b !== farthest) !== front) continue;
        context.moveTo(corners[a][0], corners[a][1]);
        context.lineTo(corners[b][0], corners[b][1]);
      }
      context.stroke();
    };
    cube(false);
    context.globalAlpha = this.faint ? 0.4 : 1;
    content(context, project, colours);
    context.globalAlpha = 1;
    cube(true);
    Object.assign(context, { font: "600 13px system-ui, sans-serif", fillStyle: colours.soft, textAlign: "center", textBaseline: "middle" });
    const middle = project([0, 0, 0]);
    names.forEach((name, axis) => {
      const [a, b] = [corners[0], corners[1 << axis]];
      if (Math.hypot(a[0] - b[0], a[1] - b[1]) < 0.5 * middle[3]) return; // it points at the one who looks
      // Of the four edges along an axis the one that is lowest (or, for the height, farthest out) carries its name.
      const edges = EDGES.filter(([a, b]) => (a ^ b) === 1 << axis).map(([a, b]) => [0, 1].map((k) => (corners[a][k] + corners[b][k]) / 2));
      const out = edges.reduce((best, p) => (axis === 1 ? p[0] < best[0] : p[1] > best[1]) ? p : best);
      const [dx, dy] = [out[0] - middle[0], out[1] - middle[1]];
      const length = Math.hypot(dx, dy) || 1;
      context.fillText(name, out[0] + (dx / length) * 11, out[1] + (dy / length) * 11);
    });
  }

  drawShape(context, project, colours) {
    if (!this.points) return;
    const points = this.points.map(project).map(([x, y, away, scale]) => [x, y, away * scale]);
    const radius = Math.min(Math.max(project([0, 0, 0])[3] / 30, 2), 9);
    const wire = colours.wire.match(/\w\w/g).map((part) => parseInt(part, 16));
    drawLandmarks(context, points, this.colours ?? points.map(() => wire), this.scheme, Math.max(1.4, radius / 2), radius, this.colours && "rgb(10 14 20 / 0.55)");
  }

  drawCloud(context, project) {
    if (!this.cloud) return;
    const faint = context.globalAlpha;
    const seen = this.cloud.voxels.map(({ at, share }) => ({ place: project(at), spot: spotOf(at[2]), share }));
    seen.sort((a, b) => b.place[2] - a.place[2]);
    for (const { place: [x, y, , scale], spot, share } of seen) {
      const reach = scale * this.cloud.step * 1.3;
      context.globalAlpha = faint * DENSITY * share;
      context.drawImage(spot, x - reach, y - reach, 2 * reach, 2 * reach);
    }
    context.globalAlpha = faint;
  }
}

/** Calls step(share) from 0 to 1, slow at both ends; at once with 1 for who wants no motion. Returns what ends it. */
export function eased(milliseconds, step) {
  const started = performance.now();
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  let motion = 0;
  const frame = () => {
    const time = still ? 1 : Math.min((performance.now() - started) / milliseconds, 1);
    if (time < 1) motion = requestAnimationFrame(frame);
    step(time < 0.5 ? 4 * time ** 3 : 1 - (2 - 2 * time) ** 3 / 2);
  };
  frame();
  return () => cancelAnimationFrame(motion);
}
