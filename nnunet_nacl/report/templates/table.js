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
// A column that is partly out of sight is blank: half a number could be read as another. Without JavaScript it is a plain scroll box.
for (const box of document.querySelectorAll(".scroll")) {
  const table = box.querySelector("table");
  const hint = box.previousElementSibling;
  const rows = [...table.tHead.rows, ...table.tBodies[0].rows];
  const heads = Array.from(table.tHead.rows[0].cells);
  let shown = "";
  const update = () => {
    const scrolls = box.scrollWidth > box.clientWidth + 1;
    box.classList.toggle("scrolls", scrolls);
    box.classList.toggle("at-end", box.scrollLeft + box.clientWidth >= box.scrollWidth - 1);
    hint.hidden = !scrolls;
    const frame = box.getBoundingClientRect();
    const left = frame.left + (scrolls ? heads[0].offsetWidth : 0) - 1;
    const right = frame.left + box.clientWidth + 1;
    const cut = heads.map((head) => {
      const { left: start, right: end } = head.getBoundingClientRect();
      return scrolls && head !== heads[0] && ((start < left && end > left) || (start < right && end > right));
    });
    if (String(cut) === shown) return;
    shown = String(cut);
    for (const row of rows) {
      cut.forEach((hide, column) => row.cells[column].classList.toggle("cut", hide && heads[column].classList.contains("number")));
    }
  };
  box.addEventListener("scroll", update, { passive: true });
  // also when a fold is opened
  new ResizeObserver(update).observe(box);
}
// paper has no pointer to unfold anything with
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
