// The page: from a picture to the networks, in this browser or by the service, and what they find to the views.

import { Landmarker } from "./jvcr.js";
import { between, drawPhoto, eased, faceAt, framing, MEANINGS, Space } from "./view.js";

const LONGEST_FRAME = 640; // of the camera; more does not find faces better, and takes longer to send
const MOST_BYTES = 9.5e6, MOST_PIXELS = 24e6; // larger ones are reduced before they are sent: the service takes about as much
const LONGEST_REDUCED = 4000;
const READ = ["image/jpeg", "image/png", "image/webp", "image/gif", "image/bmp"]; // by the service; what else the browser reads is converted
const NO_ANSWER = "The service does not answer. Is it still running?";
const VOLUME_EVERY = { browser: 100, service: 400 }; // milliseconds, for the camera: the service's stream carries none
const DRAWING = 8; // at most one part in so many of the time goes into drawing in space, where that is slow
const SMALL_FACE = 0.45; // of the picture's shorter side: a smaller face is shown from near

const $ = (id) => document.getElementById(id);
const state = {
  picture: null, answer: null, name: "", chosen: 0, near: false, frame: null, endMove: () => {}, scheme: null, turn: 0, meaning: "depth",
  token: sessionStorage.getItem("token") || "", camera: null, again: null, where: "service", landmarkers: {}, networks: {},
};
const space = new Space($("shape"), $("volume"));

function tell(text, bad = false) {
  if ($("status").textContent !== text) $("status").textContent = text;
  $("status").classList.toggle("bad", bad);
}

function busy(is) {
  $("drop").classList.toggle("busy", is);
  $("results").setAttribute("aria-busy", String(is));
}

const counted = (n) => (n === 1 ? "1 face" : `${n} faces`);

// ---- the service

const headers = (more = {}) => (state.token ? { ...more, Authorization: `Bearer ${state.token}` } : more);

const ask = (what, request) => fetch(what, request).catch(() => { throw new Error(NO_ANSWER); });

const askForFaces = (body) => ask("v1/landmarks?volume=true", {
  method: "POST", body, headers: headers({ "Content-Type": body.type.startsWith("image/") ? body.type : "application/octet-stream" }),
});

async function loadScheme() {
  if (state.scheme) return;
  if (state.where === "browser") {
    state.scheme = (await loaded()).scheme;
    if (!state.answer) space.set(null, null, state.scheme);
    return;
  }
  const answer = await ask("v1/scheme", { headers: headers() });
  if (!answer.ok) return;
  state.scheme = await answer.json();
  if (!state.answer) space.set(null, null, state.scheme);
}

function askForToken(again) {
  state.again = again;
  $("token-form").classList.remove("hidden");
  $("token").focus();
  tell(state.token ? "This token is not the service's." : "This service asks for a token.", true);
}

$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  state.token = $("token").value.trim();
  sessionStorage.setItem("token", state.token);
  $("token-form").classList.add("hidden");
  state.again?.();
});

async function problemOf(answer) {
  try {
    const { detail } = await answer.json();
    if (typeof detail === "string") return detail;
  } catch { /* not from the service itself */ }
  return `the service answered ${answer.status}`;
}

const sentence = (text) => `${text.replace(/[.\s]+$/, "")}.`;

// ---- this browser

/** The networks for photographs, or for the camera (live), fetched when they are first needed. */
function loaded(what = "photo") {
  const { landmarkers } = state, weights = state.networks[what];
  landmarkers[weights] ??= Landmarker.load(undefined, { weights }).catch((error) => {
    delete landmarkers[weights]; // to be tried again
    throw error;
  });
  return landmarkers[weights];
}

const WORDS = {
  browser: {
    promise: "Pictures stay in this browser: nothing is sent anywhere.",
    same: `import { Landmarker } from "${new URL("jvcr.js", location.href)}";\nconst landmarker = await Landmarker.load();\nconst { faces } = await landmarker.detect(document.querySelector("img"));`,
  },
  service: {
    promise: "Pictures go to the service that gave you this page, and are not kept.",
    same: `curl --data-binary @photo.jpg -H "Content-Type: image/jpeg" ${new URL("v1/landmarks", location.href)}`,
  },
};

function setWhere(where) {
  if (state.camera) stopCamera();
  Object.assign(state, { where, scheme: null });
  $("where").value = where;
  $("promise").textContent = WORDS[where].promise;
  $("same").textContent = WORDS[where].same;
}

/** Where pictures can be looked at: by the networks beside this page, by the service that gave it, or by both. */
async function findPlaces() {
  const [networks, service] = await Promise.all([
    fetch("manifest.json").then(async (answer) => (answer.ok ? (await answer.json()).page : null)).catch(() => null),
    fetch("v1/scheme", { method: "HEAD" }).then(({ status }) => status < 500 && status !== 404, () => false),
  ]);
  const browser = networks !== null;
  if (browser) state.networks = networks;
  const wanted = new URLSearchParams(location.search).get("by");
  const places = [...(browser && typeof WebAssembly !== "undefined" ? ["browser"] : []), ...(service ? ["service"] : [])];
  for (const option of $("where").options) option.disabled = !places.includes(option.value);
  $("where-label").classList.toggle("hidden", places.length < 2);
  setWhere(places.includes(wanted) ? wanted : places[0] ?? (browser ? "browser" : "service"));
}

$("where").addEventListener("change", async () => {
  setWhere($("where").value);
  tell(state.where === "browser" ? "Pictures are looked at in this browser." : "Pictures are looked at by the service.");
  await loadScheme().catch((error) => tell(sentence(error.message), true));
});

/** Finds the faces of a picture, and shows them or what went wrong. */
async function look(blob, name, before = "") {
  closeCamera();
  const turn = ++state.turn;
  const late = () => turn !== state.turn; // another picture has come in since
  const fail = (text) => { if (!late()) { forget(); tell(text, true); } };
  tell(`${before}Looking at ${name} …`);
  busy(true);
  const started = performance.now();
  let note = "";
  const finished = (picture, result) => {
    const took = ((performance.now() - started) / 1000).toFixed(2), count = result.faces.length;
    show(picture, result, name);
    if (count) tell(`${before}${counted(count)} in ${name}, ${took} s.${note}`);
    else tell(`${before}No face was found in ${name}. A face must be at least about 1/30 of the picture's longer side.${note}`, true);
  };
  try {
    if (!blob.size) { fail(`${name} is empty.`); return; }
    let picture = await createImageBitmap(blob).catch(() => null); // upright, as the service turns it
    let body = blob;
    const isSent = state.where === "service";
    const large = picture && ((isSent && blob.size > MOST_BYTES) || picture.width * picture.height > MOST_PIXELS);
    if (large || (isSent && picture && !READ.includes(blob.type))) {
      [picture, body] = await drawnAnew(picture, large);
      if (large) note = ` It is large, and was ${isSent ? "sent as a JPEG of" : "reduced to"} ${picture.width} × ${picture.height} pixels.`;
    }
    if (late()) return;
    if (picture) show(picture, { width: picture.width, height: picture.height, faces: [] }, name, true);
    if (state.where === "browser" && !picture) { fail(`${name} is not an image, is damaged, or is of a kind that this browser does not read.`); return; }
    if (state.where === "browser" && !state.scheme) tell(`${before}Loading the networks …`);
    await loadScheme();
    if (state.where === "browser") {
      const result = await (await loaded()).detect(large ? picture : blob, { volumes: true });
      if (!late()) finished(picture, { ...result, volumes: result.faces.map(({ volume }) => volume) });
      return;
    }
    const answer = await askForFaces(body);
    if (late()) return;
    if (answer.status === 401) {
      forget();
      askForToken(() => look(blob, name, before));
      return;
    }
    if (!answer.ok) { fail(sentence(`${name}: ${await problemOf(answer)}`)); return; }
    const result = await answer.json();
    if (late()) return;
    finished(picture ?? plain(result), result);
  } catch (error) {
    fail(error.message === NO_ANSWER ? NO_ANSWER : sentence(`${name}: ${error.message}`));
  } finally {
    if (!late()) busy(false);
  }
}

/** A picture as a JPEG file, with fewer pixels if it is large, and its bytes. */
async function drawnAnew(picture, large) {
  const scale = large ? Math.min(1, LONGEST_REDUCED / Math.max(picture.width, picture.height)) : 1;
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width: Math.round(picture.width * scale), height: Math.round(picture.height * scale) });
  const context = canvas.getContext("2d");
  Object.assign(context, { imageSmoothingQuality: "high", fillStyle: "#fff" }); // white under what is transparent, as the service has it
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return [canvas, await new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92))];
}

/** A plain ground, for a picture that the service reads and the browser cannot show. */
function plain({ width, height }) {
  const ground = document.createElement("canvas");
  Object.assign(ground, { width, height });
  const context = ground.getContext("2d");
  context.fillStyle = "#5a6472";
  context.fillRect(0, 0, width, height);
  return ground;
}

// ---- what is shown

const chosenFace = () => state.answer?.faces[state.chosen];
const isSmall = (face) => framing(state.answer, face).width < SMALL_FACE * 1.7 * Math.min(state.answer.width, state.answer.height);

/** Shows a picture and what was found in it; pending: nothing was yet. */
function show(picture, answer, name, pending = false, inSpace = true) {
  const { camera } = state;
  const before = chosenFace();
  Object.assign(state, { picture, answer, name });
  const same = camera && before ? answer.faces.findIndex((face) => face.id === before.id) : 0;
  state.chosen = Math.max(same, 0);
  $("empty").classList.add("hidden");
  $("drop").classList.toggle("several", answer.faces.length > 1);
  $("average").classList.toggle("hidden", answer.faces.length > 0);
  const count = answer.faces.length;
  $("photo").setAttribute("aria-label", `${name}${pending ? "" : `, with the landmarks of ${counted(count)}`}`);
  if (camera) follow();
  else if (pending) {
    state.endMove();
    state.frame = framing(answer);
    setNear(false, false);
  } else moveTo(count === 1 && isSmall(answer.faces[0]));
  if (!pending) {
    $("results").classList.toggle("hidden", !count);
    writeFaces();
  }
  if (inSpace) redraw();
  else redrawPhoto();
  if (!camera && count) space.goTo("rest", true);
}

/** Takes everything away again. */
function forget() {
  state.endMove();
  Object.assign(state, { picture: null, answer: null, frame: null, chosen: 0 });
  $("photo").getContext("2d").clearRect(0, 0, $("photo").width, $("photo").height);
  $("photo").setAttribute("aria-label", "No photograph yet");
  for (const id of ["results", "rate"]) $(id).classList.add("hidden");
  for (const id of ["empty", "average"]) $(id).classList.remove("hidden");
  setNear(false, false);
  $("whole").setAttribute("aria-pressed", "false");
  space.set(null, null, state.scheme);
}

function setNear(near, possible) {
  state.near = near;
  $("whole").setAttribute("aria-pressed", String(!near));
  $("whole").disabled = !possible;
}

/** Lets the view glide to the chosen face, or to the whole picture. */
function moveTo(near) {
  const { answer, frame, camera } = state;
  setNear(near, answer.faces.length > 0);
  if (camera) return; // it goes there picture by picture
  state.endMove();
  const from = frame ?? framing(answer), to = framing(answer, near ? chosenFace() : null);
  state.endMove = eased(650, (share) => {
    state.frame = between(from, to, share);
    redrawPhoto();
  });
}

/** A part of the way to where the chosen face is now: the camera's view follows it smoothly. */
function follow() {
  state.endMove();
  const { answer, frame } = state;
  const face = chosenFace();
  setNear(state.near && !!face, !!face);
  const to = framing(answer, state.near ? face : null);
  state.frame = frame ? between(frame, to, 0.3) : to;
}

function redrawPhoto() {
  if (state.answer) drawPhoto($("photo"), state.picture, state.answer, state.scheme, state.chosen, state.frame, state.meaning);
}

function redraw() {
  redrawPhoto();
  space.set(chosenFace(), state.answer?.volumes?.[state.chosen], state.scheme, state.meaning);
}

function choose(index) {
  state.chosen = index;
  writeFaces();
  redraw();
  if (state.camera) return;
  if (state.near) moveTo(true);
  space.goTo("rest");
}

function degrees(angle) {
  if (angle === null) return "–";
  const size = Math.abs(angle).toFixed(1);
  return `${angle < 0 && size !== "0.0" ? "−" : ""}${size}°`;
}

/** The table; its rows stay the same elements, so that who stands on a button is not thrown off it. */
function writeFaces() {
  const { faces } = state.answer, body = $("faces");
  while (body.rows.length > faces.length) body.lastElementChild.remove();
  while (body.rows.length < faces.length) body.append(newRow(body.rows.length));
  faces.forEach((face, index) => {
    const mean = face.confidence.reduce((a, b) => a + b, 0) / face.confidence.length;
    const texts = [degrees(face.yaw), degrees(face.pitch), degrees(face.roll), mean.toFixed(2), face.score === null ? "–" : face.score.toFixed(2)];
    const { cells } = body.rows[index];
    const button = cells[0].firstElementChild;
    button.textContent = `${face.id ?? index + 1}`;
    button.setAttribute("aria-label", `Face ${face.id ?? index + 1}: show it in 3D`);
    button.setAttribute("aria-pressed", String(index === state.chosen));
    texts.forEach((text, n) => (cells[n + 1].textContent = text));
  });
  const face = chosenFace();
  $("pose").textContent = face ? poseInWords(face, faces.length > 1) : "";
}

function newRow(index) {
  const row = document.createElement("tr");
  for (let n = 0; n < 6; n++) row.insertCell();
  const button = row.cells[0].appendChild(document.createElement("button"));
  button.className = "small";
  button.addEventListener("click", () => choose(index));
  return row;
}

function poseInWords({ yaw, pitch, roll, id }, several) {
  if (yaw === null || pitch === null || roll === null) return "";
  const part = (angle, words, none) => (Math.abs(angle) < 5 ? none : `${words[angle > 0 ? 0 : 1]} by ${Math.abs(angle).toFixed(0)}°`);
  const parts = [
    part(yaw, ["turned to the picture's left", "turned to the picture's right"], "facing the camera"),
    part(pitch, ["looking up", "looking down"], ""),
    part(roll, ["leaning clockwise", "leaning counter-clockwise"], ""),
  ].filter(Boolean);
  const text = parts.join(", ");
  return several ? `Face ${id ?? state.chosen + 1}: ${text}` : text[0].toUpperCase() + text.slice(1);
}

function setMeaning(meaning) {
  state.meaning = meaning;
  const { ramp, ends } = MEANINGS[meaning];
  $("ramp").style.background = ramp;
  [$("low").textContent, $("high").textContent] = ends;
  $("confidence").setAttribute("aria-pressed", String(meaning === "confidence"));
  redraw();
}

$("confidence").addEventListener("click", () => setMeaning(state.meaning === "depth" ? "confidence" : "depth"));
$("whole").addEventListener("click", () => moveTo(!state.near));
$("photo").addEventListener("click", ({ offsetX, offsetY }) => {
  if (!state.answer) { $("file").click(); return; }
  if (state.answer.faces.length < 2) return;
  const index = faceAt($("photo"), state.answer, offsetX, offsetY);
  if (index >= 0) choose(index);
});
for (const view of ["front", "rest", "side"]) $(view).addEventListener("click", () => space.goTo(view));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => space.draw());
const resized = new ResizeObserver(() => {
  redrawPhoto();
  space.draw();
});
for (const id of ["photo", "shape", "volume"]) resized.observe($(id));

// ---- a picture comes in

$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) look(file, file.name);
  $("file").value = "";
});
$("sample").addEventListener("click", async () => {
  try {
    look(await (await ask("sample.jpg")).blob(), "the sample (Eileen Collins; NASA)");
  } catch (error) {
    tell(error.message, true);
  }
});
document.addEventListener("paste", (event) => {
  if (event.target === $("token")) return;
  const file = [...event.clipboardData.files].find(({ type }) => type.startsWith("image/"));
  if (file) look(file, "the pasted picture");
  else tell("There is no picture on the clipboard.", true);
});
for (const kind of ["dragenter", "dragover"]) document.addEventListener(kind, (event) => {
  event.preventDefault();
  $("drop").classList.add("over");
});
for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
});
document.addEventListener("drop", (event) => {
  const [file] = event.dataTransfer.files;
  if (file) look(file, file.name);
  else tell("That was no file. Save the picture first, then drop its file here.", true);
});

// ---- the camera

$("camera").addEventListener("click", () => (state.camera ? stopCamera() : startCamera()));

/** Turns the camera off; its last picture stays, and is looked at once more for its volume. */
function stopCamera() {
  const { last } = state.camera;
  closeCamera();
  if (last instanceof HTMLCanvasElement) last.toBlob((blob) => look(blob, "its last picture", "The camera is off. "), "image/png");
  else if (last) look(last, "its last picture", "The camera is off. ");
  else tell("The camera is off.");
}

const CAMERA_PROBLEMS = {
  NotAllowedError: "it was not allowed", NotFoundError: "there is none", NotReadableError: "another program may be using it",
};

async function startCamera() {
  const turn = ++state.turn;
  let media;
  try {
    tell("Asking for the camera …");
    if (!navigator.mediaDevices) throw new Error("browsers give it only to https addresses and to this machine itself");
    media = await navigator.mediaDevices.getUserMedia({ video: { width: 640, height: 480 } });
    await loadScheme();
    if (state.where === "browser") await loaded("live");
    if (turn !== state.turn) throw new Error("something else was begun");
    $("video").srcObject = media;
    await $("video").play();
    if (turn !== state.turn) throw new Error("something else was begun");
  } catch (error) {
    media?.getTracks().forEach((track) => track.stop());
    if (turn !== state.turn) return;
    busy(false);
    tell(sentence(`The camera cannot be used: ${CAMERA_PROBLEMS[error.name] ?? error.message}`), true);
    return;
  }
  const camera = { media, frame: null, last: null, times: [], volumeAt: 0, drawing: 0 };
  Object.assign(state, { camera, frame: null, near: false });
  busy(false);
  tell("The camera is on.");
  $("camera").setAttribute("aria-pressed", "true");
  $("camera").textContent = "Stop the camera";
  media.getVideoTracks()[0].addEventListener("ended", () => { if (state.camera === camera) closeCamera("The camera was taken away."); });
  (state.where === "browser" ? followHere : followByService)(camera);
}

/** What was found in the camera's picture, shown. */
function shown(camera, answer, inSpace = true) {
  const now = performance.now(), count = answer.faces.length;
  camera.times = [...camera.times.slice(-20), now];
  show(camera.frame, answer, "The camera's picture", false, inSpace);
  tell(`The camera is on: ${count ? counted(count) : "no face"}.`);
  $("rate").classList.remove("hidden");
  if (camera.times.length > 1) $("rate").textContent = `${((1000 * (camera.times.length - 1)) / (now - camera.times[0])).toFixed(1)} pictures a second`;
}

/** Follows the faces before the camera by the networks in this browser. */
async function followHere(camera) {
  const landmarker = await loaded("live");
  const video = $("video");
  landmarker.reset();
  let before = null; // shown while the worker looks at the next
  while (state.camera === camera) {
    const frame = grabbed(), now = performance.now(), volumes = now - camera.volumeAt > Math.max(VOLUME_EVERY.browser, DRAWING * camera.drawing);
    if (volumes) camera.volumeAt = now;
    const asked = landmarker.track(frame, { volumes });
    try {
      if (before) shownHere(camera, before);
      before = { frame, answer: await asked, volumes };
    } catch (error) {
      if (state.camera === camera) closeCamera(sentence(`The camera was stopped: ${error.message}`));
      return;
    }
    if (video.requestVideoFrameCallback && video.currentTime === camera.seen) await new Promise((next) => video.requestVideoFrameCallback(next));
    camera.seen = video.currentTime;
  }
}

/** A frame and its faces; in space, which takes longest to draw, only those whose volume came along. */
function shownHere(camera, { frame, answer, volumes }) {
  Object.assign(camera, { frame, last: frame });
  const begun = performance.now();
  shown(camera, answer, volumes);
  const { volume } = chosenFace() ?? {};
  if (volume) space.setVolume(volume);
  if (volumes) camera.drawing = performance.now() - begun;
}

/** Sends the camera's pictures to the service, one after the other. */
function followByService(camera) {
  const address = new URL("v1/stream", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address);
  camera.socket = socket;
  socket.addEventListener("open", () => {
    if (state.token) socket.send(JSON.stringify({ token: state.token }));
    sendFrame(camera);
  });
  socket.addEventListener("message", ({ data }) => {
    if (state.camera !== camera) return;
    const answer = JSON.parse(data);
    if (answer.detail) { closeCamera(sentence(`The camera was stopped: ${answer.detail}`)); return; }
    camera.last = camera.sent;
    shown(camera, answer);
    if (answer.faces.length && performance.now() - camera.volumeAt > VOLUME_EVERY.service) lookInside(camera);
    sendFrame(camera);
  });
  socket.addEventListener("close", ({ code, reason }) => {
    if (state.camera !== camera) return;
    closeCamera(reason ? sentence(`The camera was stopped: ${reason}`) : "The service has ended the connection.");
    if (code === 4401) askForToken(startCamera);
  });
}

/** The camera's picture, reduced. */
function grabbed() {
  const video = $("video");
  const scale = Math.min(1, LONGEST_FRAME / Math.max(video.videoWidth, video.videoHeight));
  const frame = document.createElement("canvas");
  Object.assign(frame, { width: Math.round(video.videoWidth * scale), height: Math.round(video.videoHeight * scale) });
  frame.getContext("2d").drawImage(video, 0, 0, frame.width, frame.height);
  return frame;
}

function sendFrame(camera) {
  const frame = grabbed();
  frame.toBlob((blob) => {
    if (state.camera !== camera || camera.socket.readyState !== WebSocket.OPEN) return;
    Object.assign(camera, { frame, sent: blob });
    camera.socket.send(blob);
  }, "image/jpeg", 0.85);
}

/** Asks for the volume of the camera's last picture, now and then. */
async function lookInside(camera) {
  const body = camera.last;
  camera.volumeAt = Infinity; // one at a time
  try {
    const answer = await askForFaces(body);
    const { faces, volumes } = answer.ok ? await answer.json() : { faces: [] };
    const face = chosenFace();
    if (state.camera === camera && face && faces.length) {
      const away = faces.map(({ points }) => Math.hypot(points[0][0] - face.points[0][0], points[0][1] - face.points[0][1]));
      space.setVolume(volumes[away.indexOf(Math.min(...away))]);
    }
  } catch { /* the connection's own end is told */ }
  camera.volumeAt = performance.now();
}

/** Turns the camera off; a text says what went wrong. */
function closeCamera(problem) {
  const { camera } = state;
  if (!camera) return;
  state.camera = null;
  camera.media.getTracks().forEach((track) => track.stop());
  camera.socket?.close();
  $("video").srcObject = null;
  $("camera").setAttribute("aria-pressed", "false");
  $("camera").textContent = "Use the camera";
  $("rate").classList.add("hidden");
  if (problem) tell(problem, true);
}

// ---- downloads

function save(suffix, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  const stem = /\.\w+$/.test(state.name) ? state.name.replace(/\.\w+$/, "") : "landmarks";
  link.download = `${stem}.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

$("save-json").addEventListener("click", () => {
  const { width, height, faces } = state.answer;
  save("json", "application/json", `${JSON.stringify({ width, height, faces })}\n`);
});
$("save-csv").addEventListener("click", () => {
  const lines = state.answer.faces.flatMap((face, f) => face.points.map((p, n) => [face.id ?? f + 1, n, ...p, face.confidence[n]].join(",")));
  save("csv", "text/csv", `face,landmark,x,y,z,confidence\n${lines.join("\n")}\n`);
});
$("save-obj").addEventListener("click", () => {
  let text = "# x right, y up, z towards the camera, in pixels of the picture\n", first = 1;
  state.answer.faces.forEach((face, f) => {
    text += `o face${face.id ?? f + 1}\n${face.points.map(([x, y, z]) => `v ${x} ${-y} ${-z}`).join("\n")}\n`;
    for (const { landmarks, closed } of Object.values(state.scheme?.groups ?? {})) {
      text += `l ${[...landmarks, ...(closed ? [landmarks[0]] : [])].map((n) => n + first).join(" ")}\n`;
    }
    first += face.points.length;
  });
  save("obj", "model/obj", text);
});

// ---- the start

$("depth-ramp").style.background = MEANINGS.depth.ramp;
setMeaning("depth");
findPlaces().then(() => {
  tell("Ready for a photograph.");
  return loadScheme();
}).catch((error) => tell(sentence(error.message), true));
