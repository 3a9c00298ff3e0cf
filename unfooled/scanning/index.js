"use strict";
// Draws one page of the table at a time, so that tens of thousands of files stay quick; asks nothing of the network.
(() => {
  const PER_PAGE = 200;
  const rows = JSON.parse(document.getElementById("rows").textContent);
  // A row: name, outcome, P(fake), margin, fragile, noise flagged, faces, seconds, reason, same bytes as, evidence.
  const [FILE, OUTCOME, FAKE, MARGIN, FRAGILE, FLAGGED, FACES, SECONDS, REASON, SAME, LINK] = rows.length ? rows[0].keys() : [];
  const RANK = ["fake", "undecided", "real"];
  const KEYS = [
    (row) => row[FILE], (row) => (RANK.includes(row[OUTCOME]) ? RANK.indexOf(row[OUTCOME]) : row[OUTCOME]),
    (row) => row[FAKE], (row) => row[MARGIN], (row) => row[FACES], (row) => row[SECONDS], (row) => knowing(row).join(),
  ];
  const heads = [...document.querySelectorAll("#table th")];
  const body = document.querySelector("#table tbody");
  const [search, shown, back, on] = ["search", "shown", "back", "on"].map((id) => document.getElementById(id));
  let outcome = "", order = null, down = false, first = 0, found = rows;

  function knowing(row) {
    const told = [];
    if (row[REASON]) told.push(row[REASON]);
    if (row[FLAGGED]) told.push("possible adversarial noise");
    if (row[FRAGILE]) told.push("fragile: a change that no one sees turns it");
    if (row[SAME]) told.push(`same bytes as ${row[SAME]}`);
    return told;
  }

  function compare(p, q) {
    // What does not exist comes last, whichever way.
    if (p === null || q === null || p === "" || q === "") return ((p === null || p === "") - (q === null || q === "")) * (down ? -1 : 1);
    if (typeof p === "number" && typeof q === "number") return p - q;
    if (typeof p !== typeof q) return typeof p === "number" ? -1 : 1;
    return p < q ? -1 : p > q ? 1 : 0;
  }

  function choose() {
    const wanted = search.value.toLowerCase();
    found = rows.filter((row) => (!outcome || row[OUTCOME] === outcome) && (!wanted || row[FILE].toLowerCase().includes(wanted)));
    if (order !== null) {
      const key = KEYS[order];
      found = found.map((row) => [key(row), row]).sort((a, b) => (down ? -1 : 1) * compare(a[0], b[0])).map((pair) => pair[1]);
    }
    first = 0;
    draw();
  }

  function cell(text, kind) {
    const td = document.createElement("td");
    td.textContent = text;
    if (kind) td.className = kind;
    return td;
  }

  const number = (value, digits) => (value === null ? "–" : value.toFixed(digits));

  function draw() {
    body.replaceChildren(...found.slice(first, first + PER_PAGE).map((row) => {
      const tr = document.createElement("tr");
      const file = cell(row[LINK] ? "" : row[FILE], "text");
      if (row[LINK]) {
        const link = document.createElement("a");
        link.href = `evidence/${row[LINK]}/index.html`;
        link.textContent = row[FILE];
        file.append(link);
      }
      const verdict = cell("", "text");
      const word = document.createElement("span");
      word.className = `word o-${row[OUTCOME]}`;
      word.textContent = row[OUTCOME].replaceAll("_", " ");
      verdict.append(word);
      tr.append(
        file, verdict, cell(number(row[FAKE], 3)), cell(number(row[MARGIN], 2), row[FRAGILE] ? "warn" : ""),
        cell(RANK.includes(row[OUTCOME]) ? row[FACES] : "–"), cell(number(row[SECONDS], 1)), cell(knowing(row).join("; "), "text small"),
      );
      return tr;
    }));
    const last = Math.min(first + PER_PAGE, found.length);
    shown.textContent = found.length ? `${(first + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${found.length.toLocaleString("en")}` : "no file";
    back.disabled = first === 0;
    on.disabled = last === found.length;
  }

  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      // A first click shows the highest of numbers, and A to Z of names.
      down = order === column ? !down : [2, 4, 5].includes(column);
      order = column;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      choose();
    });
  });
  const buttons = [...document.querySelectorAll("#counts button")];
  for (const button of buttons) {
    button.addEventListener("click", () => {
      outcome = button.dataset.outcome;
      buttons.forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
      choose();
    });
  }
  search.addEventListener("input", choose);
  back.addEventListener("click", () => { first -= PER_PAGE; draw(); });
  on.addEventListener("click", () => { first += PER_PAGE; draw(); });
  choose();
})();
