// The scores of each face over time: a drawing that is a slider for the keyboard and for screen readers, and a table.
"use strict";
import { WORDS, chance, clock, drawn, element } from "./parts.js";

const HEIGHT = 120, TOP = 8, BOTTOM = 20, LEFT = 34, RIGHT = 10, SHOWN = 6;

export class Timeline {
  /**
   * @param {HTMLElement} place where it goes.
   * @param {object} scan the verdict.
   * @param {object} hear choose(track, point, play): a point was chosen; picture(name): the address of a picture.
   */
  constructor(place, scan, hear) {
    this.scan = scan;
    this.hear = hear;
    const end = scan.media?.seconds ?? 0;
    this.end = Math.max(end, ...scan.tracks.map((t) => t.stop), 0.1);
    // The face that looks most fake comes first, as it speaks loudest.
    const order = scan.tracks.map((track, k) => [track, k]).sort((a, b) => b[0].logit - a[0].logit);
    this.rows = order.map(([track, k]) => this.row(track, k));
    place.replaceChildren(...this.rows.slice(0, SHOWN).map((row) => row.home));
    const more = this.rows.slice(SHOWN);
    if (more.length) {
      const button = element("button", { type: "button", class: "plain" }, `Show ${more.length} more faces`);
      button.addEventListener("click", () => {
        button.replaceWith(...more.map((row) => row.home));
        more[0].chart.focus();
      });
      place.append(button);
    }
    this.watch = new ResizeObserver(() => this.rows.forEach((row) => this.draw(row)));
    this.watch.observe(place);
  }

  row(track, k) {
    const title = `Face ${k + 1}`;
    const chart = drawn("svg", {
      class: "chart", role: "slider", tabindex: 0, "aria-label": `${title}, score over time`,
      "aria-valuemin": 1, "aria-valuemax": track.points.length, "aria-describedby": "timeline-help",
    });
    const thumbs = element("ul", { class: "thumbs", "aria-label": `Telling frames of face ${k + 1}` });
    const home = element("div", { class: "face" },
      element("p", { class: "face-head" },
        element("b", {}, title),
        element("span", { class: `word-${track.verdict}` }, WORDS[track.verdict]),
        element("span", {}, `P(fake) ${chance(track.probability)}`),
        element("span", {}, this.scan.media?.seconds == null ? "" : `${clock(track.start)} to ${clock(track.stop)}`)),
      chart, thumbs, table(track, title));
    const row = { track, k, home, chart, thumbs, chosen: 0, dots: [], now: null };
    row.chosen = track.points.reduce((best, p, i) => (p.logit > track.points[best].logit ? i : best), 0);
    for (const telling of track.telling.filter((t) => t.crop)) {
      const button = element("button", { type: "button", "aria-pressed": "false" },
        element("img", { src: this.hear.picture(telling.crop), alt: "", width: 64, height: 64 }),
        element("span", {}, clock(telling.time)));
      button.setAttribute("aria-label", `Face ${k + 1} at ${clock(telling.time)}, a telling frame`);
      button.addEventListener("click", () => this.choose(row, nearest(track.points, telling.time), false));
      button.dataset.frame = telling.frame;
      thumbs.append(element("li", {}, button));
    }
    chart.addEventListener("keydown", (event) => this.key(row, event));
    chart.addEventListener("pointerdown", (event) => {
      const x = event.clientX - chart.getBoundingClientRect().left;
      const time = ((x - LEFT) / (row.width - LEFT - RIGHT)) * this.end;
      chart.focus({ preventScroll: true });
      this.choose(row, nearest(track.points, time), false);
    });
    this.say(row);
    return row;
  }

  key(row, event) {
    const last = row.track.points.length - 1;
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 5, PageDown: -5, Home: -last, End: last };
    if (event.key === "Enter" || event.key === " ") this.choose(row, row.chosen, true);
    else if (event.key in steps) this.choose(row, Math.min(last, Math.max(0, row.chosen + steps[event.key])), false);
    else return;
    event.preventDefault();
  }

  /** Choose a point; tells the listener. */
  choose(row, index, play) {
    row.chosen = index;
    for (const other of this.rows) {
      other.active = other === row;
      this.mark(other);
    }
    this.say(row);
    this.hear.choose(row.track, row.k, row.track.points[index], play);
  }

  /** Choose the loudest point of all. */
  begin() {
    if (this.rows.length) this.choose(this.rows[0], this.rows[0].chosen, false);
  }

  /** Tell of the chosen point once more: the video has become ready to show it. */
  again() {
    const row = this.rows.find((other) => other.active);
    if (row) this.choose(row, row.chosen, false);
  }

  say(row) {
    const point = row.track.points[row.chosen];
    row.chart.setAttribute("aria-valuenow", row.chosen + 1);
    row.chart.setAttribute("aria-valuetext", `${clock(point.time)}, P(fake) ${chance(point.probability)}, point ${row.chosen + 1} of ${row.track.points.length}`);
  }

  draw(row) {
    const width = row.chart.clientWidth || 600;
    row.width = width;
    row.chart.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const { fake_above: upper, real_below: lower } = this.scan.thresholds;
    const x = (time) => LEFT + (time / this.end) * (width - LEFT - RIGHT);
    const y = (p) => TOP + (1 - p) * (HEIGHT - TOP - BOTTOM);
    row.x = x;
    const band = (name, high, low) => drawn("rect", { class: name, x: LEFT, width: width - LEFT - RIGHT, y: y(high), height: Math.max(0, y(low) - y(high)) });
    const edge = (p) => drawn("line", { class: "edge", x1: LEFT, x2: width - RIGHT, y1: y(p), y2: y(p) });
    const parts = [band("band-fake", 1, upper), band("band-mid", upper, lower), band("band-real", lower, 0), edge(upper), edge(lower)];
    const text = (px, py, anchor, words) => drawn("text", { x: px, y: py, "text-anchor": anchor }, words);
    parts.push(text(LEFT - 5, TOP + 9, "end", "fake"), text(LEFT - 5, HEIGHT - BOTTOM, "end", "real"));
    if (this.scan.media?.seconds != null) {
      const ticks = Math.max(1, Math.min(6, Math.floor(width / 140)));
      for (let k = 0; k <= ticks; k += 1) {
        parts.push(text(x((this.end * k) / ticks), HEIGHT - 5, k === 0 ? "start" : k === ticks ? "end" : "middle", clock((this.end * k) / ticks)));
      }
    }
    const points = row.track.points;
    parts.push(drawn("polyline", { class: "line", points: points.map((p) => `${x(p.time)},${y(p.probability)}`).join(" ") }));
    row.dots = points.map((p) => {
      const word = p.probability > upper ? "fake" : p.probability < lower ? "real" : "undecided";
      return drawn("circle", { class: `dot ${word}`, cx: x(p.time), cy: y(p.probability), r: 4.5 });
    });
    row.now = drawn("line", { class: "now", x1: -9, x2: -9, y1: TOP, y2: HEIGHT - BOTTOM });
    row.chart.replaceChildren(...parts, ...row.dots, row.now);
    this.mark(row);
    if (this.time !== undefined) this.at(this.time);
  }

  mark(row) {
    row.dots.forEach((dot, k) => {
      const chosen = row.active && k === row.chosen;
      dot.classList.toggle("chosen", chosen);
      dot.setAttribute("r", chosen ? 7 : 4.5);
    });
    const frame = row.active ? row.track.points[row.chosen].frame : -1;
    for (const button of row.thumbs.querySelectorAll("button")) button.setAttribute("aria-pressed", String(Number(button.dataset.frame) === frame));
  }

  /** Show where the video is. */
  at(time) {
    this.time = time;
    for (const row of this.rows) {
      if (!row.now) continue;
      row.now.setAttribute("x1", row.x(Math.min(time, this.end)));
      row.now.setAttribute("x2", row.x(Math.min(time, this.end)));
    }
  }

  close() {
    this.watch.disconnect();
  }
}

function nearest(points, time) {
  return points.reduce((best, p, k) => (Math.abs(p.time - time) < Math.abs(points[best].time - time) ? k : best), 0);
}

function table(track, title) {
  const heads = ["time", "frame", "logit", "P(fake)"].map((name) => element("th", { scope: "col" }, name));
  const rows = track.points.map((p) => element("tr", {},
    element("td", {}, clock(p.time)), element("td", {}, String(p.frame)),
    element("td", {}, p.logit.toFixed(3)), element("td", {}, p.probability.toFixed(4))));
  return element("details", {},
    element("summary", {}, `Show the numbers of ${title.toLowerCase()}`),
    element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Scores of ${title.toLowerCase()}` },
      element("table", {}, element("caption", {}, `${title}: where the detector was asked, and what it said`),
        element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows))));
}
