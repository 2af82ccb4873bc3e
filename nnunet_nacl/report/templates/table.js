"use strict";
// Sorting and filtering of the case table. Without JavaScript it stays a plain table.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const key = (row, column) => {
    const cell = row.cells[column];
    const value = cell.dataset.value;
    if (value === undefined) return cell.textContent.trim();
    return value === "" ? NaN : Number(value);
  };
  const compare = (a, b) => {
    if (typeof a === "string") return a.localeCompare(b, "en", { numeric: true });
    return Number.isNaN(a) - Number.isNaN(b) || a - b;
  };
  Array.from(table.tHead.rows[0].cells).forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const rows = Array.from(body.rows).sort((left, right) => {
        const [a, b] = [key(left, column), key(right, column)];
        const undefinedLast = typeof a === "number" && (Number.isNaN(a) || Number.isNaN(b));
        return compare(a, b) * (descending && !undefinedLast ? -1 : 1);
      });
      body.append(...rows);
    });
  });
  const filter = document.querySelector("#cases .filter");
  const input = filter.querySelector("input");
  const show = () => {
    const wanted = input.value.trim().toLowerCase();
    let shown = 0;
    for (const row of body.rows) {
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
      shown += !row.hidden;
    }
    filter.querySelector("output").textContent = `${shown} of ${body.rows.length}`;
  };
  filter.hidden = false;
  input.addEventListener("input", show);
  show();
}
// paper has no pointer to unfold anything with
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
