// What somebody can do with what drawing.js draws, and what is said of it.
// --- what is there

const rowAt = (all, from, to) => {
  const i = after(all.to || all.from, from);
  return i < all.size && all.from[i] <= to ? i : -1;
};
const itemAt = (left, top) => {
  const from = instantAt(left - 2), to = instantAt(left + 2), at = instantAt(left);
  const tries = [];
  let lane = null;
  if (top > AXIS && top < AXIS + lanesHeight) {
    lane = lanes[Math.floor((top - AXIS + view.top) / LANE)];
    if (!lane) return null;
    tries.push([lane.runs, at, at], [lane.waits, at, at], [lane.marks, from, to], [lane.runs, from, to]);
  } else if (top > AXIS + lanesHeight) {
    let edge = AXIS + lanesHeight + GAP;
    const row = RING.findIndex(([, tall]) => top < (edge += tall + GAP));
    if (row === 2) tries.push([engine.completions, from, to]);
    else if (row === 3) tries.push([engine.depths, at, at]);
    else tries.push([engine.enters, at, at], [engine.enters, from, to]);
  }
  if (left < gutter) return lane && { lane };
  for (const [all, low, high] of tries) {
    const index = all === engine.depths ? after(all.from, at) - 1 : rowAt(all, low, high);
    if (index >= 0) return { lane, all, index };
  }
  return lane && { lane };
};

const fiberNamed = (number) => engine.lanes.find((lane) => lane.number === number).label;
const outcome = (result) => {
  if (Number.isNaN(result)) return "";
  return result < 0 ? `, refused with error ${-result}` : `, result ${result}`;
};
const said = ({ lane, all, index: i }) => {
  if (!all) return [lane.label, lane.name];
  const when = all.to ? `, from ${instant(all.from[i])} to ${instant(all.to[i])}` : `, at ${instant(all.from[i])}`;
  const length = all.to && duration(all.to[i] - all.from[i]);
  if (lane && all === lane.runs) return [lane.label, `runs for ${length}${when}.`];
  if (lane && all === lane.marks) {
    return [lane.label, `${words[all.word[i]]}${outcome(all.result[i])}${when}: over at once.`];
  }
  if (lane) return [lane.label, saidOfWait(all, i, length) + `${when}.`];
  if (all === engine.enters) {
    const locked = all.locked[i] > 5000 ? `; then it waited ${duration(all.locked[i])} for Ruby's lock` : "";
    return ["In the kernel", `for ${length} with ${count(all.submissions[i], "submission")}${locked}${when}.`];
  }
  if (all === engine.depths) return ["In flight", `${count(all.depth[i], "operation")}${when}.`];
  const alike = after(all.from, all.from[i]) - i - 1;
  return [words[all.word[i]], `is over${outcome(all.result[i])}, for fiber ${all.fiber[i]}${when}` +
    `${alike > 0 ? `; so are ${alike} more` : ""}.`];
};
const saidOfWait = (all, i, length) => {
  const kind = trace.kinds[all.kind[i]][1], what = words[all.word[i]];
  const bytes = all.bytes[i] ? `, ${count(all.bytes[i], "byte")} asked for` : "";
  const still = all.open[i] ? "still waits" : "waited";
  const asked = `${kind}${what === kind ? "" : `: ${what}`}${bytes}${outcome(all.result[i])}; ${still}, ` +
    `for ${length}`;
  const late = all.to[i] - all.from[i] - all.ready[i];
  if (all.ready[i] < 0 || all.open[i]) return asked;
  const why = all.cause[i] ? `, as ${fiberNamed(all.cause[i])} was running` : "";
  return `${asked}; it was ready after ${duration(all.ready[i])} and ran ${duration(late)} later${why}`;
};
const tell = (item) => {
  const [name, text] = item ? said(item) : ["", "Point at something, or choose it with ↑ ↓ and n."];
  const strong = document.createElement("strong");
  strong.textContent = name;
  details.replaceChildren(strong, ` ${text}`);
};

// --- moving

const look = (from, to) => {
  const length = Math.min(trace.length, Math.max(SHORTEST, to - from));
  view.from = Math.min(Math.max(0, from), trace.length - length);
  view.to = view.from + length;
  redraw();
};
const zoom = (factor, at = (view.from + view.to) / 2) => {
  const length = Math.min(trace.length, Math.max(SHORTEST, (view.to - view.from) * factor));
  const from = at - (at - view.from) / (view.to - view.from) * length;
  look(from, from + length);
};
const pan = (part) => {
  const step = (view.to - view.from) * part;
  look(view.from + step, view.to + step);
};
const choose = (item) => {
  chosen = item;
  if (item && item.lane) {
    const top = lanes.indexOf(item.lane) * LANE;
    view.top = Math.min(top, Math.max(view.top, top + LANE - lanesHeight));
  }
  tell(item);
  redraw();
};
// So that the item is seen, and what is around it.
const show = (item) => {
  const from = item.all.from[item.index], to = (item.all.to || item.all.from)[item.index];
  const seen = view.to - view.from, length = Math.max(to - from, SHORTEST);
  if (length > seen) look(from - length / 4, to + length / 4);
  else if (length * 300 < seen) look(from - 20 * length, to + 20 * length);
  else if (from < view.from || to > view.to) look((from + to - seen) / 2, (from + to + seen) / 2);
  choose(item);
};
const chooseLane = (step) => {
  const at = chosen && chosen.lane ? lanes.indexOf(chosen.lane) : -1;
  const lane = lanes[Math.min(lanes.length - 1, Math.max(0, at + step))];
  if (lane) choose({ lane });
};
// Runs and waits of the fiber, in order.
const chooseNext = (step) => {
  const lane = (chosen && chosen.lane) || lanes[0];
  if (!lane) return;
  const at = chosen && chosen.all ? chosen.all.from[chosen.index] : step > 0 ? -1 : Infinity;
  const items = [lane.runs, lane.waits, lane.marks].map((all) => {
    let index = step > 0 ? after(all.from, at) : after(all.from, at) - 1;
    if (step < 0 && all.from[index] === at) index--;
    return { lane, all, index };
  }).filter(({ all, index }) => index >= 0 && index < all.size);
  items.sort((a, b) => (a.all.from[a.index] - b.all.from[b.index]) * step);
  if (items[0]) show(items[0]);
};

const lookFor = (text) => {
  const wanted = text.trim().toLowerCase();
  const has = (one) => one.toLowerCase().includes(wanted);
  found = wanted ? { words: new Set([...words.keys()].filter((i) => has(words[i]))), hits: [], next: 0 } : null;
  lanes = engine.lanes;
  if (found) lanes = engine.lanes.filter((lane) => {
    lane.named = has(`${lane.label} ${lane.name}`);
    const before = found.hits.length;
    for (const all of [lane.waits, lane.marks]) {
      for (let index = 0; index < all.size; index++) {
        if (found.words.has(all.word[index])) found.hits.push({ lane, all, index });
      }
    }
    return lane.named || found.hits.length > before;
  });
  view.top = 0;
  redraw();
};
const nextHit = (step) => {
  if (!found || !found.hits.length) return;
  const size = found.hits.length;
  show(found.hits[(found.next + size) % size]);
  found.next = (found.next + step + size) % size;
};

const open = (number) => {
  engine = decoded(trace.engines[number]);
  if (byId("engine")) byId("engine").value = number;
  chosen = hovered = null;
  lookFor(search.value);
};

// --- what somebody does

const KEYS = {
  "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), "0": () => look(0, trace.length),
  ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2), ArrowUp: () => chooseLane(-1), ArrowDown: () => chooseLane(1),
  n: () => chooseNext(1), p: () => chooseNext(-1), "/": () => search.focus(),
  Escape: () => { search.value = ""; lookFor(""); },
};
const press = (event, key) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[key]) return;
  event.preventDefault();
  KEYS[key]();
};
canvas.addEventListener("keydown", (event) => press(event, event.key));
search.addEventListener("keydown", (event) => {
  if (event.key === "Enter") nextHit(event.shiftKey ? -1 : 1);
  if (event.key === "Escape") canvas.focus({ preventScroll: true });
  if (event.key === "Escape") press(event, event.key);
});
search.addEventListener("input", () => lookFor(search.value));
for (const button of document.querySelectorAll(".buttons button")) {
  button.addEventListener("click", (event) => press(event, button.dataset.key));
}

canvas.addEventListener("wheel", (event) => {
  // Who only scrolls past shall not be held up.
  if (document.activeElement !== canvas && !event.ctrlKey) return;
  event.preventDefault();
  const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
  const lines = event.deltaMode === 1 ? 30 : 1;
  if (event.shiftKey || sideways) pan((sideways ? event.deltaX : event.deltaY) * lines / 1000);
  else zoom(Math.exp(event.deltaY * lines / 500), instantAt(event.offsetX));
}, { passive: false });

const held = new Map();
let dragged = 0;
canvas.addEventListener("pointerdown", (event) => {
  held.set(event.pointerId, event);
  dragged = 0;
  canvas.setPointerCapture(event.pointerId);
});
canvas.addEventListener("pointermove", (event) => {
  const before = held.get(event.pointerId);
  if (!before) {
    hovered = itemAt(event.offsetX, event.offsetY);
    tell(hovered || chosen);
    return redraw();
  }
  const other = [...held.values()].find((one) => one.pointerId !== event.pointerId);
  held.set(event.pointerId, event);
  dragged += Math.abs(event.offsetX - before.offsetX) + Math.abs(event.offsetY - before.offsetY);
  if (other) {
    const apart = (one) => Math.max(10, Math.abs(one.offsetX - other.offsetX));
    return zoom(apart(before) / apart(event), instantAt((event.offsetX + other.offsetX) / 2));
  }
  view.top += before.offsetY - event.offsetY;
  pan((before.offsetX - event.offsetX) / (width - gutter));
});
const release = (event) => held.delete(event.pointerId);
canvas.addEventListener("pointercancel", release);
canvas.addEventListener("pointerup", (event) => {
  if (held.has(event.pointerId) && dragged < 4) choose(itemAt(event.offsetX, event.offsetY));
  release(event);
});
canvas.addEventListener("pointerleave", () => {
  hovered = null;
  tell(chosen);
  redraw();
});
canvas.addEventListener("dblclick", (event) => zoom(0.25, instantAt(event.offsetX)));

// Each row of the lists leads to its place in the picture.
const rows = document.querySelectorAll("tr[data-fiber]");
const itemOf = (row) => {
  const from = Number(row.dataset.from);
  const lane = engine.lanes.find((one) => one.number === Number(row.dataset.fiber));
  // A delay begins within its wait.
  const all = lane.runs.from.includes(from) ? lane.runs : lane.waits;
  return { lane, all, index: Math.max(0, after(all.from, from) - 1) };
};
for (const row of rows) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "show";
  button.setAttribute("aria-label", `show fiber ${row.dataset.fiber} at ${duration(Number(row.dataset.from))}`);
  button.addEventListener("click", () => {
    search.value = "";
    open(Number(row.dataset.engine));
    byId("heading").scrollIntoView();
    canvas.focus({ preventScroll: true });
    show(itemOf(row));
  });
  row.lastElementChild.append(" ", button);
}

if (trace.engines.length) {
  byId("live").hidden = false;
  if (byId("engine")) byId("engine").addEventListener("change", (event) => open(Number(event.target.value)));
  readColors();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readColors();
    redraw();
  });
  open(Number(rows[0] ? rows[0].dataset.engine : 0));
  draw();
  if (rows[0]) choose(itemOf(rows[0]));
  new ResizeObserver(redraw).observe(canvas);
}
