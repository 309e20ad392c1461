const root = document.documentElement;
const narrow = matchMedia("(max-width: 600px)");

function isDark() {
  return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function draw() {
  const style = getComputedStyle(root);
  const [text, line] = ["--text", "--line"].map((name) => style.getPropertyValue(name).trim());
  const plot = (place, data, layout) => {
    layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0,0,0,0)";
    layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: line, activecolor: text };
    layout.font = { color: text, family: "system-ui, sans-serif", size: narrow.matches ? 11 : 13 };
    const hasTools = !narrow.matches && place.id !== "answer-figure";
    Plotly.react(place, data, layout, { responsive: true, displaylogo: false, displayModeBar: hasTools ? "hover" : false,
      modeBarButtonsToRemove: ["select2d", "lasso2d"], toImageButtonOptions: { format: "svg", filename: place.id } });
  };
  for (const [name, figure] of Object.entries(FIGURES)) {
    const layout = structuredClone(figure.layout);
    for (const axis of ["xaxis", "yaxis"]) Object.assign(layout[axis], { gridcolor: line, linecolor: line, zerolinecolor: text });
    if (narrow.matches) Object.assign(layout.margin, { l: 46, r: 6 });
    const theme = isDark() ? "dark" : "light";
    const data = figure.data.map((trace) => (trace.type === "heatmap" ? { ...trace, ...trace.meta[theme] } : trace));
    plot(document.getElementById(name), data, layout);
  }
  for (const [name, figure] of Object.entries(PANELS)) drawPanels(document.getElementById(name), figure, line, plot);
  for (const [name, figure] of Object.entries(PARALLEL)) drawParallel(document.getElementById(name), figure, isDark(), narrow.matches);
  for (const [name, figure] of Object.entries(MULTIPLES)) drawMultiples(document.getElementById(name), figure);
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text ?? "";
  return made;
}

/* Return the color [r, g, b] of a shade from -127 to 127. */
function colorScale(colors) {
  const ends = colors.map((color) => [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16)));
  return (shade) => {
    const end = ends[shade < 0 ? 0 : 2], share = Math.abs(shade) / 127;
    return ends[1].map((zero, index) => zero + share * (end[index] - zero));
  };
}

function paint(canvas, width, height, shades, colorOf) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  shades.forEach((shade, index) => image.data.set([...colorOf(shade), 255], 4 * index));
  context.putImageData(image, 0, 0);
}

function drawPanel(panel, colorOf) {
  const frame = element("div", "panel");
  if (!panel) return frame;
  frame.title = panel.text;
  frame.style.aspectRatio = `${panel.width} / ${panel.height}`;
  const canvas = frame.appendChild(document.createElement("canvas"));
  const bytes = Int8Array.from(atob(panel.shades), (char) => char.charCodeAt(0));
  paint(canvas, panel.width, panel.height, bytes, colorOf);
  if (panel.radius !== null) {
    const circle = frame.appendChild(element("span", "circle"));
    const radius = panel.radius + 0.5, [row, column] = panel.center;
    Object.assign(circle.style, { left: `${100 * (column + 0.5 - radius) / panel.width}%`, width: `${200 * radius / panel.width}%`,
      top: `${100 * (row + 0.5 - radius) / panel.height}%`, height: `${200 * radius / panel.height}%` });
  }
  return frame;
}

function drawMultiples(place, figure) {
  const colorOf = colorScale(figure.colors[isDark() ? "dark" : "light"]);
  const grid = element("div", `grid${figure.columns.length > figure.rows.length ? " wide" : ""}`);
  grid.style.setProperty("--columns", figure.columns.length);
  grid.style.setProperty("--rows", figure.rows.length);
  const put = (item, row, column) => {
    item.style.setProperty("--row", row);
    item.style.setProperty("--column", column);
    grid.append(item);
  };
  figure.columns.forEach((header, index) => put(element("span", "header", header), 1, index + 2));
  figure.rows.forEach((header, row) => {
    put(element("span", "header", header), row + 2, 1);
    figure.panels[row].forEach((panel, column) => put(drawPanel(panel, colorOf), row + 2, column + 2));
  });
  const scale = element("div", "scale"), bar = scale.appendChild(document.createElement("canvas"));
  const lowest = figure.signed ? -127 : 0;
  paint(bar, 128 - lowest, 1, Array.from({ length: 128 - lowest }, (_, index) => lowest + index), colorOf);
  for (const [at, label] of figure.ticks) {
    const tick = scale.appendChild(element("span", "tick", label));
    tick.style.left = `${100 * (figure.signed ? (at + 1) / 2 : at)}%`;
  }
  place.replaceChildren(grid, scale, element("div", "unit", figure.unit));
}

function sortBy(header) {
  const table = header.closest("table");
  const column = header.cellIndex;
  const ascending = header.getAttribute("aria-sort") !== "ascending";
  for (const other of header.parentElement.cells) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
  const key = (row) => row.cells[column].dataset.number ?? row.cells[column].textContent;
  const compare = (a, b) => {
    const [x, y] = [key(a), key(b)];
    const [m, n] = [Number(x), Number(y)];
    if (Number.isNaN(m) !== Number.isNaN(n)) return Number.isNaN(m) ? 1 : -1;  // numbers first
    const order = Number.isNaN(m) ? x.localeCompare(y) : m - n;
    return ascending ? order : -order;
  };
  table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
}

function download(name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([TABLES[name]], { type: "text/csv" }));
  link.download = `${name}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/* Set at which sides of a table more columns are, and the widths of the columns that stay in place. */
function showEdges(scroll) {
  const frame = scroll.parentElement, left = scroll.scrollLeft, hidden = scroll.scrollWidth - scroll.clientWidth;
  scroll.tabIndex = hidden > 0 || scroll.scrollHeight > scroll.clientHeight ? 0 : -1;  // for the keys of arrows
  frame.dataset.more = [left > 1 ? "left" : "", left < hidden - 1 ? "right" : ""].join(" ").trim();
  const widths = [...scroll.querySelectorAll("th.key")].map((header) => header.getBoundingClientRect().width);
  frame.style.setProperty("--first", `${widths[0]}px`);
  frame.style.setProperty("--keys", `${widths.reduce((sum, width) => sum + width, 0)}px`);
}

/* Open what the address points to: a table, a row of one, or a section. */
function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (!target) return;
  for (let at = target.querySelector(":scope > details") ?? target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
  target.scrollIntoView({ block: target.tagName === "TR" ? "center" : "start" });
}

document.getElementById("theme").addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  draw();
});
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => sortBy(button.parentElement));
for (const button of document.querySelectorAll(".download")) button.addEventListener("click", () => download(button.dataset.table));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
narrow.addEventListener("change", draw);
const resized = new ResizeObserver((entries) => entries.forEach((entry) => showEdges(entry.target.closest(".scroll"))));
for (const scroll of document.querySelectorAll(".scroll")) {
  scroll.addEventListener("scroll", () => showEdges(scroll), { passive: true });
  resized.observe(scroll);
  resized.observe(scroll.firstElementChild);
}
addEventListener("hashchange", reveal);
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (link && link.hash === location.hash) reveal();  // the address stays the same, so there is no hashchange
});
let themeBeforePrint, foldedBeforePrint;
addEventListener("beforeprint", () => {
  themeBeforePrint = root.dataset.theme;
  foldedBeforePrint = [...document.querySelectorAll("details:not([open])")];
  for (const folded of foldedBeforePrint) folded.open = true;
  root.dataset.theme = "light";
  draw();
});
addEventListener("afterprint", () => {
  if (themeBeforePrint) root.dataset.theme = themeBeforePrint;
  else delete root.dataset.theme;
  for (const folded of foldedBeforePrint) folded.open = false;
  draw();
});
draw();
if (location.hash) reveal();
