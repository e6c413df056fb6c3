// jvcr in the browser: 3D facial landmarks without a server. See jvcr.d.ts for what is given and taken.

/** Finds the 3D landmarks of faces. All arithmetic is done in a worker; nothing leaves the browser. */
export class Landmarker {
  #worker;
  #waiting = new Map();
  #last = 0;

  constructor(worker) {
    this.#worker = worker;
    worker.addEventListener("message", ({ data: { id, result, error } }) => {
      const { done, failed } = this.#waiting.get(id) ?? {};
      this.#waiting.delete(id);
      if (error === undefined) done?.(result);
      else failed?.(new Error(error));
    });
    worker.addEventListener("error", (event) => {
      event.preventDefault?.();
      const error = new Error(event.message || "the worker's files cannot be loaded");
      for (const { failed } of this.#waiting.values()) failed(error);
      this.#waiting.clear();
    });
  }

  /** Loads networks and runtime from the folder that `jvcr page` wrote; by default that of this file. */
  static async load(url = new URL("./", import.meta.url), { weights, webgpu } = {}) {
    if (typeof WebAssembly === "undefined") throw new Error("this browser has no WebAssembly, or it is switched off");
    const folder = new URL(String(url).replace(/\/?$/, "/"), globalThis.location?.href ?? import.meta.url);
    const landmarker = new Landmarker(new Worker(new URL("worker.js", folder), { type: "module" }));
    try {
      Object.assign(landmarker, await landmarker.#ask("load", { weights, webgpu }));
    } catch (error) {
      landmarker.close();
      throw error;
    }
    return landmarker;
  }

  /** The faces of a picture: an element, a bitmap, ImageData or a Blob. */
  async detect(image, options = {}) {
    const bitmap = await bitmapOf(image);
    return this.#ask("detect", { bitmap, ...options }, [bitmap]);
  }

  /** The faces of the next frame of one video, each under an `id` that stays; `time` in seconds. */
  async track(video, { time = performance.now() / 1000, ...options } = {}) {
    const bitmap = await bitmapOf(video);
    return this.#ask("track", { bitmap, time, ...options }, [bitmap]);
  }

  /** Another video begins: no face is followed any more. */
  reset() {
    return this.#ask("reset");
  }

  close() {
    this.#worker.terminate();
    for (const { failed } of this.#waiting.values()) failed(new Error("the landmarker is closed"));
    this.#waiting.clear();
  }

  #ask(task, request = {}, transfer = []) {
    const id = ++this.#last;
    return new Promise((done, failed) => {
      this.#waiting.set(id, { done, failed });
      this.#worker.postMessage({ id, task, ...request }, transfer);
    });
  }
}

/** Upright, and without what the screen would make of its colours. */
async function bitmapOf(image) {
  if (typeof HTMLVideoElement !== "undefined" && image instanceof HTMLVideoElement && !image.videoWidth) {
    throw new Error("the video has no picture yet: wait for its first frame");
  }
  return createImageBitmap(image, { imageOrientation: "from-image", colorSpaceConversion: "none", premultiplyAlpha: "none" });
}
