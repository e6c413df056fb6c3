/** 3D facial landmarks in the browser, without a server. */

/** A box: x0, y0, x1, y1 in pixels, and the angle in degrees by which it is turned clockwise. */
export type Box = [number, number, number, number] | [number, number, number, number, number];

/** A face, with the keys of the JSON of `jvcr predict`. */
export interface Face {
  /** N x (x, y, z): x right, y down, z away from the camera with mean 0, pixels of the picture; a whole number is a pixel's centre. */
  points: [number, number, number][];
  box: [number, number, number, number];
  /** Degrees by which the box, and so the face, is turned clockwise. */
  angle: number;
  /** The detector's, 0 to 1; null where the box was given, or the face was followed without it. */
  score: number | null;
  /** For each landmark, 0 to 1; it ranks them and is no probability. */
  confidence: number[];
  /** Distance from the truth to expect for each landmark, percent of the face's size. */
  expected_error: number[] | null;
  /** Degrees; positive when the nose points to the picture's left. */
  yaw: number | null;
  /** Degrees; positive when the head looks up. */
  pitch: number | null;
  /** Degrees; positive when the head leans clockwise. */
  roll: number | null;
  rotation: number[][] | null;
  /** The face's own left and right eye, 0 closed to 1 wide open. */
  eye_open: [number, number] | null;
  /** 0 closed to 1 wide open. */
  mouth_open: number | null;
  scheme: string;
  /** Only with `volumes`. */
  volume?: Volume;
}

/** What the network estimated: where it expects landmarks, all of them in one grid. */
export interface Volume {
  /** Depth, height, width. */
  shape: [number, number, number];
  /** 0 to 255, row by row, slice by slice. */
  data: Uint8Array;
  /** 3 x 4: from a voxel's indices (x, y, z, 1) to the picture, pixels. */
  to_image: number[][];
}

export interface TrackedFace extends Face {
  /** The same in all frames in which the face was followed, from 1 on. */
  id: number;
}

export interface Found<F extends Face = Face> {
  width: number;
  height: number;
  faces: F[];
}

export interface Scheme {
  name: string;
  num_landmarks: number;
  groups: Record<string, { landmarks: number[]; closed?: boolean }>;
}

export type Picture = HTMLImageElement | HTMLVideoElement | HTMLCanvasElement | OffscreenCanvas | ImageBitmap | ImageData | VideoFrame | Blob;

export class Landmarker {
  /**
   * Loads networks and runtime from the folder that `jvcr page` wrote; by default the folder of this file. With `webgpu`, a
   * folder of `jvcr page --webgpu` uses the GPU: "auto", the default, where there is one and it is quicker than the processor;
   * true wherever the browser can, also where a program imitates one; false never.
   */
  static load(url?: string | URL, options?: { weights?: string; webgpu?: "auto" | boolean }): Promise<Landmarker>;
  readonly weights: string;
  /** Where the landmark network runs. */
  readonly device: "cpu" | "gpu";
  readonly scheme: Scheme;
  readonly version: string;
  /** The faces of a picture, the most certain first; or those in `boxes`, in their order. */
  detect(image: Picture, options?: { boxes?: Box[]; boxKind?: "detector" | "landmarks"; volumes?: boolean }): Promise<Found>;
  /** The faces of the next frame of one video; `time` in seconds, rising from frame to frame. */
  track(video: Picture, options?: { time?: number; volumes?: boolean }): Promise<Found<TrackedFace>>;
  /** Another video begins. */
  reset(): Promise<void>;
  /** Ends the worker. */
  close(): void;
}
