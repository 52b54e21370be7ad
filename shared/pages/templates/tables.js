"use strict";
// Every table sorts by its header buttons and filters by its search field. Rows of static tables are in the page; those of
// the clip table are made from JSON, a page at a time. Texts are only ever set as textContent.
const PAGE = 50;

function makeRow(values, numeric) {
  const row = document.createElement("tr");
  values.forEach((value, index) => {
    const cell = row.insertCell();
    cell.textContent = value;
    cell.className = numeric[index] ? "number" : String(value).length > 24 ? "long" : "";
  });
  return row;
}

function staticRows(table) {
  return [...table.tBodies[0].rows].map((element) => ({
    keys: [...element.cells].map((cell) => ("key" in cell.dataset ? Number(cell.dataset.key) : cell.textContent)),
    text: element.textContent.toLowerCase(),
    element: () => element,
  }));
}

function jsonRows(data) {
  return data.rows.map((values) => ({
    keys: values,
    text: values.join(" ").toLowerCase(),
    element: () => makeRow(values, data.numeric),
  }));
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function activate(box) {
  const table = box.querySelector("table");
  const search = box.querySelector("input[type=search]");
  const status = box.querySelector(".status");
  const pager = box.querySelector(".pager");
  const source = table.dataset.source;
  const rows = source ? jsonRows(JSON.parse(document.getElementById(source).textContent)) : staticRows(table);
  const size = pager ? PAGE : rows.length;
  const state = { column: -1, down: false, page: 0, shown: rows };

  function show() {
    const pages = Math.max(1, Math.ceil(state.shown.length / Math.max(1, size)));
    state.page = Math.min(state.page, pages - 1);
    const slice = state.shown.slice(state.page * size, (state.page + 1) * size);
    table.tBodies[0].replaceChildren(...slice.map((row) => row.element()));
    if (status) status.textContent = `${state.shown.length} of ${rows.length}`;
    if (!pager) return;
    pager.querySelector(".where").textContent = `page ${state.page + 1} of ${pages}`;
    pager.querySelector(".back").disabled = state.page === 0;
    pager.querySelector(".next").disabled = state.page >= pages - 1;
  }

  function update() {
    const words = search ? search.value.toLowerCase().split(/\s+/).filter(Boolean) : [];
    state.shown = rows.filter((row) => words.every((word) => row.text.includes(word)));
    if (state.column >= 0) {
      const sign = state.down ? -1 : 1;
      state.shown.sort((a, b) => sign * compare(a.keys[state.column], b.keys[state.column]));
    }
    state.page = 0;
    show();
  }

  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, index) => {
    header.querySelector("button").addEventListener("click", () => {
      state.down = state.column === index ? !state.down : header.classList.contains("number");
      state.column = index;
      headers.forEach((other) => other.removeAttribute("aria-sort"));
      header.setAttribute("aria-sort", state.down ? "descending" : "ascending");
      update();
    });
  });
  if (search) search.addEventListener("input", update);
  if (pager) {
    const turn = (by) => () => { state.page += by; show(); };
    pager.querySelector(".back").addEventListener("click", turn(-1));
    pager.querySelector(".next").addEventListener("click", turn(1));
  }
  if (source || pager) show();
}

document.querySelectorAll(".table").forEach(activate);
