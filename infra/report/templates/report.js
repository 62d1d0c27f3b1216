"use strict";
// Without this script the page still shows everything: all pictures below each other, the line in their middle.

for (const range of document.querySelectorAll(".compare input")) {
  range.addEventListener("input", () => range.parentElement.style.setProperty("--at", range.value + "%"));
}

// One picture at a time, chosen by its thumbnail.
const figures = [...document.querySelectorAll(".viewer figure")];
if (figures.length > 1) {
  const thumbs = document.createElement("div");
  thumbs.className = "thumbs";
  const show = (chosen) => figures.forEach((figure, place) => {
    figure.hidden = place !== chosen;
    thumbs.children[place].setAttribute("aria-pressed", place === chosen);
  });
  figures.forEach((figure, place) => {
    const button = document.createElement("button");
    const picture = document.createElement("img");
    button.type = "button";
    button.title = figure.querySelector("bdi").textContent;
    picture.src = figure.querySelector(".before").src;
    picture.alt = "Show " + button.title;
    button.append(picture);
    button.addEventListener("click", () => show(place));
    thumbs.append(button);
  });
  figures[0].parentElement.append(thumbs);
  show(0);
}

// Finding, choosing and sorting rows of the table of images.
const rows = [...document.querySelectorAll("#table tbody tr")];
const tools = document.querySelector(".tools");
const choose = () => {
  const part = tools.elements.find.value.trim().toLowerCase();
  const state = tools.elements.state.value;
  let shown = 0;
  for (const row of rows) {
    const fits = (!state || row.cells[2].textContent === state) && row.cells[1].textContent.toLowerCase().includes(part);
    row.hidden = !fits;
    shown += fits;
  }
  tools.querySelector("output").textContent = shown === rows.length ? "" : `${shown} of ${rows.length}`;
};
if (tools) {
  tools.hidden = false;
  tools.addEventListener("input", choose);
  tools.addEventListener("submit", (event) => event.preventDefault());
}

const units = { B: 1, kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };
const meanings = {
  text: (text) => text.toLowerCase(),
  number: (text) => parseFloat(text),
  area: (text) => text.split("×").reduce((area, side) => area * parseFloat(side), 1),
  bytes: (text) => parseFloat(text) * (units[text.split(" ")[1]] || 1),
};
document.querySelectorAll("#table th").forEach((head, column) => {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = head.textContent;
  head.replaceChildren(button);
  button.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    const meaning = meanings[head.dataset.sort];
    const keyed = rows.map((row) => [meaning(row.cells[column].textContent), row]);
    const unknown = (key) => Number.isNaN(key);
    keyed.sort(([a], [b]) => {
      if (unknown(a) || unknown(b)) return unknown(a) - unknown(b);
      const order = typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
      return down ? -order : order;
    });
    rows[0].parentElement.append(...keyed.map(([, row]) => row));
    document.querySelectorAll("#table th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
  });
});
