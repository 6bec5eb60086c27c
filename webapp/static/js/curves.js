// Small line charts of a training, drawn as SVG in the page's own colours.

const NS = "http://www.w3.org/2000/svg";
const WIDEST = 600;
const NARROWEST = 280;
const FRAME = 26; // padding and border of a figure
const HEIGHT = 220;
const INSET = { left: 54, right: 92, top: 14, bottom: 24 };
const CHARTS = [
  { title: "Loss", keeps: (name) => /loss/.test(name), scale: 1, floor: false },
  { title: "AP on val, times 100", keeps: (name) => /(^|_)ap(50|75)?$/.test(name), scale: 100, floor: true },
  { title: "Share of the classification loss, %", keeps: (name) => /^(objects|background)$/.test(name), scale: 100, floor: true },
  { title: "Learning rate", keeps: (name) => name === "lr", scale: 1, floor: true },
  { title: "Images a second", keeps: (name) => name === "images_per_s", scale: 1, floor: true },
  { title: "Time waiting for images, %", keeps: (name) => name === "waiting_share", scale: 100, floor: true },
];
const SHARES = { objects: /^positive_share_\d+$/, background: /^negative_share_\d+$/ };

function element(name, attributes, text) {
  const node = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function niceSteps(low, high, wanted) {
  const raw = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((value) => value >= raw);
  const ticks = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) ticks.push(Number(value.toPrecision(12)));
  return ticks;
}

function short(value) {
  return Math.abs(value) >= 1000 ? `${Number((value / 1000).toPrecision(3))}k` : String(Number(value.toPrecision(3)));
}

// Over all levels, where the point tells of each level.
function shares(values) {
  const found = {};
  for (const [name, belongs] of Object.entries(SHARES)) {
    const parts = Object.entries(values).filter(([key]) => belongs.test(key)).map(([, value]) => value);
    if (parts.length) found[name] = parts.reduce((sum, value) => sum + value, 0);
  }
  return found;
}

export class Curves {
  constructor(root) {
    this.root = root;
    this.points = [];
  }

  add(point) {
    const values = point.values ?? {};
    this.points.push({ step: point.step ?? this.points.length, epoch: point.epoch ?? null, values: { ...values, ...shares(values) } });
  }

  // Drawn in the pixels of the page, so that letters keep their size on a phone.
  draw() {
    this.root.replaceChildren();
    this.width = Math.max(NARROWEST, Math.min(WIDEST, this.root.clientWidth - FRAME));
    for (const chart of CHARTS) {
      const lines = this.lines(chart);
      if (lines.length) this.root.append(this.figure(chart, lines));
    }
  }

  lines(chart) {
    const byName = new Map();
    for (const point of this.points) {
      for (const [name, value] of Object.entries(point.values)) {
        if (value === null || !chart.keeps(name)) continue;
        if (!byName.has(name)) byName.set(name, []);
        byName.get(name).push([point.step, value * chart.scale]);
      }
    }
    return [...byName].sort(([one], [other]) => one.length - other.length).slice(0, 5);
  }

  figure(chart, lines) {
    const figure = document.createElement("figure");
    figure.className = "figure curve";
    const caption = document.createElement("figcaption");
    const last = lines.map(([name, values]) => `${name.replaceAll("_", " ")} ${short(values.at(-1)[1])}`).join(", ");
    caption.textContent = `${chart.title}, by step; now ${last}`;
    figure.append(this.drawing(chart, lines, caption.textContent), caption);
    return figure;
  }

  drawing(chart, lines, words) {
    const all = lines.flatMap(([, values]) => values);
    const steps = all.map(([step]) => step);
    const values = all.map(([, value]) => value);
    const [first, end] = [Math.min(...steps), Math.max(...steps, Math.min(...steps) + 1)];
    const low = chart.floor ? 0 : Math.min(0, ...values);
    const high = Math.max(...values, low + 1e-9) * 1.05;
    const x = (step) => INSET.left + ((step - first) / (end - first)) * (this.width - INSET.left - INSET.right);
    const y = (value) => HEIGHT - INSET.bottom - ((value - low) / (high - low)) * (HEIGHT - INSET.top - INSET.bottom);
    const svg = element("svg", { viewBox: `0 0 ${this.width} ${HEIGHT}`, role: "img", "aria-label": words });
    for (const tick of niceSteps(low, high, 4)) {
      svg.append(element("line", { class: "curve-grid", x1: INSET.left, x2: this.width - INSET.right, y1: y(tick), y2: y(tick) }));
      svg.append(element("text", { class: "curve-tick", x: INSET.left - 6, y: y(tick) + 4, "text-anchor": "end" }, short(tick)));
    }
    for (const tick of niceSteps(first, end, this.width < 400 ? 3 : 5)) {
      svg.append(element("text", { class: "curve-tick", x: x(tick), y: HEIGHT - INSET.bottom + 17, "text-anchor": "middle" }, short(tick)));
    }
    lines.forEach(([, series], place) => this.line(svg, series, place, x, y));
    if (lines.length > 1) this.labels(svg, lines, x, y); // the caption names a line that is alone
    return svg;
  }

  line(svg, series, place, x, y) {
    const path = series.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`);
    svg.append(element("polyline", { class: `curve-line curve-${place}`, points: path.join(" ") }));
    if (series.length < 40) for (const point of path) svg.append(element("circle", { class: `curve-dot curve-${place}`, cx: point.split(",")[0], cy: point.split(",")[1], r: 2.5 }));
  }

  // Names stand right of the last point, pushed apart where lines end together.
  labels(svg, lines, x, y) {
    const places = lines.map(([name, series], place) => ({ name, place, x: x(series.at(-1)[0]) + 8, y: y(series.at(-1)[1]) + 4 }));
    places.sort((one, other) => other.y - one.y);
    places.forEach((label, index) => {
      if (index > 0) label.y = Math.min(label.y, places[index - 1].y - 14);
      svg.append(element("text", { class: `curve-label curve-label-${label.place}`, x: label.x, y: label.y }, label.name.replaceAll("_", " ")));
    });
  }
}
