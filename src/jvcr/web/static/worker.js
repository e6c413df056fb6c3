// The worker: loads the networks and does all arithmetic, so that the page never waits.

import { FaceDetector } from "./detector.js";
import { Landmarks } from "./landmarks.js";
import { fromRGBA } from "./pixels.js";
import { Tracker } from "./tracker.js";

let ort, detector, landmarks, tracker, manifest;

async function load({ weights, webgpu = "auto" }) {
  manifest = await (await fetched("manifest.json")).json();
  const gpu = manifest.webgpu && webgpu !== false ? await adapter(webgpu === "auto") : null;
  const [module, binary] = gpu ? ["ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm"] : ["ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"];
  ort = await import(`./ort/${module}`);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = { wasm: new URL(`./ort/${binary}`, import.meta.url).href };
  ort.env.logLevel = "error";
  const info = manifest.networks[weights ?? Object.keys(manifest.networks)[0]];
  if (!info) throw new Error(`there are no weights ${weights}, but ${Object.keys(manifest.networks).join(", ")}`);
  const files = await Promise.all([manifest.detector.propose, manifest.detector.look, info.file].map(bytesOf));
  const [propose, look, onProcessor] = await Promise.all(files.map((bytes) => opened(bytes)));
  const onGpu = gpu ? await opened(files[2], ["webgpu", "wasm"]).catch(() => null) : null;
  const isGpu = onGpu !== null && (webgpu === true || await milliseconds(onGpu, info) < await milliseconds(onProcessor, info));
  const [network, other] = isGpu ? [onGpu, onProcessor] : [onProcessor, onGpu];
  await other?.release(); // two copies of the weights would stay in memory
  const networks = {
    async propose(pixels, width, height) {
      return first(await propose.run({ pixels: new ort.Tensor("uint8", pixels, [1, height, width, 3]) }));
    },
    async look(pixels, n) {
      const { size } = manifest.detector;
      return first(await look.run({ pixels: new ort.Tensor("uint8", pixels, [n, size, size, 3]) }));
    },
  };
  detector = new FaceDetector(networks, manifest.detector, manifest.constants.crops);
  const run = async (image, n) => {
    const { coordinates, volume } = await network.run({ image: new ort.Tensor("float32", image, [n, 3, info.imageSize, info.imageSize]) });
    if (!coordinates.data.every(Number.isFinite)) throw new Error("the network gives landmarks that are not finite: its file is damaged");
    return { coordinates: coordinates.data, volumes: volume.data, shape: volume.dims.slice(1) };
  };
  landmarks = new Landmarks(run, info, manifest.constants);
  tracker = new Tracker(landmarks, detector, manifest.constants);
  return { weights: info.name, scheme: info.scheme, version: manifest.version, device: isGpu ? "gpu" : "cpu" };
}

const first = (outputs) => Object.values(outputs)[0].data;

async function fetched(name) {
  const answer = await fetch(new URL(name, import.meta.url));
  if (!answer.ok) throw new Error(`${name} cannot be fetched: ${answer.status} ${answer.statusText}`);
  return answer;
}

const bytesOf = async (file) => (await fetched(file)).arrayBuffer();

function opened(bytes, executionProviders = ["wasm"]) {
  return ort.InferenceSession.create(bytes, { executionProviders, graphOptimizationLevel: "all" });
}

/** The GPU, if the browser has one and lets it be used; `real`: not one that a program imitates. */
async function adapter(real) {
  const gpu = await navigator.gpu?.requestAdapter().catch(() => null);
  return gpu && !(real && gpu.info?.isFallbackAdapter) ? gpu : null;
}

/** How long a face takes, once a network is warm. */
async function milliseconds(network, { imageSize }) {
  const image = new ort.Tensor("float32", new Float32Array(3 * imageSize * imageSize), [1, 3, imageSize, imageSize]);
  await network.run({ image });
  const begun = performance.now();
  for (let n = 0; n < 2; n++) await network.run({ image });
  return (performance.now() - begun) / 2;
}

let canvas;

/** The pixels of an ImageBitmap, which is closed. */
function pixelsOf(bitmap) {
  const { width, height } = bitmap;
  canvas ??= new OffscreenCanvas(width, height);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.clearRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return fromRGBA(context.getImageData(0, 0, width, height));
}

const TASKS = {
  load,
  async detect({ bitmap, boxes, boxKind = "detector", volumes }) {
    const image = pixelsOf(bitmap);
    if (boxes) {
      const hasAngle = boxes.every((box) => box.length === 5);
      return { width: image.width, height: image.height, faces: await landmarks.faces(image, boxes, { detected: boxKind === "detector", hasAngle, volumes }) };
    }
    const found = await detector.detect(image);
    const faces = await landmarks.faces(image, found.map(({ box }) => box), { scores: found.map(({ score }) => score), volumes });
    return { width: image.width, height: image.height, faces };
  },
  async track({ bitmap, time, volumes }) {
    const image = pixelsOf(bitmap);
    return { width: image.width, height: image.height, faces: await tracker.next(image, time, volumes) };
  },
  async reset() {
    tracker = new Tracker(landmarks, detector, manifest.constants);
  },
};

/** What the runtime says of memory helps nobody. */
function inWords(message) {
  if (!/out of memory|alloc/i.test(message)) return message;
  return `this browser has too little memory for it (${message}): close other pages, or take a smaller picture`;
}

let turn = Promise.resolve(); // one thing after the other: the networks hold their inputs while they run

self.addEventListener("message", ({ data: { id, task, ...request } }) => {
  turn = turn.then(async () => {
    try {
      const result = await TASKS[task](request);
      self.postMessage({ id, result }, (result?.faces ?? []).flatMap(({ volume }) => (volume ? [volume.data.buffer] : [])));
    } catch (error) {
      self.postMessage({ id, error: inWords(error?.message ?? String(error)) });
    }
  });
});
