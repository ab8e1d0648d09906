// Draws the numbers of columns.rb: only what is visible, and one bar for all that is narrower than a dot. The other half
// of the script is page.js.
const byId = (id) => document.getElementById(id);
const trace = JSON.parse(byId("trace").textContent);
const words = trace.words;
const [canvas, details, range, search] = ["canvas", "details", "range", "search"].map(byId);
const context = canvas.getContext("2d");
const LANE = 20, AXIS = 22, BAR = 15, READY = 10, LOW = 6, SHORTEST = 1000;
const RING = [["in the kernel", 16], ["submissions", 26], ["completions", 26], ["in flight", 40]];
const GAP = 8;
const ringHeight = RING.reduce((sum, row) => sum + row[1] + GAP, GAP);
let colors, engine, lanes, width, height, lanesHeight, gutter, pending;
const view = { from: 0, to: trace.length, top: 0 };
let chosen = null, hovered = null; // a lane or none for the ring, the columns, and the row in them
let found = null; // the numbers of words, and hits

// --- numbers

// Rows of numbers, whose first is the time since the row before, as an array for each column.
const columns = (rows, names) => {
  const size = rows.length / names.length;
  const result = { size };
  names.forEach((name, column) => {
    const numbers = new Float64Array(size);
    for (let i = 0; i < size; i++) {
      const number = rows[i * names.length + column];
      numbers[i] = number === null ? NaN : number;
    }
    result[name] = numbers;
  });
  const first = result[names[0]];
  for (let i = 1; i < size; i++) first[i] += first[i - 1];
  return result;
};
const spans = (rows, names) => {
  const result = columns(rows, ["from", "to", ...names]);
  for (let i = 0; i < result.size; i++) result.to[i] += result.from[i];
  return result;
};
const WAIT = ["kind", "ready", "word", "bytes", "result", "cause", "open"];
const decoded = (raw) => {
  const one = {
    lanes: raw.fibers.map(([number, name, place], index) => ({
      number, name, label: place ? `fiber ${number} (${place})` : `fiber ${number}`, short: `${number} ${place}`,
      runs: spans(raw.runs[index], []), waits: spans(raw.waits[index], WAIT),
      marks: columns(raw.marks[index], ["from", "word", "result"]),
    })),
    enters: spans(raw.enters, ["submissions", "locked"]), depths: columns(raw.depths, ["from", "depth"]),
    completions: columns(raw.completions, ["from", "word", "result", "fiber"]), collections: spans(raw.collections, []),
  };
  one.mostSubmissions = one.enters.submissions.reduce((a, b) => Math.max(a, b), 1);
  one.mostDepth = one.depths.depth.reduce((a, b) => Math.max(a, b), 1);
  return one;
};
// The first row whose number in this column is above the limit; all are in order.
const after = (column, limit) => {
  let low = 0, high = column.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (column[middle] > limit) high = middle; else low = middle + 1;
  }
  return low;
};
const duration = (ns) => {
  const [unit, name] = ns < 1e3 ? [1, "ns"] : ns < 1e6 ? [1e3, "µs"] : ns < 1e9 ? [1e6, "ms"] : [1e9, "s"];
  const value = ns / unit;
  return `${value >= 100 || unit === 1 ? Math.round(value) : Number(value.toFixed(value >= 10 ? 1 : 2))} ${name}`;
};
// Of an instant, as exactly as the picture shows it.
const instant = (ns) => {
  const seen = view.to - view.from;
  const digits = Math.max(0, Math.min(6, 9 - Math.ceil(Math.log10(seen))));
  if (ns === 0) return "0";
  return ns < 1e6 && seen < 1e6 ? duration(ns) : `${Number((ns / 1e6).toFixed(digits))} ms`;
};
const count = (number, one) => `${number.toLocaleString("en")} ${one}${number === 1 ? "" : "s"}`;

// --- drawing

const x = (at) => gutter + (at - view.from) / (view.to - view.from) * (width - gutter);
const instantAt = (left) => view.from + (left - gutter) / (width - gutter) * (view.to - view.from);

const readColors = () => {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  colors = { kinds: trace.kinds.map(([name]) => color(name)) };
  for (const name of ["ground", "text", "quiet", "line", "computing", "runnable", "system", "socket", "gvl", "gc"]) {
    colors[name] = color(name);
  }
};

// Draws bars that stand on the base. Those that touch, and are alike, are one.
const painter = (base) => {
  let from = -1, to = -1, high = 0, color;
  const flush = () => {
    if (to <= from) return;
    context.fillStyle = color;
    context.fillRect(from, base - high, to - from, high);
  };
  const add = (left, right, tall, paint) => {
    if (left <= to && tall === high && paint === color) {
      if (right > to) to = right;
      return;
    }
    flush();
    [from, to, high, color] = [left, right, tall, paint];
  };
  return { add, flush };
};

// What is narrower than a dot is summed up: its part of the dot is the height.
const bars = (all, base, tall, low, color) => {
  const { from, to } = all, paint = painter(base);
  const scale = (width - gutter) / (view.to - view.from);
  let cell = -1, part = 0;
  const sum = () => cell >= 0 && paint.add(cell, cell + 1, Math.round(low + Math.min(1, part) * (tall - low)), color);
  for (let i = after(to, view.from); i < all.size && from[i] < view.to; i++) {
    const left = Math.max(gutter, gutter + (from[i] - view.from) * scale);
    const right = Math.min(width, gutter + (to[i] - view.from) * scale);
    if (right - left >= 1) {
      sum();
      cell = -1;
      paint.add(left, right, tall, color);
    } else if (Math.floor(left) === cell) {
      part += right - left;
    } else {
      sum();
      [cell, part] = [Math.floor(left), right - left];
    }
  }
  sum();
  paint.flush();
};

const drawWaits = ({ waits, named }, base) => {
  const paint = painter(base), idle = trace.kinds.length - 1;
  const scale = (width - gutter) / (view.to - view.from);
  let last = -1;
  for (let i = after(waits.to, view.from); i < waits.size && waits.from[i] < view.to; i++) {
    const right = Math.min(width, gutter + (waits.to[i] - view.from) * scale);
    const left = Math.max(gutter, last, gutter + (waits.from[i] - view.from) * scale);
    // This dot is taken, or nothing waits here.
    if (waits.kind[i] === idle || Math.ceil(right) <= last) continue;
    const faint = found && !named && !found.words.has(waits.word[i]);
    const known = waits.ready[i] >= 0;
    const middle = known ? Math.max(left, gutter + (waits.from[i] + waits.ready[i] - view.from) * scale) : right;
    if (Math.min(middle, right) > left) {
      const color = faint ? colors.line : colors.kinds[waits.kind[i]];
      paint.add(left, Math.max(left + 1, Math.min(middle, right)), LOW, color);
    }
    if (right - middle > 0.3) paint.add(middle, Math.max(middle + 1, right), READY, colors.runnable);
    last = Math.floor(Math.max(right, left + 1));
  }
  paint.flush();
};

const drawMarks = (marks, base) => {
  let last = -1;
  context.fillStyle = colors.text;
  for (let i = after(marks.from, view.from); i < marks.size && marks.from[i] < view.to; i++) {
    const left = Math.floor(x(marks.from[i]));
    if (left === last) continue;
    context.fillRect(left, base - BAR - 2, 2, 3);
    last = left;
  }
};

// A word that is cut where the next thing begins.
const write = (text, left, base, room, color = colors.text) => {
  let cut = text;
  context.fillStyle = color;
  while (cut.length > 1 && context.measureText(cut).width > room) cut = `${cut.slice(0, cut.length > 9 ? -3 : -2)}…`;
  context.fillText(cut, left, base);
};

const drawAxis = () => {
  const rough = (view.to - view.from) / Math.max(3, (width - gutter) / 110);
  const unit = 10 ** Math.floor(Math.log10(rough));
  const step = [unit, 2 * unit, 5 * unit, 10 * unit].find((one) => one >= rough);
  context.fillStyle = colors.line;
  const first = Math.ceil(view.from / step) * step;
  for (let at = first; at <= view.to; at += step) context.fillRect(Math.floor(x(at)), AXIS - 4, 1, height);
  context.textAlign = "center";
  for (let at = first; at <= view.to; at += step) {
    const text = instant(at);
    const half = context.measureText(text).width / 2;
    if (x(at) + half < width && x(at) - half > 0) write(text, x(at), 14, 200, colors.quiet);
  }
  context.textAlign = "left";
};

const drawLanes = () => {
  context.save();
  context.beginPath();
  context.rect(0, AXIS, width, lanesHeight);
  context.clip();
  context.globalAlpha = 0.3;
  bars(engine.collections, AXIS + lanesHeight, lanesHeight, lanesHeight, colors.gc);
  context.globalAlpha = 1;
  const first = Math.floor(view.top / LANE);
  for (let i = first; i < lanes.length && AXIS + i * LANE - view.top < AXIS + lanesHeight; i++) {
    const lane = lanes[i], base = AXIS + (i + 1) * LANE - view.top - 2;
    if (chosen && chosen.lane === lane) {
      context.fillStyle = colors.line;
      context.globalAlpha = 0.5;
      context.fillRect(0, base - LANE + 2, width, LANE);
      context.globalAlpha = 1;
    }
    drawWaits(lane, base);
    bars(lane.runs, base, BAR, LOW, colors.computing);
    drawMarks(lane.marks, base);
    write(lane.short, 6, base - 3, gutter - 10);
  }
  context.restore();
  if (lanes.length * LANE > lanesHeight) drawScroll();
};

const drawScroll = () => {
  const part = lanesHeight / (lanes.length * LANE);
  context.fillStyle = colors.quiet;
  context.fillRect(width - 4, AXIS + view.top * part, 3, Math.max(12, lanesHeight * part));
};

// The largest number of each dot.
const heights = (from, values, most, base, tall, color) => {
  let cell = -1, high = 0;
  context.fillStyle = color;
  const flush = () => high > 0 && context.fillRect(cell, base - high / most * tall, 2, high / most * tall);
  for (let i = after(from, view.from); i < from.length && from[i] <= view.to; i++) {
    const left = Math.floor(x(from[i]));
    if (left !== cell) {
      flush();
      [cell, high] = [left, 0];
    }
    high = Math.max(high, values[i]);
  }
  flush();
};

const drawDepths = (base, tall) => {
  const { from, depth, size } = engine.depths;
  const most = new Float64Array(width + 1);
  for (let i = Math.max(0, after(from, view.from) - 1); i < size && from[i] < view.to; i++) {
    const right = Math.min(width, x(i + 1 < size ? from[i + 1] : trace.length));
    for (let left = Math.floor(Math.max(gutter, x(from[i]))); left < right; left++) {
      if (depth[i] > most[left]) most[left] = depth[i];
    }
  }
  const paint = painter(base);
  for (let left = gutter; left < width; left++) {
    if (most[left]) paint.add(left, left + 1, most[left] / engine.mostDepth * tall, colors.socket);
  }
  paint.flush();
};

const drawCompletions = (base, tall) => {
  const { from, size } = engine.completions;
  const counts = [];
  let most = 1;
  for (let i = after(from, view.from); i < size && from[i] <= view.to; i++) {
    const cell = x(from[i]) >> 1;
    counts[cell] = (counts[cell] || 0) + 1;
    if (counts[cell] > most) most = counts[cell];
  }
  context.fillStyle = colors.kinds[2];
  counts.forEach((number, cell) => context.fillRect(cell * 2, base - number / most * tall, 2, number / most * tall));
  return most;
};

const drawRing = () => {
  let base = AXIS + lanesHeight + GAP;
  context.fillStyle = colors.quiet;
  context.fillRect(0, AXIS + lanesHeight, width, 1);
  const label = (name, most) => {
    const long = most ? `${name}, ${most} at most` : name;
    const fits = context.measureText(long).width < gutter - 10;
    write(fits ? long : name, 6, base - 4, gutter - 10, colors.quiet);
  };
  RING.forEach(([name, tall], row) => {
    base += tall;
    if (row === 0) {
      drawKernel(base, tall);
      label(name);
    } else if (row === 1) {
      heights(engine.enters.from, engine.enters.submissions, engine.mostSubmissions, base, tall, colors.system);
      label(name, engine.mostSubmissions);
    } else if (row === 2) {
      label(name, drawCompletions(base, tall));
    } else {
      drawDepths(base, tall);
      label(name, engine.mostDepth);
    }
    context.fillStyle = colors.line;
    context.fillRect(0, base, width, 1);
    base += GAP;
  });
};

const drawKernel = (base, tall) => {
  const { enters } = engine;
  bars(enters, base, tall, 4, colors.system);
  context.textAlign = "center";
  for (let i = after(enters.to, view.from); i < enters.size && enters.from[i] < view.to; i++) {
    const right = x(enters.to[i]), left = Math.max(gutter, x(enters.from[i]));
    if (enters.locked[i] > 5000) {
      context.fillStyle = colors.gvl;
      context.fillRect(right, base - tall, Math.max(1, x(enters.to[i] + enters.locked[i]) - right), tall);
    }
    if (Math.min(width, right) - left > 28 && enters.submissions[i]) {
      write(String(enters.submissions[i]), (left + Math.min(width, right)) / 2, base - 4, 40, colors.ground);
    }
  }
  context.textAlign = "left";
};

const drawChosen = (item, color) => {
  if (!item || !item.all) return;
  const i = lanes.indexOf(item.lane), all = item.all;
  const top = item.lane ? AXIS + i * LANE - view.top : AXIS + lanesHeight + GAP;
  if (item.lane && (i < 0 || top + LANE <= AXIS || top >= AXIS + lanesHeight)) return;
  const left = Math.max(gutter, x(all.from[item.index])), right = Math.min(width, x((all.to || all.from)[item.index]));
  if (right < gutter || left > width) return;
  context.strokeStyle = color;
  context.lineWidth = 2;
  context.strokeRect(left - 1, top + 1, Math.max(3, right - left + 2), LANE - 2);
};

const draw = () => {
  pending = false;
  const begin = performance.now();
  const ratio = window.devicePixelRatio || 1;
  width = canvas.clientWidth;
  gutter = Math.round(Math.min(190, width * 0.27));
  const room = Math.max(200, Math.min(640, Math.round(window.innerHeight * 0.55)));
  lanesHeight = Math.min(Math.max(lanes.length, 3) * LANE, room);
  height = AXIS + lanesHeight + ringHeight;
  const most = Math.max(0, lanes.length * LANE - lanesHeight);
  view.top = Math.min(Math.max(0, view.top), most);
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.style.height = `${height}px`;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = colors.ground;
  context.fillRect(0, 0, width, height);
  drawAxis();
  drawLanes();
  drawRing();
  drawChosen(hovered, colors.quiet);
  drawChosen(chosen, colors.text);
  const all = engine.lanes.length === lanes.length ? "" : ` of ${engine.lanes.length}`;
  range.textContent = `${instant(view.from)} to ${instant(view.to)} of ${duration(trace.length)}, ` +
    `${count(lanes.length, "fiber")}${all}${found ? `, ${found.hits.length.toLocaleString("en")} found` : ""}`;
  Object.assign(canvas.dataset, { from: view.from, to: view.to, lanes: lanes.length,
    milliseconds: (performance.now() - begin).toFixed(2) });
};
const redraw = () => {
  if (!pending) requestAnimationFrame(draw);
  pending = true;
};
