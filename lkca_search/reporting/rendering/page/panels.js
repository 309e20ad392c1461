"use strict";
/* Panels with curves, drawn by Plotly; a narrow page has fewer panels in a row. */
const PANEL_WIDTH = 190, PANEL_GAP = 46, PANELS_TOP = 64, PANELS_BOTTOM = 52, PANELS_LEFT = 54;
const CURVE_STYLES = { trial: { width: 1, opacity: 0.7 }, best: { width: 2.2, opacity: 1 }, mean: { width: 2.2, opacity: 1, dash: "dash" } };

function tint(color, opacity) {
  const [red, green, blue] = [1, 3, 5].map((start) => parseInt(color.slice(start, start + 2), 16));
  return `rgba(${red},${green},${blue},${opacity})`;
}

/* Return the traces of one kind of curve in one panel: one line with gaps, and the band of a mean. */
function panelTraces(figure, panel, role, suffix, isFirst) {
  const curves = panel.curves.filter((curve) => curve.role === role);
  if (!curves.length) return [];
  const color = figure.colors[role], style = CURVE_STYLES[role], axes = { xaxis: `x${suffix}`, yaxis: `y${suffix}`, legendgroup: role };
  const traces = curves.filter((curve) => curve.lower).map((curve) => ({ ...axes, x: [...curve.x, ...[...curve.x].reverse()],
    y: [...curve.upper, ...[...curve.lower].reverse()], mode: "lines", fill: "toself", fillcolor: tint(color, 0.2), line: { width: 0 },
    hoverinfo: "skip", showlegend: false }));
  const text = (curve, index) => `${curve.label}<br>step ${curve.x[index].toLocaleString("en")}: ${curve.y[index].toFixed(figure.decimals)}${figure.unit}`;
  const line = { ...axes, x: [], y: [], text: [], name: figure.legend[role], mode: "lines+markers", connectgaps: false, opacity: style.opacity,
    line: { color, width: style.width, dash: style.dash }, marker: { color, size: curves.every((curve) => curve.x.length === 1) ? 6 : style.dash ? 1 : 3 },
    hovertemplate: "%{text}<extra></extra>", showlegend: isFirst };
  for (const curve of curves) {
    line.x.push(...curve.x, null);
    line.y.push(...curve.y, null);
    line.text.push(...curve.x.map((_, index) => text(curve, index)), "");
  }
  return [...traces, line];
}

function panelLayout(figure, width, line) {
  const fit = Math.max(1, Math.floor((width - PANELS_LEFT) / PANEL_WIDTH));
  const columns = Math.min(fit, figure.columns, figure.panels.length), rows = Math.ceil(figure.panels.length / columns);
  const inner = width - PANELS_LEFT - 8, gap = 18 / inner, cell = (1 - gap * (columns - 1)) / columns;
  const tall = Math.min(Math.max(0.6 * cell * inner, 130), 240), height = rows * tall + (rows - 1) * PANEL_GAP;
  const layout = { height: height + PANELS_TOP + PANELS_BOTTOM, margin: { l: PANELS_LEFT, r: 8, t: PANELS_TOP, b: PANELS_BOTTOM }, template: "none",
    hovermode: "closest", showlegend: true, legend: { orientation: "h", x: 0, y: 1 + 30 / height, yanchor: "bottom" }, annotations: [] };
  const label = (text, more) => layout.annotations.push({ text, showarrow: false, xref: "paper", yref: "paper", ...more });
  figure.panels.forEach((panel, index) => {
    const suffix = index ? index + 1 : "", row = Math.floor(index / columns), column = index % columns;
    const left = column * (cell + gap), top = 1 - row * (tall + PANEL_GAP) / height;
    const axis = { gridcolor: line, linecolor: line, zerolinecolor: line, nticks: 5, tickfont: { size: 11 }, showline: true };
    layout[`xaxis${suffix}`] = { ...axis, domain: [left, Math.min(left + cell, 1)], anchor: `y${suffix}`, rangemode: "tozero" };
    layout[`yaxis${suffix}`] = { ...axis, domain: [Math.max(top - tall / height, 0), top], anchor: `x${suffix}`, range: figure.range,
      showticklabels: column === 0, ...(index ? { matches: "y" } : {}) };
    label(panel.title, { x: left, y: top, xanchor: "left", yanchor: "bottom", font: { size: 12 } });
  });
  label(figure.x, { x: 0.5, y: 0, xanchor: "center", yanchor: "top", yshift: -26 });
  label(figure.y, { x: 0, y: 0.5, xanchor: "center", yanchor: "middle", textangle: -90, xshift: -42 });
  return layout;
}

function drawPanels(place, figure, line, finish) {
  const seen = new Set();
  const data = figure.panels.flatMap((panel, index) => Object.keys(CURVE_STYLES).flatMap((role) => {
    const traces = panelTraces(figure, panel, role, index ? index + 1 : "", !seen.has(role));
    if (traces.length) seen.add(role);
    return traces;
  }));
  const layout = panelLayout(figure, place.clientWidth, line);
  place.style.height = `${layout.height}px`;
  finish(place, data, layout);
}
