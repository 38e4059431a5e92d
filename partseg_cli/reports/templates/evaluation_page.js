"use strict";
(() => {
  const get = (id) => document.getElementById(id);

  const read = (row, column) => {
    const cell = row.cells[column];
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    return cell.textContent === "-" ? null : cell.textContent;
  };

  const compare = (one, other, sign) => {
    if (one === null || other === null) return Number(one === null) - Number(other === null);
    if (typeof one === "number") return sign * (one - other);
    return sign * one.localeCompare(other, "en", { numeric: true });
  };

  const sort = (table, heading) => {
    const column = heading.cellIndex;
    const rows = Array.from(table.tBodies[0].rows);
    const isNumber = rows.some((row) => row.cells[column].dataset.value !== undefined);
    const [first, second] = isNumber ? ["descending", "ascending"] : ["ascending", "descending"];
    const next = heading.getAttribute("aria-sort") === first ? second : first;
    for (const other of heading.parentNode.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", next);
    const sign = next === "ascending" ? 1 : -1;
    rows.sort((one, other) => compare(read(one, column), read(other, column), sign));
    table.tBodies[0].append(...rows);
  };

  for (const table of document.querySelectorAll("table.sortable"))
    for (const heading of table.tHead.rows[0].cells)
      heading.querySelector("button").addEventListener("click", () => sort(table, heading));

  const rows = Array.from(get("classes").tBodies[0].rows);
  const names = rows.map((row) => row.cells[0].textContent.toLowerCase());
  const [object, seen, search, absent] = ["object", "seen", "search", "absent"].map(get);

  const filter = () => {
    const terms = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, index) => {
      const wanted =
        (!object.value || row.dataset.object === object.value) &&
        (!seen.value || row.dataset.seen === seen.value) &&
        (Boolean(absent.value) || row.dataset.absent === undefined) &&
        terms.every((term) => names[index].includes(term));
      row.hidden = !wanted;
      shown += Number(wanted);
    });
    get("count").textContent = shown + " of " + rows.length + " parts";
  };

  const fade = () => get("images").style.setProperty("--opacity", get("opacity").value + "%");

  for (const field of [object, seen, search, absent]) field.addEventListener("input", filter);
  get("filters").addEventListener("submit", (event) => event.preventDefault());
  get("filters").addEventListener("reset", () => setTimeout(filter));
  get("opacity").addEventListener("input", fade);
  filter();
  fade();
})();
