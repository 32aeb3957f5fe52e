"use strict";
(() => {
  // Sort a table by a column: numbers by value, missing ones last, text by letters.
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const up = head.getAttribute("aria-sort") !== "ascending";
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (row) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
        const compare = (a, b) => {
          const [first, second] = [key(a), key(b)];
          const lost = (text) => text === "" || text === "n/a";
          if (lost(first) || lost(second)) return Number(lost(first)) - Number(lost(second));
          const [x, y] = [Number(first), Number(second)];
          const order = Number.isNaN(x) || Number.isNaN(y) ? first.localeCompare(second, "en", { numeric: true }) : x - y;
          return up ? order : -order;
        };
        const body = table.tBodies[0];
        body.append(...[...body.rows].sort(compare));
      });
    });
  }
  // Show the rows that hold what is typed.
  for (const field of document.querySelectorAll("input.search")) {
    field.hidden = false;
    field.addEventListener("input", () => {
      const wanted = field.value.toLowerCase();
      for (const row of document.getElementById(field.dataset.table).tBodies[0].rows) {
        row.hidden = !row.textContent.toLowerCase().includes(wanted);
      }
    });
  }
})();
