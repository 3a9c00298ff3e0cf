// A verdict in words and numbers.
"use strict";
import { byId, chance, clock, drawn, element, percent } from "./parts.js";

const TITLES = { fake: "Looks fake", real: "Looks real", undecided: "Undecided" };
const NONE = {
  no_face: "No face was found", too_short: "Too short for a verdict", unreadable: "The file can not be read",
  refused: "The file is beyond the limits", no_score: "The detector gave no score",
};

/** Fill the section of the verdict. */
export function show(scan) {
  byId("file-name").textContent = scan.file;
  byId("verdict").className = scan.verdict ?? "none";
  byId("verdict-title").textContent = scan.verdict ? TITLES[scan.verdict] : NONE[scan.status] ?? "No verdict";
  byId("verdict-text").textContent = scan.verdict ? sentence(scan) : `There is no verdict: the file ${scan.reason}.`;
  gauge(scan);
  const cautions = byId("cautions");
  cautions.hidden = !scan.cautions.length;
  cautions.querySelector("ul").replaceChildren(...scan.cautions.map((text) => element("li", {}, text)));
  byId("facts").replaceChildren(...facts(scan).map(([label, value, text]) => element("li", {},
    element("span", { class: "label" }, label), element("b", {}, value), element("span", {}, text))));
}

function sentence(scan) {
  const { fake_above: upper, real_below: lower, target_fpr: target } = scan.thresholds;
  const many = scan.tracks.length > 1;
  const who = scan.rule === "max" ? (many ? "the face that looks most fake" : "the face") : (many ? "the largest face" : "the face");
  const number = scan.detector.calibrated ? `P(fake) of ${chance(scan.probability)}` : `raw score of ${chance(scan.probability)}`;
  const where = {
    fake: `above the threshold of ${chance(upper)} from which this detector says fake`,
    real: `below the threshold of ${chance(lower)} under which this detector says real`,
    undecided: `between its thresholds of ${chance(lower)} and ${chance(upper)}: it can not tell`,
  }[scan.verdict];
  const rate = target == null ? "" : ` The upper threshold was set so that ${+(100 * target).toFixed(2)} % of the real files of its calibration lie above it.`;
  return `For ${who} the detector gives a ${number}, ${where}.${rate}`;
}

/** A line from 0 to 1 with both thresholds and the file's place on it. */
function gauge(scan) {
  const place = byId("gauge");
  place.hidden = !scan.verdict;
  if (!scan.verdict) return;
  const { fake_above: upper, real_below: lower } = scan.thresholds;
  const bar = (from, to, colour) => drawn("rect", { x: `${100 * from}%`, width: `${100 * Math.max(0, to - from)}%`, y: 14, height: 12, fill: `var(--${colour})` });
  place.replaceChildren(drawn("svg", { height: 48, role: "img", "aria-label": `${chance(scan.probability)} on a line from 0, real, to 1, fake; real below ${chance(lower)}, fake above ${chance(upper)}` },
    bar(0, lower, "real"), bar(lower, upper, "undecided"), bar(upper, 1, "fake"),
    drawn("rect", { x: `${100 * scan.probability}%`, y: 7, width: 4, height: 26, transform: "translate(-2 0)", fill: "var(--ink)", stroke: "var(--card)" }),
    drawn("text", { x: "0%", y: 46, "font-size": 12, fill: "var(--muted)" }, "0 real"),
    drawn("text", { x: "100%", y: 46, "font-size": 12, fill: "var(--muted)", "text-anchor": "end" }, "1 fake")));
}

function facts(scan) {
  const rows = [];
  if (scan.margin) rows.push(["Change that turns it", ...margin(scan.margin)]);
  if (scan.tampering) rows.push(["Signs of tampering", ...tampering(scan.tampering)]);
  if (scan.verdict) rows.push(["Faces", String(scan.tracks.length), scan.rule === "max" ? "the one that looks most fake speaks for the file" : "the largest speaks for the file"]);
  if (scan.media) {
    const { width, height, frames, fps, seconds } = scan.media;
    rows.push(["File", `${width} x ${height}`, seconds == null ? "one picture" : `${frames} frames, ${clock(seconds)}${fps ? `, ${+fps.toFixed(2)} a second` : ""}`]);
  }
  rows.push(["Detector", scan.detector.name, `${scan.detector.calibrated ? "Calibrated" : "Not calibrated"}. ${scan.detector.note}`]);
  return rows;
}

/** The margin as a value and a sentence. */
export function margin(found) {
  if (found.linf_255 === null && !found.searched_255) return ["not searched", `${found.attack}.`];
  if (found.linf_255 === null) return ["none found", `up to ${+found.searched_255.toPrecision(2)}/255 by ${found.attack}`];
  const value = `${found.linf_255 < 0.095 ? "< 0.1" : +found.linf_255.toPrecision(2)}/255`;
  const why = found.survives_rounding
    ? (found.fragile ? "Fragile: noise that nobody sees turns this verdict." : "A change of this size in the pixels turns this verdict.")
    : "Very fragile, though so small a change is lost when the file is saved with 8 bits.";
  return [value, `${why} Found by ${found.attack}; a better search may find a smaller one.`];
}

function tampering(found) {
  const rates = found.detection_rate === null ? " How often this flag is right was not measured." : ` It flags ${percent(found.detection_rate)} of attacked files and ${percent(found.false_alarm_rate ?? 0)} of honest ones.`;
  const jump = `The score moves by ${found.jump.toFixed(2)} after mild JPEG and resizing`;
  if (found.limit === null) return ["not judged", `${jump}. Without calibration nobody knows how much is usual.`];
  return found.flagged
    ? ["possible", `${jump}, beyond ${found.limit.toFixed(2)}: somebody may have added noise to mislead the detector.${rates}`]
    : ["none", `${jump}, within ${found.limit.toFixed(2)}.${rates}`];
}

/** What is known of one point of a face; returns a canvas for the face as the video shows it, where one is wanted. */
export function detail(scan, track, k, point, picture, playing) {
  const pictured = track.telling.filter((t) => t.crop);
  const near = pictured.length ? pictured.reduce((a, b) => (Math.abs(b.frame - point.frame) < Math.abs(a.frame - point.frame) ? b : a)) : null;
  const rows = [["P(fake)", `${chance(point.probability)} (logit ${point.logit.toFixed(2)})`]];
  if (scan.media?.seconds != null) rows.push(["Frame", String(point.frame)]);
  if (scan.margin) rows.push(["Turned by", margin(scan.margin)[0]]);
  const same = near && near.frame === point.frame;
  const when = near && (same ? "this frame" : `at ${clock(near.time)}`);
  const framed = (inside, words) => element("figure", {}, inside, element("figcaption", {}, words));
  const figure = (name, alt, words) => framed(element("img", { src: picture(name), alt }), words);
  // No picture was kept of this point; the video itself may still show the face.
  const live = playing && !same ? element("canvas", { width: 224, height: 224, role: "img", "aria-label": `Face ${k + 1} in your file` }) : null;
  byId("detail").replaceChildren(...[
    element("h3", {}, scan.media?.seconds == null ? `Face ${k + 1}` : `Face ${k + 1} at ${clock(point.time)}`),
    live ? element("div", { class: "pair" }, framed(live, "cut from your file, this frame")) : near ? element("div", { class: "pair" },
      figure(near.crop, `Face ${k + 1} as the detector saw it, ${when}`, `as the detector saw it, ${when}`),
      figure(near.saliency ?? near.crop, "The same face; bright places moved the score most", "bright: what moved the score")) : null,
    element("dl", {}, ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
    near && !same ? element("p", { class: "note" }, live ? "A saliency map is made of the telling frames only, those with a picture below the line." : "No picture was kept of this point; the nearest telling one is shown.") : null,
  ].filter(Boolean));
  return live;
}
