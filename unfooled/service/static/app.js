// From a file to its verdict: upload, wait, show. Asks nothing but this service.
"use strict";
import { Player } from "./player.js";
import { Timeline } from "./timeline.js";
import { byId, element, percent, size } from "./parts.js";
import { detail, show } from "./verdict.js";

const STAGES = {
  starting: "Opening the file", faces: "Looking for faces", crops: "Cutting the faces out", scores: "Asking the detector",
  evidence: "Drawing what it looked at", tampering: "Trying mild changes", margin: "Searching for the smallest change that turns the verdict",
};
// What a stage takes of the whole, so that the bar does not run back.
const SHARES = { starting: [0, 0], faces: [0, 0.6], crops: [0.6, 0.1], scores: [0.7, 0.05], evidence: [0.75, 0.05], tampering: [0.8, 0.05], margin: [0.85, 0.15] };
const FIRST = 250, LAST = 2000;

let limits = null, job = null, player = null, timeline = null, sending = null, turn = 0, blob = null;

const say = (text) => { if (byId("status").textContent !== text) byId("status").textContent = text; };
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

function complain(text) {
  byId("problem").textContent = text;
  if (text) say("");
}

function busy(is) {
  byId("drop").classList.toggle("busy", is);
  byId("file").disabled = is;
  byId("progress").hidden = !is;
}

function bars(upload, scan) {
  for (const [name, share] of [["upload", upload], ["scan", scan]]) {
    byId(`${name}-bar`).value = share;
    byId(`${name}-share`).textContent = percent(share);
  }
}

function clear() {
  player?.close();
  timeline?.close();
  player = timeline = null;
  byId("result").hidden = true;
  complain("");
}

/** Send a file and show what comes of it. */
async function scan(file) {
  const mine = ++turn;
  clear();
  job = null;
  if (limits && file.size > limits.max_upload) {
    complain(`${file.name} has ${size(file.size)}; this service takes files up to ${size(limits.max_upload)}.`);
    return;
  }
  busy(true);
  bars(0, 0);
  say(`Sending ${file.name}`);
  try {
    let answer;
    while ((answer = await send(file)).status === 429 && mine === turn) {
      const pause = Number(answer.retry) || 5;
      say(`${answer.body.error} Trying again in ${pause} s.`);
      await sleep(1000 * pause);
    }
    if (mine !== turn) return;
    if (answer.status !== 200 && answer.status !== 202) throw new Error(answer.body.error ?? `the service answered ${answer.status}`);
    job = answer.body;
    history.replaceState(null, "", `#${job.id}`);
    await follow(job.id, file, mine);
  } catch (error) {
    if (mine !== turn) return;
    busy(false);
    complain(`${file.name}: ${error.message}`);
  }
}

function send(file) {
  return new Promise((done, failed) => {
    sending = new XMLHttpRequest();
    sending.open("POST", "v1/scan");
    sending.responseType = "json";
    sending.upload.onprogress = (event) => { if (event.lengthComputable) bars(event.loaded / event.total, 0); };
    sending.onload = () => done({ status: sending.status, body: sending.response ?? {}, retry: sending.getResponseHeader("Retry-After") });
    sending.onerror = () => failed(new Error("the service can not be reached; is it still running?"));
    const form = new FormData();
    form.append("file", file, file.name);
    sending.send(form);
  });
}

/** Ask until there is a result. */
async function follow(id, file, mine) {
  let pause = FIRST;
  while (mine === turn) {
    let answer;
    try {
      answer = await fetch(`v1/scan/${encodeURIComponent(id)}`);
    } catch {
      say("No answer from the service; asking again. What it was given is not lost.");
      await sleep(LAST);
      continue;
    }
    const found = await answer.json().catch(() => ({}));
    if (mine !== turn) return;
    if (!answer.ok) {
      if (answer.status >= 500) { await sleep(LAST); continue; }
      busy(false);
      history.replaceState(null, "", location.pathname);
      complain(answer.status === 404 ? "This result is not there any more: it was removed, or the address is not complete." : found.error);
      return;
    }
    job = found;
    if (found.state === "done" || found.state === "failed") {
      busy(false);
      finish(found, file);
      return;
    }
    busy(true);
    if (found.state === "queued") {
      say(found.ahead ? `Waiting: ${found.ahead} ${found.ahead === 1 ? "file" : "files"} before this one` : "Waiting for its turn");
      bars(1, 0);
    } else {
      const [from, part] = SHARES[found.stage] ?? [0, 0];
      bars(1, from + part * found.share);
      say(STAGES[found.stage] ?? found.stage);
    }
    await sleep(pause);
    pause = Math.min(LAST, pause * 1.15);
  }
}

function finish(found, file) {
  if (found.state === "failed") {
    complain(`There is no verdict on ${found.name}: ${found.reason}.`);
    return;
  }
  const verdict = found.scan;
  const picture = (name) => `${found.evidence.replace(/^\//, "")}${encodeURIComponent(name)}`;
  show(verdict);
  byId("result").hidden = false;
  byId("seen").hidden = !verdict.tracks.length;
  if (blob) URL.revokeObjectURL(blob);
  blob = URL.createObjectURL(new Blob([`${JSON.stringify(verdict, null, 1)}\n`], { type: "application/json" }));
  Object.assign(byId("download"), { href: blob, download: `${verdict.file}.json` });
  if (verdict.tracks.length) {
    player = new Player(byId("stage"), file, verdict, {
      note: (text) => { byId("stage-note").textContent = text; },
      at: (time) => timeline?.at(time),
      ready: () => timeline?.again(),
    });
    timeline = new Timeline(byId("timeline"), verdict, {
      picture,
      choose: (track, k, point, play) => {
        const live = detail(verdict, track, k, point, picture, player.shown && !player.still);
        player.seek(point.time, play, point.box, live);
      },
    });
    timeline.begin();
  }
  say(`Done: ${byId("verdict-title").textContent}`);
  byId("verdict-title").focus({ preventScroll: true });
  byId("result").scrollIntoView({ block: "start" });
}

/** Stop what is being done, and have the service forget the file. */
async function forget() {
  const id = job?.id;
  turn += 1;
  sending?.abort();
  clear();
  busy(false);
  job = null;
  history.replaceState(null, "", location.pathname);
  byId("file").value = "";
  if (id) {
    const answer = await fetch(`v1/scan/${encodeURIComponent(id)}`, { method: "DELETE" }).catch(() => null);
    if (!answer || (!answer.ok && answer.status !== 404)) {
      complain("The service did not confirm that it removed the file.");
      return;
    }
  }
  say(id ? "Removed from the service." : "Stopped.");
  byId("file").focus();
}

function listen() {
  const drop = byId("drop");
  byId("file").addEventListener("change", (event) => { if (event.target.files.length) scan(event.target.files[0]); });
  for (const name of ["dragenter", "dragover"]) {
    addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  }
  for (const name of ["dragleave", "drop"]) addEventListener(name, () => drop.classList.remove("over"));
  addEventListener("drop", (event) => {
    event.preventDefault();
    const files = event.dataTransfer?.files ?? [];
    if (byId("file").disabled) return;
    if (files.length === 1) scan(files[0]);
    else if (files.length) complain("One file at a time, please; for folders there is unfooled scan.");
  });
  byId("cancel").addEventListener("click", forget);
  byId("remove").addEventListener("click", forget);
}

async function begin() {
  listen();
  try {
    const health = await (await fetch("v1/health")).json();
    limits = health.limits;
    byId("version").textContent = health.version;
    byId("who").textContent = `Detector: ${health.detector.name}, ${health.detector.calibrated ? "calibrated" : "not calibrated"}. ${health.detector.note}`;
    byId("limits").append(element("span", {}, ` Up to ${size(limits.max_upload)}.`));
  } catch {
    complain("The service can not be reached; is it still running?");
  }
  const id = location.hash.slice(1);
  if (/^[\w-]{16,64}$/.test(id)) await follow(id, null, ++turn);
  document.documentElement.dataset.ready = "yes";
}

begin();
