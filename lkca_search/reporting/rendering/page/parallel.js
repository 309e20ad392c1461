/* Parallel coordinates as SVG: axes stand side by side, on a narrow page one below the other. */
const SVG = "http://www.w3.org/2000/svg", REACH = 14;

function drawSvg(tag, attributes, text) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/* Return the places of axes and lines on the page: along an axis, and across from one axis to the next. */
function parallelGeometry(figure, width, isStacked) {
  const count = figure.axes.length;
  if (isStacked) {
    const start = 12, length = width - 24, step = 76, top = 26;
    return { width, height: top + step * (count - 1) + 40, along: (place) => start + place * length, across: (axis) => top + axis * step,
      point: (axis, place) => [start + place * length, top + axis * step] };
  }
  const step = Math.max(92, (width - 200) / (count - 1)), top = 30, length = 300;
  return { width: step * (count - 1) + 200, height: top + length + 18, along: (place) => top + (1 - place) * length, across: (axis) => 60 + axis * step,
    point: (axis, place) => [60 + axis * step, top + (1 - place) * length] };
}

function shadeOf(figure, isDark) {
  const [low, high] = figure.colors[isDark ? "dark" : "light"].map((color) => [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16)));
  return (shade) => `rgb(${low.map((start, index) => Math.round(start + shade * (high[index] - start))).join(",")})`;
}

function drawAxis(svg, axis, index, geometry, isStacked, isLast) {
  const [x1, y1] = geometry.point(index, 0), [x2, y2] = geometry.point(index, 1);
  svg.append(drawSvg("line", { x1, y1, x2, y2, class: "axis" }));
  const name = isStacked ? { x: x1, y: y1 - 10, class: "name" } : isLast ? { x: x2 - 16, y: y2 - 12, class: "name" } : { x: x2, y: y2 - 12, class: "name middle" };
  svg.append(drawSvg("text", name, axis.label));
  let free = -Infinity;
  for (const [place, label] of axis.ticks) {
    const [x, y] = geometry.point(index, place);
    if (isStacked) {
      const half = 4 * label.length + 2, at = Math.min(Math.max(x, half), geometry.width - half);
      if (at - half < free) continue;  // it would cover the label before
      free = at + half + 4;
      svg.append(drawSvg("text", { x: at, y: y + 15, class: "tick middle" }, label));
    } else svg.append(drawSvg("text", { x: x + 5, y: y + 4, class: "tick" }, label));
  }
}

/* Let the reader drag a part of an axis; `changed` receives its ends, from 0 to 1, or null for a click. */
function listenToAxis(svg, index, geometry, isStacked, changed) {
  const [from, to] = [geometry.along(0), geometry.along(1)], across = geometry.across(index);
  const [low, size] = [Math.min(from, to) - 6, Math.abs(to - from) + 12];
  const box = isStacked ? { x: low, width: size, y: across - REACH, height: 2 * REACH } : { y: low, height: size, x: across - REACH, width: 2 * REACH };
  const area = svg.appendChild(drawSvg("rect", { ...box, class: `brush ${isStacked ? "stacked" : ""}` }));
  const placeOf = (event) => {
    const frame = svg.getBoundingClientRect(), at = isStacked ? event.clientX - frame.left : event.clientY - frame.top;
    return Math.min(Math.max((at - from) / (to - from), 0), 1);
  };
  let start = null;
  area.addEventListener("pointerdown", (event) => {
    start = placeOf(event);
    area.setPointerCapture(event.pointerId);
  });
  area.addEventListener("pointermove", (event) => {
    if (start !== null) changed([Math.min(start, placeOf(event)), Math.max(start, placeOf(event))]);
  });
  area.addEventListener("pointerup", (event) => {
    if (start !== null && Math.abs(placeOf(event) - start) < 0.015) changed(null);
    start = null;
  });
  area.addEventListener("pointercancel", () => { start = null; });
}

/* Return the line nearest to a point, or null if none is near. */
function nearestLine(figure, geometry, isStacked, x, y, isKept) {
  const [along, across] = isStacked ? [x, y] : [y, x], step = geometry.across(1) - geometry.across(0);
  const at = Math.min(Math.max((across - geometry.across(0)) / step, 0), figure.axes.length - 1.0001), axis = Math.floor(at);
  let found = null, least = 12;
  figure.lines.forEach((line, index) => {
    const [one, other] = [line.places[axis], line.places[axis + 1]].map(geometry.along);
    const distance = Math.abs(one + (at - axis) * (other - one) - along);
    if (isKept(line) && distance <= least) [found, least] = [index, distance];
  });
  return found;
}

const chosenParts = {};

function drawParallel(place, figure, isDark, isStacked) {
  const parts = chosenParts[place.id] ??= {}, geometry = parallelGeometry(figure, place.clientWidth, isStacked);
  const svg = drawSvg("svg", { width: geometry.width, height: geometry.height }), colorOf = shadeOf(figure, isDark);
  const info = element("p", "info"), kept = element("span", "kept");
  const isKept = (line) => Object.entries(parts).every(([axis, [low, high]]) => line.places[axis] >= low && line.places[axis] <= high);
  const paths = figure.lines.map((line) => svg.appendChild(drawSvg("path", { class: line.marked ? "line marked" : "line",
    d: `M${line.places.map((at, axis) => geometry.point(axis, at).map((number) => number.toFixed(1)).join(",")).join("L")}`,
    stroke: line.marked ? figure.colors.marked : colorOf(line.shade) })));
  const bars = figure.axes.map((axis, index) => {
    drawAxis(svg, axis, index, geometry, isStacked, index === figure.axes.length - 1);
    return svg.appendChild(drawSvg("line", { class: "part" }));
  });
  const update = () => {
    figure.lines.forEach((line, index) => paths[index].classList.toggle("left-out", !isKept(line)));
    bars.forEach((bar, axis) => {
      const [x1, y1, x2, y2] = parts[axis] ? parts[axis].flatMap((at) => geometry.point(axis, at)) : [0, 0, 0, 0];
      for (const [name, value] of Object.entries({ x1, y1, x2, y2 })) bar.setAttribute(name, value);
    });
    kept.textContent = Object.keys(parts).length ? ` ${figure.lines.filter(isKept).length} of ${figure.lines.length} trials are kept.` : "";
  };
  figure.axes.forEach((_, index) => listenToAxis(svg, index, geometry, isStacked, (part) => {
    if (part) parts[index] = part;
    else delete parts[index];
    update();
  }));
  svg.addEventListener("pointermove", (event) => {
    const frame = svg.getBoundingClientRect();
    const index = nearestLine(figure, geometry, isStacked, event.clientX - frame.left, event.clientY - frame.top, isKept);
    paths.forEach((path, other) => path.classList.toggle("pointed", other === index));
    const line = figure.lines[index];
    info.textContent = line ? `${line.label}: ${figure.axes.map((axis, at) => `${axis.label.replace(/, %$/, "")} ${line.texts[at]}`).join(", ")}` : "";
  });
  const scale = element("p", "scale");
  const swatch = (className, background, text) => {
    scale.appendChild(element("span", className)).style.background = background;
    scale.append(text);
  };
  scale.append(`${figure.unit}: ${figure.ends[0]} `);
  swatch("ramp", `linear-gradient(to right, ${colorOf(0)}, ${colorOf(1)})`, ` ${figure.ends[1]}`);
  swatch("mark", figure.colors.marked, ` ${figure.mark}.`);
  scale.append(kept);
  const frame = element("div", "sheet");
  frame.append(svg);
  place.replaceChildren(scale, frame, info);
  update();
}
