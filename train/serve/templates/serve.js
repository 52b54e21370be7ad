"use strict";
const find = (id) => document.getElementById(id);
const [drop, file, camera, record, action, preview] = ["drop", "file", "camera", "record", "action", "preview"].map(find);
const [status, error, result, frame] = ["status", "error", "result", "explanation"].map(find);
const { token, megabytes } = find("facts").dataset;
const LONGEST_RECORDING = 10000;
let current = null; // the video that was given last, and its name
let turn = 0; // answers to earlier videos are not shown any more
let recorder = null;

function say(text) { status.textContent = text; }

function fail(text) {
  say("");
  error.textContent = text;
  error.hidden = false;
}

async function answerOf(response) {
  const content = await response.json().catch(() => ({}));
  if (!response.ok) { throw new Error(content.error || `the program answers ${response.status}`); }
  return content;
}

async function send(video, name) {
  const mine = ++turn;
  current = { video, name };
  error.hidden = true;
  result.hidden = true;
  if (video.size > megabytes * 1e6) { fail(`the file is larger than ${megabytes} MB; cut the video, or make it smaller`); return; }
  say(`sending ${name} ...`);
  try {
    const query = new URLSearchParams({ name, action: action.value });
    const headers = { "X-LSViT-Token": token, "Content-Type": "application/octet-stream" };
    const { number } = await answerOf(await fetch(`/videos?${query}`, { method: "POST", headers, body: video }));
    await follow(number, mine, name);
  } catch (reason) {
    if (mine === turn) { fail(reason instanceof TypeError ? "the program has been ended; start it again" : reason.message); }
  }
}

async function follow(number, mine, name) {
  while (mine === turn) {
    const content = await answerOf(await fetch(`/videos/${number}`));
    if (mine !== turn) { return; }
    if (content.state === "done") { show(number, content.predictions, name); return; }
    if (content.state === "failed") { fail(`${name}: ${content.error}`); return; }
    const waits = content.state === "waiting" && content.position > 0;
    say(waits ? `${name} waits; ${content.position} before it` : `looking at ${name} ...`);
    await new Promise((done) => { setTimeout(done, 300); });
  }
}

function show(number, predictions, name) {
  say(`${name} is answered.`);
  find("action-name").textContent = predictions[0].action;
  find("percent").textContent = `${(100 * predictions[0].probability).toFixed(2)} %`;
  frame.src = `/videos/${number}/explanation`;
  find("open").href = frame.src;
  result.hidden = false;
}

frame.addEventListener("load", () => {
  const page = frame.contentDocument;
  if (page && page.body) { frame.style.height = `${page.documentElement.scrollHeight + 4}px`; }
});

function look(video, name) {
  stopCamera();
  preview.srcObject = null;
  URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(video);
  preview.controls = true;
  preview.hidden = false;
  send(video, name);
}

preview.addEventListener("error", () => { if (!preview.srcObject) { preview.hidden = true; } }); // what no browser plays
file.addEventListener("change", () => { if (file.files.length) { look(file.files[0], file.files[0].name); } });
action.addEventListener("change", () => { if (current) { send(current.video, current.name); } });
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", kind === "dragover");
    if (kind !== "drop") { return; }
    if (event.dataTransfer.files.length) { look(event.dataTransfer.files[0], event.dataTransfer.files[0].name); }
  });
}

function stopCamera() {
  if (preview.srcObject) { preview.srcObject.getTracks().forEach((track) => track.stop()); }
  record.hidden = true;
  camera.hidden = false;
}

camera.addEventListener("click", async () => {
  turn += 1;
  error.hidden = true;
  result.hidden = true;
  say("");
  if (!navigator.mediaDevices || !window.MediaRecorder) { fail("this browser gives no camera to pages; choose a file"); return; }
  try {
    const stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 640 } }, audio: false });
    preview.removeAttribute("src");
    preview.srcObject = stream;
    preview.controls = false;
    preview.hidden = false;
    await preview.play();
    record.textContent = "record";
    record.hidden = false;
    camera.hidden = true;
  } catch (reason) {
    fail(`no camera: ${reason.message || reason.name}; allow it for this page, or choose a file`);
  }
});

record.addEventListener("click", () => {
  if (recorder && recorder.state === "recording") { recorder.stop(); return; }
  const pieces = [];
  recorder = new MediaRecorder(preview.srcObject);
  recorder.addEventListener("dataavailable", (event) => { pieces.push(event.data); });
  recorder.addEventListener("stop", () => {
    record.classList.remove("on");
    const kind = recorder.mimeType.split(";")[0];
    look(new Blob(pieces, { type: kind }), `camera.${kind === "video/mp4" ? "mp4" : "webm"}`);
  });
  recorder.start();
  record.textContent = "stop";
  record.classList.add("on");
  say(`recording, at most ${LONGEST_RECORDING / 1000} s ...`);
  setTimeout(() => { if (recorder.state === "recording") { recorder.stop(); } }, LONGEST_RECORDING);
});
