// Pixels: pictures as { width, height, data }, data being RGB bytes row by row; reduced, and cut out. As OpenCV does it in Python.

const byte = (v) => (v <= 0 ? 0 : v >= 255 ? 255 : (v + 0.5) | 0);

/** RGB of canvas pixels (ImageData); transparent parts are laid on white, as `jvcr.read_image` does. */
export function fromRGBA({ width, height, data }) {
  const rgb = new Uint8Array(3 * width * height);
  for (let i = 0, j = 0; i < data.length; i += 4, j += 3) {
    const alpha = data[i + 3];
    if (alpha === 255) {
      rgb[j] = data[i];
      rgb[j + 1] = data[i + 1];
      rgb[j + 2] = data[i + 2];
    } else {
      for (let c = 0; c < 3; c++) rgb[j + c] = ((data[i + c] * alpha + 255 * (255 - alpha) + 127) / 255) | 0;
    }
  }
  return { width, height, data: rgb };
}

/** To the nearest whole number, halves to the even one. */
export function even(v) {
  const low = Math.floor(v);
  return v - low === 0.5 ? low + (low & 1) : Math.floor(v + 0.5);
}

/** Which pixels of a line of `from` make up each of `to`, and their shares, as cv2.INTER_AREA rounds them. */
function shares(from, to) {
  const scale = from / to, first = new Int32Array(to), weights = [];
  for (let i = 0; i < to; i++) {
    const begin = i * scale, end = begin + scale, cell = Math.min(scale, from - begin);
    const high = Math.min(Math.floor(end), from - 1), low = Math.min(Math.ceil(begin), high), own = [];
    first[i] = low;
    if (low - begin > 1e-3) {
      first[i] = low - 1;
      own.push((low - begin) / cell);
    }
    for (let n = low; n < high; n++) own.push(1 / cell);
    if (end - high > 1e-3) own.push(Math.min(end - high, 1, cell) / cell);
    weights.push(Float32Array.from(own));
  }
  return { first, weights };
}

/** A part of a picture (x0, y0, width, height), averaged down to a size that is not larger: cv2.resize with cv2.INTER_AREA. */
export function areaResized(image, width, height, x0 = 0, y0 = 0, partWidth = image.width, partHeight = image.height) {
  if (partWidth % width === 0 && partHeight % height === 0) return blockMeans(image, width, height, x0, y0, partWidth / width, partHeight / height);
  const across = shares(partWidth, width), down = shares(partHeight, height), { fround } = Math;
  const result = new Uint8Array(3 * width * height), row = new Float32Array(3 * width), sum = new Float32Array(3 * width);
  const { data } = image;
  let made = -1;
  for (let y = 0; y < height; y++) {
    const rows = down.weights[y];
    sum.fill(0);
    for (let n = 0; n < rows.length; n++) {
      const source = down.first[y] + n, weight = rows[n];
      if (source !== made) { // a row at an edge is needed twice
        made = source;
        const start = 3 * ((y0 + source) * image.width + x0);
        for (let x = 0; x < width; x++) {
          let r = 0, g = 0, b = 0;
          const own = across.weights[x];
          for (let k = 0, at = start + 3 * across.first[x]; k < own.length; k++, at += 3) {
            const w = own[k]; // in single precision, as OpenCV adds
            r = fround(r + fround(w * data[at]));
            g = fround(g + fround(w * data[at + 1]));
            b = fround(b + fround(w * data[at + 2]));
          }
          row[3 * x] = r;
          row[3 * x + 1] = g;
          row[3 * x + 2] = b;
        }
      }
      for (let i = 0; i < sum.length; i++) sum[i] = fround(sum[i] + fround(weight * row[i]));
    }
    for (let i = 0, at = 3 * width * y; i < sum.length; i++, at++) result[at] = even(sum[i]);
  }
  return { width, height, data: result };
}

/** As `areaResized` where whole pixels make up each of the result. */
function blockMeans({ width: whole, data }, width, height, x0, y0, across, down) {
  const result = new Uint8Array(3 * width * height), scale = Math.fround(1 / (across * down)), isQuarter = across === 2 && down === 2;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++, at++) {
        let sum = 0;
        for (let v = 0; v < down; v++) {
          const start = 3 * ((y0 + y * down + v) * whole + x0 + x * across) + c;
          for (let u = 0; u < across; u++) sum += data[start + 3 * u];
        }
        result[at] = isQuarter ? (sum + 2) >> 2 : even(Math.fround(sum * scale));
      }
    }
  }
  return { width, height, data: result };
}

/** A picture reduced to a size, first by a whole number, as `jvcr.inference.face_detector` does. */
export function reduced(image, width, height) {
  if (image.width === width && image.height === height) return image;
  const step = Math.min(Math.floor(image.width / width), Math.floor(image.height / height));
  if (step > 1) {
    const columns = Math.floor(image.width / step), rows = Math.floor(image.height / step);
    image = areaResized(image, columns, rows, 0, 0, columns * step, rows * step);
  }
  return areaResized(image, width, height);
}

/** The mean colour, whole numbers. */
export function meanColour({ width, height, data }) {
  const sums = [0, 0, 0];
  for (let i = 0; i < data.length; i++) sums[i % 3] += data[i];
  return sums.map((sum) => byte(sum / (width * height)));
}

/** A picture with more of one colour below and to the right. */
export function padded(image, width, height, fill) {
  if (image.width === width && image.height === height) return image;
  const data = new Uint8Array(3 * width * height);
  for (let i = 0; i < data.length; i++) data[i] = fill[i % 3];
  for (let y = 0; y < image.height; y++) data.set(image.data.subarray(3 * image.width * y, 3 * image.width * (y + 1)), 3 * width * y);
  return { width, height, data };
}

const FINENESS = 1.2; // pixels a sample, above which more are averaged: as `jvcr.geometry.warp`
const LONGEST = 16383;

/**
 * The pixels of a crop, size x size RGB, written into `target` at `offset`; outside of the picture is `fill`.
 * A crop smaller than its place in the picture is averaged down first. As `jvcr.geometry.warp.warp_crop`.
 */
export function warpCrop(image, crop, size, target, offset = 0, fill = [0, 0, 0]) {
  let [a, b, x, c, d, y] = crop.toImageMatrix(size);
  const step = Math.floor(crop.side / size / FINENESS);
  if (step >= 2 || Math.max(image.width, image.height) > LONGEST) {
    const { part, scale, shift } = reducedPart(image, crop, Math.max(step, 1));
    image = part;
    [a, b, x, c, d, y] = [a * scale[0], b * scale[0], x * scale[0] + shift[0], c * scale[1], d * scale[1], y * scale[1] + shift[1]];
  }
  const { width, height, data } = image;
  const value = (u, v, channel) => (u < 0 || v < 0 || u >= width || v >= height ? fill[channel] : data[3 * (v * width + u) + channel]);
  const { fround } = Math; // in single precision and in this order, as OpenCV 5: the same to the last bit
  const between = (from, to, share) => fround(from + fround(share * fround(to - from)));
  [a, b, x, c, d, y] = [a, b, x, c, d, y].map(fround);
  let at = offset;
  for (let i = 0; i < size; i++) {
    const startX = fround(fround(b * i) + x), startY = fround(fround(d * i) + y);
    for (let j = 0; j < size; j++, at += 3) {
      const px = fround(a * j + startX), py = fround(c * j + startY);
      const u = Math.floor(px), v = Math.floor(py), fx = fround(px - u), fy = fround(py - v);
      if (u >= 0 && v >= 0 && u < width - 1 && v < height - 1) {
        const p = 3 * (v * width + u), q = p + 3 * width;
        for (let k = 0; k < 3; k++) target[at + k] = even(between(between(data[p + k], data[p + 3 + k], fx), between(data[q + k], data[q + 3 + k], fx), fy));
      } else {
        for (let k = 0; k < 3; k++) {
          target[at + k] = even(between(between(value(u, v, k), value(u + 1, v, k), fx), between(value(u, v + 1, k), value(u + 1, v + 1, k), fx), fy));
        }
      }
    }
  }
}

/** The part of a picture under a crop, averaged over blocks, and the map of its pixels: scale and shift. */
function reducedPart(image, crop, step) {
  const { width, height } = image;
  const corners = crop.corners();
  const low = (k) => Math.floor(Math.min(...corners.map((p) => p[k]))) - step, high = (k) => Math.ceil(Math.max(...corners.map((p) => p[k]))) + 1 + step;
  const clip = (v, least, most) => Math.min(Math.max(v, least), most);
  const x0 = clip(low(0), 0, width - 1), y0 = clip(low(1), 0, height - 1);
  const x1 = clip(high(0), x0 + 1, width), y1 = clip(high(1), y0 + 1, height);
  const columns = Math.max(1, Math.floor((x1 - x0) / step)), rows = Math.max(1, Math.floor((y1 - y0) / step));
  const part = areaResized(image, columns, rows, x0, y0, x1 - x0, y1 - y0);
  const scale = [columns / (x1 - x0), rows / (y1 - y0)];
  // Pixel centres: the edge of the part is at x0 - 0.5, that of the small picture at -0.5.
  return { part, scale, shift: [0.5 * scale[0] - 0.5 - scale[0] * x0, 0.5 * scale[1] - 0.5 - scale[1] * y0] };
}

/** A crop with its range stretched to 0 to 255, in place. */
export function stretchContrast(pixels) {
  let low = 255, high = 0;
  for (const v of pixels) {
    if (v < low) low = v;
    if (v > high) high = v;
  }
  const scale = 255 / Math.max(high - low, 1);
  for (let i = 0; i < pixels.length; i++) pixels[i] = (pixels[i] - low) * scale + 0.5;
}
