"use strict";
(() => {
  const one = (selector, within = document) => within.querySelector(selector);
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];

  // Text from results comes into the page as text alone: nothing here parses markup.
  function make(name, attributes = {}, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  function draw(name, attributes, ...children) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    node.append(...children);
    return node;
  }

  // Sorting: the best values first, then the other way round; rows without a value stay last.

  function sortBy(head) {
    const table = head.closest("table"), index = head.cellIndex;
    const first = index && head.dataset.better === "higher" ? "descending" : "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    all("th[aria-sort]", table).forEach(th => th.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    for (const body of table.tBodies) {
      const rows = all("tr[data-label]", body);
      rows.sort((a, b) => index ? byNumber(a.cells[index], b.cells[index], sign) : sign * byName(a, b));
      body.append(...rows);
    }
  }

  function byNumber(a, b, sign) {
    const [x, y] = [a, b].map(cell => parseFloat(cell.dataset.value ?? cell.textContent));
    if (isNaN(x) || isNaN(y)) return isNaN(x) - isNaN(y);
    return sign * (x - y);
  }

  function byName(a, b) {
    return a.dataset.label.localeCompare(b.dataset.label, "en", { numeric: true });
  }

  // Filters: a row needs a name that is asked for, and a number in a column that is shown.

  const checked = kind => {
    const boxes = all(`input[name=filter-${kind}]`);
    const names = new Set(boxes.filter(box => box.checked).map(box => box.value));
    return name => !boxes.length || !name || names.has(name);
  };

  function wantedName() {
    const words = one("#filter-backbone").value.toLowerCase().split(/[\s,;]+/).filter(Boolean);
    return name => !words.length || words.some(word => name.toLowerCase().includes(word));
  }

  function filter() {
    const name = wantedName(), task = checked("task"), recipe = checked("recipe");
    const published = one("#filter-published")?.checked ?? true;
    for (const section of all(".numbers")) {
      all("[data-task]", section).forEach(cell => { cell.hidden = !task(cell.dataset.task); });
      for (const row of all("tr[data-label]", section)) {
        const some = all("td", row).some(cell => !cell.hidden && cell.dataset.value);
        row.hidden = !some || !name(row.dataset.label) || (row.dataset.kind === "published" && !published);
      }
      const columns = all("thead th[data-task]", section);
      section.hidden = !recipe(section.dataset.recipe) || (columns.length > 0 && columns.every(head => head.hidden));
      all(".divider", section).forEach(row => { row.hidden = !all("tr[data-label]", row.parentNode).some(other => !other.hidden); });
    }
    for (const group of all("details.group")) {
      const runs = all("details.run, details.of-backbone", group);
      runs.forEach(run => { run.hidden = !name(run.dataset.backbone); });
      group.hidden = !recipe(group.dataset.recipe) || !task(group.dataset.task) || runs.every(run => run.hidden);
    }
    count();
  }

  function count() {
    const rows = all(".numbers tr[data-label]");
    const shown = rows.filter(row => !row.hidden && !row.closest("section").hidden).length;
    one("#filter-count").value = shown === rows.length ? "" : `${shown} of ${rows.length} rows`;
    for (const menu of all("[data-menu]")) {
      const boxes = all("input", menu), some = boxes.filter(box => box.checked).length;
      one(".count", menu).textContent = some === boxes.length ? "all" : `${some} of ${boxes.length}`;
    }
  }

  function resetFilters() {
    one("#filter-backbone").value = "";
    all(".filters input[type=checkbox]").forEach(box => { box.checked = true; });
    filter();
  }

  function closeMenus(but) {
    all(".menu[open]").filter(menu => menu !== but).forEach(menu => { menu.open = false; });
  }

  // Comparison of two rows of a table.

  const select = name => one(`#compare-${name}`);
  const rowOf = (table, label) => all("tr[data-label]", table).find(row => row.dataset.label === label);

  function differences() {
    const holder = all(".differences").find(node => node.dataset.table === select("table").value);
    return JSON.parse(holder.dataset.differences);
  }

  function fillChoices() {
    const { rows } = differences(), table = document.getElementById(select("table").value);
    for (const name of ["first", "second"]) select(name).replaceChildren(...rows.map(label => make("option", { value: label }, label)));
    const learned = rows.filter(label => rowOf(table, label).dataset.kind === "learned");
    const [first, second] = learned.length > 1 ? learned : rows;
    select("first").value = first;
    select("second").value = second;
    compare();
  }

  function compare() {
    const { columns } = differences(), table = document.getElementById(select("table").value);
    const names = [select("first").value, select("second").value];
    const rows = names.map(label => rowOf(table, label));
    const shared = columns
      .map((column, index) => ({ ...column, cells: rows.map(row => row.cells[index + 1]) }))
      .filter(column => column.cells.every(cell => cell.dataset.value));
    const result = select("result");
    if (names[0] === names[1]) return result.replaceChildren(make("p", {}, "Choose two different backbones."));
    if (!shared.length) return result.replaceChildren(make("p", {}, "These two share no task."));
    result.replaceChildren(comparedTable(names, shared), ...sideBySide(names, shared));
    const first = one("details", result);
    if (first) first.open = true;
  }

  function comparedTable(names, shared) {
    const heads = ["metric", ...names, "difference", "verdict"].map(text => make("th", { scope: "col" }, text));
    const { rows } = differences(), places = names.map(name => rows.indexOf(name));
    const lines = shared.map(column => {
      const found = difference(column.pairs, places);
      const values = column.cells.map((cell, which) => make("td", { "data-name": names[which] }, ...[...cell.childNodes].map(node => node.cloneNode(true))));
      const told = found ? [make("td", {}, `${found.value} [${found.low}, ${found.high}]`, forest(found.places)), make("td", {}, verdict(found, names))]
        : [make("td", {}, "–"), make("td", {}, column.why || "no paired test")];
      const kind = found?.decided ? "decided" : "undecided";
      return make("tr", { class: kind }, make("th", { scope: "row" }, column.title), ...values, ...told);
    });
    const content = make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...lines));
    return make("div", { class: "wide", tabindex: 0 }, content);
  }

  // The page holds each pair in one order; the other one has all signs turned round.
  function difference(pairs, [first, second]) {
    const read = ([low, value, high, p, decided, ...places]) => ({ low, value, high, p, decided, places });
    if (pairs[`${first},${second}`]) return read(pairs[`${first},${second}`]);
    if (!pairs[`${second},${first}`]) return null;
    const found = read(pairs[`${second},${first}`]);
    const turned = words => (words.startsWith("-") ? "+" : "-") + words.slice(1);
    return { ...found, low: turned(found.high), value: turned(found.value), high: turned(found.low), places: found.places.map(place => -place) };
  }

  function verdict({ decided, p, places }, names) {
    return `${decided ? `${names[places[1] > 0 ? 0 : 1]} is better` : "can’t be told apart"} (p ${p})`;
  }

  function forest([low, value, high]) {
    const x = place => 60 + 54 * place;
    return draw("svg", { class: "forest", width: 120, height: 14, viewBox: "0 0 120 14", "aria-hidden": "true" },
      draw("line", { class: "zero", x1: 60, x2: 60, y1: 0, y2: 14 }),
      draw("line", { class: "whisker", x1: x(low), x2: x(high), y1: 7, y2: 7 }),
      draw("circle", { cx: x(value), cy: 7, r: 3 }));
  }

  // Pictures and curves of the first runs behind the cells, once for all metrics of a task.
  function sideBySide(names, shared) {
    const firstRun = cell => (cell.dataset.runs || "").split(" ")[0];
    const pairs = new Map(shared.map(({ cells }) => [cells.map(firstRun).join(" "), cells]));
    return [...pairs.values()].map(cells => ofRuns(names, cells[0].dataset.task, cells.map(cell => document.getElementById(firstRun(cell))))).filter(Boolean);
  }

  function ofRuns(names, task, runs) {
    if (!runs.every(Boolean)) return null;
    const images = runs.map(run => one(".sheet img", run)), charts = runs.map(run => one(".curves", run));
    const parts = [...pictures(images, names), ...(charts.every(Boolean) ? charts.map((chart, which) => named(chart.cloneNode(true), names[which])) : [])];
    if (!parts.length) return null;
    const heads = names.map(name => make("h4", {}, name));
    return make("details", {}, make("summary", {}, task), make("div", { class: "side-by-side" }, ...heads, ...parts));
  }

  // A narrow page shows the name above its part; a wide one has it as the head of a column.
  function named(node, name) {
    node.dataset.name = name;
    return node;
  }

  function pictures(images, names) {
    if (!images.every(Boolean)) return [];
    const [rows, others] = images.map(image => JSON.parse(image.dataset.rows || "[]"));
    const indexOf = row => row[0].split(" ")[0];
    const pairs = rows.map(row => [row, others.find(other => indexOf(other) === indexOf(row))]).filter(pair => pair[1]);
    const caption = which => make("figcaption", {}, names[which]);
    if (!pairs.length) return images.map((image, which) => make("figure", { class: "sheet" }, caption(which), image.cloneNode()));
    return pairs.flatMap(pair => pair.map((row, which) => make("figure", {}, caption(which), crop(images[which], row))));
  }

  // One line of a contact sheet: `top` and `bottom` are shares of its height.
  function crop(image, [label, top, bottom]) {
    const inner = image.cloneNode(), frame = make("div", { class: "crop" }, inner);
    inner.alt = label;
    frame.style.aspectRatio = `${image.getAttribute("width")} / ${image.getAttribute("height") * (bottom - top)}`;
    inner.style.top = `${-100 * top / (bottom - top)}%`;
    return frame;
  }

  // A link to a run opens it, and what it lies in.
  function openTarget() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target?.matches(".run")) return;
    if (target.hidden || target.parentNode.hidden) resetFilters();
    for (const details of [target.parentNode, target]) details.open = true;
    target.scrollIntoView();
    one("summary", target).focus({ preventScroll: true });
  }

  document.documentElement.classList.add("scripted");
  all(".sortable thead button").forEach(button => button.addEventListener("click", () => sortBy(button.closest("th"))));
  one("#filter-backbone").addEventListener("input", filter);
  all(".filters input[type=checkbox]").forEach(box => box.addEventListener("change", filter));
  all("[data-check]").forEach(button => button.addEventListener("click", () => {
    all(`input[name=filter-${button.dataset.check}]`).forEach(box => { box.checked = button.dataset.to === "true"; });
    filter();
  }));
  one("#filter-reset").addEventListener("click", resetFilters);
  addEventListener("click", event => closeMenus(event.target.closest(".menu")));
  addEventListener("keydown", event => {
    const menu = event.key === "Escape" && one(".menu[open]");
    if (menu) { menu.open = false; one("summary", menu).focus(); }
  });
  if (select("table")) {
    select("table").addEventListener("change", fillChoices);
    for (const name of ["first", "second"]) select(name).addEventListener("change", compare);
    select("swap").addEventListener("click", () => {
      [select("first").value, select("second").value] = [select("second").value, select("first").value];
      compare();
    });
    fillChoices();
  }
  addEventListener("hashchange", openTarget);
  filter();
  openTarget();
})();
