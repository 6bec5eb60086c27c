// Draws the figures of a page with Plotly (vendor/plotly.min.js, loaded before this module).
// A figure is JSON in a <script type="application/json">; "var(--name)" stands for a colour of the style sheet.
// Use: <div class="figure-canvas" data-figure="id of the script">, or drawFigure(element, figure) for data that changes.

const NARROW = 900;
const figures = new Map();
const probe = document.createElement("span");
probe.hidden = true;
document.body.append(probe);

function colour(name) {
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

function resolved(value) {
  if (typeof value === "string") {
    const match = value.match(/^var\((--[a-z0-9-]+)\)$/);
    return match ? colour(match[1]) : value;
  }
  if (Array.isArray(value)) return value.map(resolved);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, resolved(inner)]));
  return value;
}

function frame() {
  const font = getComputedStyle(document.body).fontFamily;
  return {
    autosize: true,
    paper_bgcolor: colour("--raised"),
    plot_bgcolor: colour("--raised"),
    font: { family: font, size: 13, color: colour("--muted") },
    hoverlabel: { bgcolor: colour("--raised"), bordercolor: colour("--border-strong"), font: { family: font, size: 13, color: colour("--text") }, align: "left" },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: colour("--muted"), activecolor: colour("--accent") },
  };
}

function fitted(figure, narrow) {
  if (!narrow) return figure;
  const layout = { ...figure.layout, annotations: [], margin: { l: 52, r: 10, t: 48, b: 48 } };
  if (layout.legend) layout.legend = { ...layout.legend, y: -0.3, font: { size: 11 } };
  return { data: figure.data, layout };
}

function follow(event) {
  const address = event.points[0]?.customdata;
  if (typeof address === "string" && address.startsWith("/")) location.assign(address);
}

/** Draw or redraw a figure in an element, in the colours of the present theme. */
export async function drawFigure(element, figure) {
  const first = !figures.has(element);
  figures.set(element, figure);
  const { data, layout } = fitted(figure, element.clientWidth < NARROW);
  const config = { displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  await Plotly.react(element, resolved(data), { ...frame(), ...resolved(layout) }, config);
  if (first) element.on("plotly_click", follow);
}

function drawAll() {
  for (const element of document.querySelectorAll("[data-figure]")) {
    const source = document.getElementById(element.dataset.figure);
    if (source) drawFigure(element, JSON.parse(source.textContent));
  }
}

document.addEventListener("themechange", () => {
  for (const [element, figure] of figures) drawFigure(element, figure);
});
drawAll();
