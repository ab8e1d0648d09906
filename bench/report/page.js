"use strict";

(() => {
  const drawing = JSON.parse(document.getElementById("drawing").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const root = document.documentElement;
  // A mark for each line: style, turn, and whether it is filled. Colours repeat after 8, marks do not before 14.
  const marks = [
    ["circle", 0, true], ["rect", 0, true], ["rectRot", 0, true], ["triangle", 0, true], ["circle", 0, false],
    ["rect", 0, false], ["triangle", 180, true], ["rectRot", 0, false], ["triangle", 0, false], ["crossRot", 0, false],
    ["cross", 0, false], ["star", 0, false], ["triangle", 180, false], ["line", 0, false],
  ];
  const dashes = { ours: [], other: [6, 4], bound: [2, 3] };
  const steps = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 0.8, 1, 1.25, 2, 5, 10, 20, 50, 100, 200, 500, 1000];
  const short = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
  const grouped = new Intl.NumberFormat("en", { maximumSignificantDigits: 4 });
  let charts = [];

  const colour = (name) => getComputedStyle(root).getPropertyValue(`--${name}`).trim();
  const exactly = (values) => (axis) => { axis.ticks = values.map((value) => ({ value })); };

  function axis(title, more = {}) {
    return {
      title: { display: Boolean(title), text: title, color: colour("quiet") },
      grid: { color: colour("rule") },
      border: { color: colour("rule") },
      ticks: { color: colour("text"), maxRotation: 0, callback: (value) => short.format(value) },
      ...more,
    };
  }

  function line(series, shown) {
    const [pointStyle, pointRotation, filled] = marks[series.mark % marks.length];
    const stroke = colour(`line-${series.mark % 8}`);
    return {
      label: series.name,
      hidden: !shown.has(series.name),
      clip: 10,
      data: series.points.map(([x, y]) => ({ x, y })),
      borderColor: stroke,
      borderDash: dashes[series.kind],
      borderWidth: series.name === "io_uring" ? 3 : 1.75,
      pointStyle,
      pointRotation,
      pointRadius: 5,
      pointHoverRadius: 7,
      pointBorderWidth: 2,
      pointBorderColor: stroke,
      pointBackgroundColor: filled ? stroke : colour("page"),
    };
  }

  function lines(chart) {
    const boxes = document.querySelectorAll(`[data-ladder="${chart.id.replace(/[^-]*$/, "")}"] :checked`);
    const shown = new Set([...boxes].map((box) => box.value));
    return {
      type: "line",
      data: { datasets: chart.lines.map((series) => line(series, shown)) },
      options: {
        interaction: { mode: "nearest", intersect: false },
        plugins: {
          legend: {
            onClick() {},
            labels: { usePointStyle: true, boxHeight: 7, color: colour("text"), filter: (item) => !item.hidden },
          },
          tooltip: {
            displayColors: false,
            callbacks: {
              title: ([item]) => `${grouped.format(item.parsed.x)} connections`,
              label: (item) => `${item.dataset.label}: ${grouped.format(item.parsed.y)}`,
            },
          },
        },
        scales: {
          x: axis("connections", { type: "logarithmic", afterBuildTicks: exactly(chart.connections),
            min: chart.connections[0], max: chart.connections.at(-1) }),
          y: axis(chart.unit, { type: chart.log ? "logarithmic" : "linear", beginAtZero: !chart.log }),
        },
      },
    };
  }

  function ratios(rows) {
    const values = rows.flatMap((row) => [row.value, ...row.spread, 0.8, 1.25]);
    const min = steps.findLast((step) => step <= Math.min(...values)) ?? Math.min(...values);
    const max = steps.find((step) => step >= Math.max(...values)) ?? Math.max(...values);
    // Only as many as a phone has room for; 1 is always among them.
    const width = max / min;
    const chosen = (step) => {
      if (width > 20) return Number.isInteger(Math.log10(step));
      return width < 5 || (step !== 0.8 && step !== 1.25);
    };
    const ticks = steps.filter((step) => step >= min && step <= max && chosen(step));
    const one = (context) => colour(context.tick?.value === 1 ? "strong-rule" : "rule");
    return { type: "logarithmic", min, max, afterBuildTicks: exactly(ticks), grid: { color: one } };
  }

  function bars(chart) {
    const edge = (row) => colour(row.ours ? "ours-edge" : "other-edge");
    return {
      type: "bar",
      data: {
        labels: chart.rows.map((row) => `${row.name}  ${row.label}`),
        datasets: [
          { data: chart.rows.map((row) => row.spread), backgroundColor: colour("spread"), barThickness: 3,
            minBarLength: 2 },
          { data: chart.rows.map((row) => row.value), base: chart.relative ? 1 : 0, barThickness: 14, borderWidth: 1,
            backgroundColor: chart.rows.map((row) => colour(row.ours ? "ours" : "other")),
            borderColor: chart.rows.map(edge), borderSkipped: false },
        ],
      },
      options: {
        indexAxis: "y",
        grouped: false,
        interaction: { mode: "index", axis: "y", intersect: false },
        plugins: {
          legend: { display: false },
          tooltip: {
            displayColors: false,
            filter: (item) => item.datasetIndex === 1,
            callbacks: {
              label(item) {
                const row = chart.rows[item.dataIndex];
                return `${row.spread.map((value) => grouped.format(value)).join(" to ")} ${chart.unit}`;
              },
            },
          },
        },
        scales: {
          x: axis("", chart.relative ? ratios(chart.rows) : { beginAtZero: true }),
          y: { grid: { display: false }, border: { color: colour("rule") },
            ticks: { color: colour("text"), autoSkip: false, crossAlign: "far" } },
        },
      },
    };
  }

  function draw() {
    charts.forEach((chart) => chart.destroy());
    Object.assign(Chart.defaults, { animation: false, maintainAspectRatio: false, color: colour("text") });
    Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
    Chart.defaults.devicePixelRatio = root.dataset.paper === undefined ? undefined : 3;
    const all = [...drawing.ladders.map((chart) => [chart, lines]), ...drawing.bars.map((chart) => [chart, bars])];
    charts = all.map(([chart, config]) => new Chart(document.getElementById(chart.id), config(chart)));
  }

  document.querySelectorAll("[data-ladder]").forEach((field) => {
    field.hidden = false;
    field.addEventListener("change", (event) => {
      charts.filter((chart) => chart.canvas.id.startsWith(field.dataset.ladder)).forEach((chart) => {
        chart.data.datasets.forEach((set, index) => {
          if (set.label === event.target.value) chart.setDatasetVisibility(index, event.target.checked);
        });
        chart.update();
      });
    });
  });
  dark.addEventListener("change", draw);
  addEventListener("beforeprint", () => { root.dataset.paper = ""; draw(); });
  addEventListener("afterprint", () => { delete root.dataset.paper; draw(); });
  draw();
})();
