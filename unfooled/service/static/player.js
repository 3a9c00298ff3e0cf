// The visitor's own file, shown from memory, with the boxes of the faces over it.
"use strict";
import { WORDS, chance, element } from "./parts.js";

const PICTURE = /\.(png|jpe?g|webp|bmp|gif)$/i;

export class Player {
  /**
   * @param {HTMLElement} place where it goes.
   * @param {?File} file null: the page was opened again, the file is not at hand.
   * @param {object} scan the verdict.
   * @param {object} hear note(text): a line for the visitor; at(time): the video has moved.
   */
  constructor(place, file, scan, hear) {
    Object.assign(this, { place, scan, hear, media: null, url: null, over: false });
    place.hidden = true;
    place.replaceChildren();
    if (!file) {
      hear.note("Choose the same file again to see it play here with the boxes over it; its bytes are known, so the result comes at once.");
      return;
    }
    this.url = URL.createObjectURL(file);
    this.still = scan.media ? scan.media.seconds === null : PICTURE.test(file.name);
    this.media = this.still
      ? element("img", { alt: `The picture ${file.name} with a box around each face` })
      : element("video", { controls: true, playsinline: true, preload: "auto", "aria-label": `The video ${file.name} with a box around each face` });
    if (!this.still) this.media.muted = true;
    this.canvas = element("canvas", { "aria-hidden": "true" });
    this.media.addEventListener("error", () => this.unplayable(), { once: true });
    this.media.addEventListener(this.still ? "load" : "loadeddata", () => this.ready(), { once: true });
    this.media.src = this.url;
    place.append(this.media, this.canvas);
  }

  ready() {
    // A file may hold sound alone that a browser can play, in a wrapper whose pictures it can not.
    if (!this.still && !this.media.videoWidth) {
      this.unplayable();
      return;
    }
    this.place.hidden = false;
    this.hear.note("Boxes are drawn between the places where the detector was asked; they follow the face only roughly.");
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(this.media);
    if (!this.still) {
      for (const event of ["seeked", "pause", "timeupdate"]) this.media.addEventListener(event, () => this.draw());
      this.media.addEventListener("seeked", () => this.cutOut());
      this.media.addEventListener("play", () => this.follow());
      this.hear.ready();
    }
    this.draw();
  }

  unplayable() {
    if (this.over) return;
    this.place.hidden = true;
    this.hear.note("This browser can not show this kind of file (FFV1, AVI, old MPEG-4 and some others). The verdict, the scores and the crops of the faces are complete all the same.");
  }

  /** Whether the file is on the screen. */
  get shown() {
    return Boolean(this.media) && !this.place.hidden;
  }

  /** Go to a time; play from there if asked to. A canvas gets the face there, cut out along the box. */
  seek(time, play, box, live) {
    this.wanted = time;
    this.cut = live ? { box, live } : null;
    if (!this.media || this.still || this.place.hidden) return;
    this.media.currentTime = time + 0.001;
    if (play) this.media.play().catch(() => {});
    else this.media.pause();
  }

  cutOut() {
    if (!this.cut) return;
    const { box: [x0, y0, x1, y1], live } = this.cut;
    if (Math.abs(this.media.currentTime - this.wanted) > 0.1) {
      live.replaceWith(element("p", { class: "note" }, "This browser can not go to this place of the file."));
      return;
    }
    const zoom = this.media.videoWidth / this.scan.media.width;
    // As much around the face as the detector's crops have.
    const side = 1.3 * Math.max(x1 - x0, y1 - y0);
    const corner = [(x0 + x1 - side) / 2, (y0 + y1 - side) / 2].map((v) => v * zoom);
    live.getContext("2d").drawImage(this.media, ...corner, side * zoom, side * zoom, 0, 0, live.width, live.height);
    this.cut = null;
  }

  follow() {
    if (this.over || this.media.paused || this.media.ended) return;
    this.draw();
    requestAnimationFrame(() => this.follow());
  }

  draw() {
    if (this.over || this.place.hidden) return;
    const time = this.still ? 0 : this.media.currentTime;
    this.hear.at(time);
    const { width, height } = this.scan.media ?? { width: 0, height: 0 };
    const [cw, ch] = [this.media.clientWidth, this.media.clientHeight];
    if (!width || !cw) return;
    const ratio = window.devicePixelRatio || 1;
    [this.canvas.width, this.canvas.height] = [Math.round(cw * ratio), Math.round(ch * ratio)];
    const pen = this.canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const scale = Math.min(cw / width, ch / height);
    const [left, top] = [(cw - width * scale) / 2, (ch - height * scale) / 2];
    const style = getComputedStyle(document.documentElement);
    pen.font = "600 13px system-ui, sans-serif";
    this.scan.tracks.forEach((track, k) => {
      const box = this.still ? track.points[0]?.box : boxAt(track, time);
      if (!box) return;
      const [x0, y0, x1, y1] = box.map((v, i) => v * scale + (i % 2 ? top : left));
      const colour = style.getPropertyValue(`--${track.verdict}`);
      // A dark line under the coloured one, so that it stands out from any picture.
      for (const [line, wide] of [["#000", 5], [colour, 2.5]]) {
        pen.strokeStyle = line;
        pen.lineWidth = wide;
        pen.strokeRect(x0, y0, x1 - x0, y1 - y0);
      }
      const words = `${k + 1} ${WORDS[track.verdict]} ${chance(track.probability)}`;
      const long = pen.measureText(words).width + 10;
      const at = [Math.max(0, Math.min(x0, cw - long)), y0 > 22 ? y0 - 21 : Math.min(y1 + 3, ch - 20)];
      pen.fillStyle = "rgb(0 0 0 / .78)";
      pen.fillRect(at[0], at[1], long, 19);
      pen.fillStyle = "#fff";
      pen.fillText(words, at[0] + 5, at[1] + 14);
    });
  }

  close() {
    this.over = true;
    this.watch?.disconnect();
    this.media?.removeAttribute("src");
    if (this.url) URL.revokeObjectURL(this.url);
    this.place.replaceChildren();
    this.place.hidden = true;
  }
}

/** The box of a face at a time, on a line between the points around it; none outside its track. */
export function boxAt(track, time) {
  if (time < track.start - 0.05 || time > track.stop + 0.05 || !track.points.length) return null;
  const after = track.points.findIndex((p) => p.time >= time);
  if (after === 0) return track.points[0].box;
  if (after < 0) return track.points[track.points.length - 1].box;
  const [a, b] = [track.points[after - 1], track.points[after]];
  const share = (time - a.time) / (b.time - a.time);
  return a.box.map((v, i) => v + share * (b.box[i] - v));
}
