"use strict";
// Draws the charts that Python described, and sorts tables; asks nothing of the network.
(async () => {
  const { config, charts } = JSON.parse(document.getElementById("charts").textContent);
  const options = {
    mode: "vega-lite", renderer: "svg", actions: false, defaultStyle: false, config,
    ast: true, // expressions are interpreted, so the page needs no eval
    tooltip: { disableDefaultStyle: true },
  };
  let drawn = 0;
  for (const place of document.querySelectorAll("[data-chart]")) {
    try {
      await vegaEmbed(place, charts[place.dataset.chart], options);
      drawn += 1;
    } catch (error) {
      place.textContent = "This chart could not be drawn; its numbers are in the table below it.";
      console.error(error);
    }
  }
  document.documentElement.dataset.drawn = String(drawn);
})();

// Paper has nothing to click on.
addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details.paper")) part.open = true;
});

for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const number = head.dataset.kind === "number";
      // A first click shows what is best of numbers, and A to Z of names.
      const before = head.getAttribute("aria-sort");
      const down = before ? before === "ascending" : number;
      const value = (row) => row.cells[column].dataset.value ?? "";
      const rows = [...table.tBodies[0].rows].sort((a, b) => {
        const [p, q] = [value(a), value(b)];
        if (p === "" || q === "") return (p === "") - (q === "");
        const order = number ? Number(p) - Number(q) : p.localeCompare(q);
        return down ? -order : order;
      });
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      table.tBodies[0].append(...rows);
    });
  });
}
