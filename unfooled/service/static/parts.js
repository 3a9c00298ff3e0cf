// Small tools that the other files share.
"use strict";

export const byId = (id) => document.getElementById(id);

/** An element with attributes and children; text is never read as HTML. */
export function element(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for a drawing. */
export function drawn(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Seconds as m:ss.t, with hours where there are any. */
export function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  const [hours, minutes, rest] = [Math.floor(tenths / 36000), Math.floor(tenths / 600) % 60, tenths % 600];
  const tail = `${(rest / 10).toFixed(1).padStart(4, "0")}`;
  return hours ? `${hours}:${String(minutes).padStart(2, "0")}:${tail}` : `${minutes}:${tail}`;
}

export const percent = (share) => `${Math.round(100 * share)} %`;

/** A probability with two digits, never rounded to certainty. */
export function chance(p) {
  if (p > 0.995 && p < 1) return "> 0.99";
  if (p < 0.005 && p > 0) return "< 0.01";
  return p.toFixed(2);
}

export function size(bytes) {
  return bytes >= 1e9 ? `${+(bytes / 1e9).toFixed(1)} GB` : bytes >= 1e6 ? `${+(bytes / 1e6).toFixed(1)} MB` : `${Math.ceil(bytes / 1e3)} kB`;
}

export const WORDS = { fake: "looks fake", real: "looks real", undecided: "undecided" };
