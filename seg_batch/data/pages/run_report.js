"use strict";
const root = document.documentElement, find = (what, within = document) => within.querySelector(what);

const dark = matchMedia("(prefers-color-scheme: dark)"), theme = find("#theme");
const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
const named = () => { theme.textContent = isDark() ? "Light" : "Dark"; };
theme.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; named(); });
dark.addEventListener("change", named);
named();

const opacity = find("#labels");
opacity?.addEventListener("input", () => root.style.setProperty("--labels", opacity.value / 100));

const table = find("#table"), search = find("#search"), status = find("#status"), count = find("#count"), all = find("#all");
let most = table ? Number(table.dataset.most) : 0;
const groups = table ? [...table.tBodies] : [];
const rows = groups.map(group => ({
  group, status: group.dataset.status, review: "review" in group.dataset, text: group.dataset.text,
  cells: [...group.rows[0].cells].map(cell => {
    const value = cell.dataset.value;
    return value === undefined ? (find("bdi", cell) ?? cell).textContent.trim() : value === "" ? null : Number(value);
  }),
}));

function filter() {
  const words = search.value.toLowerCase().split(/\s+/).filter(Boolean), of = status.value;
  let fitting = 0;
  for (const row of rows) {
    const fits = (!of || row.status === of || (of === "not complete" && row.status !== "complete") || (of === "to review" && row.review))
      && words.every(word => row.text.includes(word));
    fitting += fits;
    row.group.hidden = !fits || fitting > most;
  }
  count.textContent = `${Math.min(fitting, most)} of ${rows.length} shown`;
  all.hidden = fitting <= most;
  all.textContent = `Show all ${fitting}`;
}

function sort(head, i) {
  const up = head.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  rows.sort((a, b) => {
    const x = a.cells[i], y = b.cells[i];
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === "number" ? x - y : x.localeCompare(y);
    return up ? order : -order;
  });
  table.append(...rows.map(row => row.group));
  filter();
}

function unfold(button, open) {
  button.setAttribute("aria-expanded", String(open));
  document.getElementById(button.getAttribute("aria-controls")).hidden = !open;
}

function show(hash) {
  const target = hash.length > 1 && document.getElementById(hash.slice(1));
  if (!target || !table?.contains(target)) return;
  target.hidden = false;
  const button = find(".open", target);
  if (button) unfold(button, true);
  target.scrollIntoView({ block: "center" });
}

if (table) {
  [...table.tHead.rows[0].cells].forEach((head, i) => find("button", head).addEventListener("click", () => sort(head, i)));
  table.addEventListener("click", event => {
    const button = event.target.closest(".open");
    if (button) unfold(button, button.getAttribute("aria-expanded") !== "true");
  });
  const columns = find("#columns");
  columns?.addEventListener("change", () => { table.dataset.columns = columns.value; });
  search.addEventListener("input", filter);
  status.addEventListener("change", filter);
  all.addEventListener("click", () => { most = Infinity; filter(); search.focus(); });
  addEventListener("keydown", event => {
    if (event.key === "/" && !/^(INPUT|SELECT)$/.test(document.activeElement.tagName)) { event.preventDefault(); search.focus(); }
    if (event.key === "Escape" && document.activeElement === search) { search.value = ""; filter(); }
  });
  addEventListener("hashchange", () => show(location.hash));
  document.addEventListener("click", event => {
    const link = event.target.closest("a[href^='#']");
    if (link) show(link.hash);
  });
  filter();
  show(location.hash);
}
