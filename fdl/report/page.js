// Draws the page's figures from the JSON in #data, lets contestants be switched off, and makes tables sort.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const several = data.studies.length > 1;
  const off = new Set(data.off); // "c0": the first contestant, "s1": the second study
  const tip = document.getElementById("tip");
  const NS = "http://www.w3.org/2000/svg";
  const COLOURS = 10, LINES = 4; // classes c0.. and dash0.. of the style sheet

  const html = (tag, attributes = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), attributes);
    made.append(...children);
    return made;
  };
  const svg = (parent, tag, attributes = {}, text = null) => {
    const made = document.createElementNS(NS, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== null) made.textContent = text;
    parent.append(made);
    return made;
  };

  const cut = (text, length) => (text.length > length ? text.slice(0, Math.max(1, length - 1)) + "…" : text);

  // Numbers and axes
  const format = (v) => {
    if (v === 0 || !Number.isFinite(v)) return String(v);
    const size = Math.abs(v);
    if (size >= 1e6 || size < 1e-3) return v.toExponential(3).replace(/\.?0+e/, "e").replace("e+", "e");
    return String(Number(v.toPrecision(5)));
  };
  const shown = (axis) => ({ // the value's place, before it is stretched to pixels
    log: (v) => (v > 0 ? Math.log10(v) : NaN),
    error: (v) => Math.log10(Math.max(1 - v, axis.floor)),
  }[axis.scale] || ((v) => v));

  function ticks(axis, low, high, room) {
    if (axis.names) return axis.names.map((name, i) => [i, name]);
    if (axis.scale === "log" || axis.scale === "error") {
      const made = [], decades = high - low;
      const parts = decades < 1.2 ? [1, 1.5, 2, 3, 5, 7] : decades < 2.5 ? [1, 2, 5] : [1];
      const every = Math.max(1, Math.ceil(decades / room));
      for (let e = Math.floor(low); e <= high; e++) {
        if (e % every) continue;
        for (const part of parts) {
          const at = e + Math.log10(part);
          if (at >= low && at <= high) made.push([at, format(part * 10 ** e)]);
        }
      }
      if (made.length > 1) return made;
      return [low, high].map((at) => [at, format(Number((10 ** at).toPrecision(3)))]);
    }
    const raw = Math.max((high - low) / Math.max(room, 1), axis.whole ? 1 : 0), power = 10 ** Math.floor(Math.log10(raw));
    const step = [1, 2, 5, 10].find((n) => n * power >= raw) * power;
    const made = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) made.push([i * step, format(Number((i * step).toPrecision(12)))]);
    return made;
  }

  function extent(axis, values) {
    if (axis.names) return [-0.6, axis.names.length - 0.4];
    if (axis.range) return axis.range;
    const place = shown(axis), all = values.map(place).filter(Number.isFinite).sort((a, b) => a - b);
    if (!all.length) return null;
    let [low, high] = [all[0], all[all.length - 1]];
    const usual = all[Math.floor(0.98 * (all.length - 1))]; // a few runs on their way to infinity must not flatten the others
    if (axis.scale !== "linear" && high > usual + 2) high = usual + 1;
    if (axis.scale === "linear" && axis.robust && high > low + 10 * (usual - low) && usual > low) high = low + 1.5 * (usual - low);
    const margin = (high - low || Math.abs(high) * 0.1 || 1) * 0.04;
    return [low - margin, high + margin];
  }

  // One figure
  const visible = (s) => !off.has("c" + s.c) && !off.has("s" + s.s);
  const title = (s) => data.contestants[s.c] + (several ? " · " + data.studies[s.s] : "");
  const dash = (s) => "dash" + ((several ? s.s : Math.floor(s.c / COLOURS)) % LINES);

  function draw(host, figure) {
    const rows = figure.y.names, width = Math.max(host.clientWidth, 260);
    const height = rows ? 56 + (rows.length > 12 ? 26 : 38) * Math.max(rows.length, 2) : Math.round(Math.min(figure.height || 400, Math.max(250, width * 0.55)));
    const longest = rows ? Math.max(...rows.map((name) => name.length), 0) : 0;
    const left = rows ? Math.min(width * 0.36, longest * 7.9 + 14) : 64;
    const box = { left, right: width - 14, top: 12, bottom: height - 42 };
    const series = rows ? figure.series : figure.series.filter(visible);
    const [xs, ys] = ["x", "y"].map((k) => series.flatMap((s) => (Array.isArray(s[k]) && !s.loose ? s[k] : [])).filter((v) => v !== null));
    const ends = series.flatMap((s) => (s.low ? [...s.low, ...s.high] : [])).filter((v) => v !== null);
    const [reachX, reachY] = [extent(figure.x, xs), extent(figure.y, ys.concat(ends))];
    const [x0, x1] = reachX || [0, 1], [y0, y1] = reachY || [0, 1];
    const placeX = shown(figure.x), placeY = shown(figure.y), down = Boolean(rows);
    const toX = (at) => box.left + ((at - x0) / (x1 - x0)) * (box.right - box.left);
    const toY = (at) => (down ? box.top + ((at - y0) / (y1 - y0)) * (box.bottom - box.top) : box.bottom - ((at - y0) / (y1 - y0)) * (box.bottom - box.top));
    const px = (v) => (v === null ? NaN : toX(placeX(v))), py = (v) => (v === null ? NaN : toY(placeY(v)));

    const root = svg(host, "svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": host.dataset.alt });
    const clip = "clip-" + host.dataset.figure;
    svg(svg(svg(root, "defs"), "clipPath", { id: clip }), "rect", { x: box.left - 6, y: box.top - 6, width: box.right - box.left + 12, height: box.bottom - box.top + 12 });
    for (const [at, text] of reachX ? ticks(figure.x, x0, x1, (box.right - box.left) / (figure.x.scale === "linear" ? 64 : 50)) : []) {
      svg(root, "line", { class: "grid", x1: toX(at), x2: toX(at), y1: box.top, y2: box.bottom });
      svg(root, "text", { x: toX(at), y: box.bottom + 16, "text-anchor": "middle" }, text);
    }
    for (const [at, text] of reachY ? ticks(figure.y, y0, y1, (box.bottom - box.top) / 45) : []) {
      if (!rows) svg(root, "line", { class: "grid", x1: box.left, x2: box.right, y1: toY(at), y2: toY(at) });
      const short = cut(text, (box.left - 12) / 7.7);
      const label = svg(root, "text", { class: rows ? "row" : "", x: box.left - 8, y: toY(at) + 4, "text-anchor": "end" }, short);
      if (short !== text) svg(label, "title", {}, text);
    }
    svg(root, "text", { class: "label", x: (box.left + box.right) / 2, y: height - 6, "text-anchor": "middle" }, cut(figure.x.label, (box.right - box.left) / 8));
    if (!rows) svg(root, "text", { class: "label", transform: `translate(13 ${(box.top + box.bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, cut(figure.y.label, (box.bottom - box.top) / 7));

    if (!reachX || !reachY) svg(root, "text", { class: "row", x: (box.left + box.right) / 2, y: (box.top + box.bottom) / 2, "text-anchor": "middle" }, "nothing finite to show");

    const plot = svg(root, "g", { "clip-path": `url(#${clip})` }), hits = [];
    const path = (x, y, step = false) => { // a line with gaps where a value is missing
      let d = "", pen = "M";
      x.forEach((v, i) => {
        const [a, b] = [px(v), py(y[i])];
        if (!Number.isFinite(a) || !Number.isFinite(b)) { pen = "M"; return; }
        d += (step && pen === "L" ? `H${a.toFixed(1)}` : "") + pen + a.toFixed(1) + " " + b.toFixed(1);
        pen = "L";
      });
      return d;
    };
    const band = (parent, s) => {
      const whole = s.x.map((_, i) => i).filter((i) => [px(s.x[i]), py(s.low[i]), py(s.high[i])].every(Number.isFinite));
      const points = [...whole.map((i) => [s.x[i], s.high[i]]), ...whole.reverse().map((i) => [s.x[i], s.low[i]])];
      if (points.length) svg(parent, "path", { class: `band ${s.band || ""} c${s.c % COLOURS}`, d: path(points.map((p) => p[0]), points.map((p) => p[1])) + "Z" });
    };
    series.filter((s) => s.low && s.line).forEach((s) => band(plot, s));
    for (const s of series) {
      const y = s.y === "top" ? null : s.y, colour = `c${s.c % COLOURS}`;
      if (s.line) svg(plot, "path", { class: `line ${s.line} ${colour} ${dash(s)}`, d: path(s.x, y, s.step) });
      if (s.low && !s.line) s.x.forEach((v, i) => {
        const [a, l, h] = [px(v), py(s.low[i]), py(s.high[i])];
        if ([a, l, h].every(Number.isFinite)) svg(plot, "path", { class: `line thin ${colour}`, d: `M${a} ${l}V${h}` });
      });
      s.x.forEach((v, i) => {
        const a = px(v), b = y ? py(y[i]) : box.top + 2;
        if (!Number.isFinite(a) || !Number.isFinite(b)) return;
        if (s.mark) svg(plot, "path", { class: `mark ${s.mark} ${colour}`, d: MARKS[s.mark](a.toFixed(1), b.toFixed(1)) });
        if (!s.quiet) hits.push({ a, b, s, i });
      });
    }
    const hot = svg(root, "g", { class: "hot" });
    const move = (event) => {
      const frame = root.getBoundingClientRect(), scale = width / frame.width;
      const [mx, my] = [(event.clientX - frame.left) * scale, (event.clientY - frame.top) * scale];
      let best = null, least = 60 ** 2;
      for (const hit of hits) {
        const far = (hit.a - mx) ** 2 + (hit.b - my) ** 2;
        if (far < least) [best, least] = [hit, far];
      }
      hot.replaceChildren();
      tip.hidden = !best;
      if (!best) return;
      const { s, i } = best, colour = `c${s.c % COLOURS}`;
      const front = svg(hot, "g", { "clip-path": `url(#${clip})` });
      if (s.line && s.low) band(front, s);
      if (s.line) svg(front, "path", { class: `line ${colour}`, d: path(s.x, s.y, s.step) });
      svg(hot, "circle", { class: colour, cx: best.a, cy: best.b, r: 5 });
      const lines = [...(s.notes ? s.notes[i] : s.note || "").split("\n"), `${figure.x.value || figure.x.label} ${figure.x.names ? figure.x.names[s.x[i]] : format(s.x[i])}`];
      if (!rows && s.y !== "top") lines.push(`${figure.y.value || figure.y.label} ${format(s.y[i])}`);
      if (s.between) lines.push(`${s.between} ${format(s.low[i])} to ${format(s.high[i])}`);
      tip.replaceChildren(html("b", { className: colour }, title(s)), ...lines.filter(Boolean).map((line) => html("div", {}, line)));
      const at = frame.left + best.a / scale, room = document.documentElement.clientWidth - tip.offsetWidth - 8;
      tip.style.left = Math.max(8, Math.min(at + 14, room)) + "px";
      tip.style.top = Math.max(8, frame.top + best.b / scale - tip.offsetHeight - 12) + "px";
    };
    root.addEventListener("pointermove", move);
    root.addEventListener("pointerdown", move);
    root.addEventListener("pointerleave", () => { tip.hidden = true; hot.replaceChildren(); });
  }

  const circle = (r) => (x, y) => `M${x} ${y}m-${r} 0a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0-${2 * r} 0`;
  const MARKS = {
    dot: circle(3), mean: circle(5), ring: circle(7),
    cross: (x, y) => `M${x} ${y}m-4-4l8 8m0-8l-8 8`,
    diamond: (x, y) => `M${x} ${y}m0-6l6 6l-6 6l-6-6z`,
  };

  // The learning curves, as the controls want them
  function learning() {
    const value = (name) => document.querySelector(`[name=${name}]`);
    const { runs, grids, metrics, axes, per_step: perStep } = data.curves;
    const metric = Number(value("metric").value), axis = axes.indexOf(value("axis").value), phase = value("phase").value;
    const y = { ...metrics[metric], robust: true };
    if (!value("log").checked) [y.scale, y.label] = ["linear", y.value];
    value("log").disabled = metrics[metric].scale === "linear";
    const series = [];
    for (const run of runs) {
      const [grid, values] = run.curves[metric], each = perStep[run.s][run.c][axis];
      if (!values.length || each === null || (phase !== "all" && run.phase !== phase)) continue;
      const line = run.phase === "final" ? "run" : "faint", alone = values.length === 1 ? { mark: "dot" } : {};
      const x = grids[grid].map((step) => step * each);
      const note = `${run.h}${run.h && "\n"}${run.note}`;
      const notes = axes[axis] === "steps" ? null : grids[grid].map((step) => `${note}\nstep ${step}`);
      series.push({ c: run.c, s: run.s, x, y: values, line, note, notes, ...alone });
    }
    series.sort((a, b) => (a.line === "run") - (b.line === "run"));
    if (phase === "final") series.push(...means(series));
    return { x: { label: axes[axis] === "steps" ? "step" : axes[axis], scale: "linear" }, y, series };
  }

  function means(series) { // of runs measured at the same steps, where all of them are finite
    const groups = {};
    for (const s of series) (groups[[s.c, s.s, s.x.join()].join()] ||= []).push(s);
    return Object.values(groups).filter((group) => group.length > 1).map((group) => ({
      ...group[0], line: "mean", quiet: true,
      y: group[0].y.map((_, i) => (group.every((s) => s.y[i] !== null) ? group.reduce((sum, s) => sum + s.y[i], 0) / group.length : null)),
    }));
  }

  // Switches, redrawing
  const hosts = [...document.querySelectorAll("[data-figure]")];
  function redraw() {
    tip.hidden = true;
    for (const host of hosts) {
      host.querySelector(":scope > svg")?.remove();
      draw(host, host.dataset.figure === "curves" ? learning() : data.figures[host.dataset.figure]);
    }
    for (const chip of document.querySelectorAll("[data-key]")) chip.setAttribute("aria-pressed", String(!off.has(chip.dataset.key)));
  }
  const keys = [...data.contestants.map((_, i) => "c" + i), ...(several ? data.studies.map((_, i) => "s" + i) : [])];
  function legend() {
    const bar = html("div", { className: "legend", role: "group" });
    bar.setAttribute("aria-label", "Shown in the figures");
    const button = (className, text, click) => bar.appendChild(html("button", { type: "button", className, onclick: click }, ...text));
    for (const key of keys) {
      const i = Number(key.slice(1)), one = key[0] === "c", swatch = html("i", { className: one ? `c${i % COLOURS}` : `dash${i % LINES}` });
      const chip = button("chip", [swatch, one ? data.contestants[i] : data.studies[i]], () => { off.delete(key) || off.add(key); redraw(); });
      chip.dataset.key = key;
    }
    if (data.contestants.length > 2) {
      button("all", ["all"], () => { off.clear(); redraw(); });
      button("all", ["none"], () => { data.contestants.forEach((_, i) => off.add("c" + i)); redraw(); });
    }
    return bar;
  }
  for (const host of hosts) if (host.dataset.figure !== "final") host.prepend(legend());
  document.querySelector(".controls")?.addEventListener("change", redraw);
  document.documentElement.classList.add("js");
  let width = 0;
  new ResizeObserver(() => {
    if (document.body.clientWidth !== width) { width = document.body.clientWidth; redraw(); }
  }).observe(document.body);

  // Tables sort by a click on a head: up, then down
  const number = (row, column) => (row.cells[column].dataset.v === undefined ? NaN : Number(row.cells[column].dataset.v));
  for (const table of document.querySelectorAll("table.sort")) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      head.replaceChildren(html("button", {
        type: "button",
        onclick: () => {
          const down = head.getAttribute("aria-sort") === "ascending";
          heads.forEach((other) => other.removeAttribute("aria-sort"));
          head.setAttribute("aria-sort", down ? "descending" : "ascending");
          const order = (p, q) => {
            const [a, b] = [number(p, column), number(q, column)], sign = down ? -1 : 1;
            const [s, t] = [p, q].map((row) => row.cells[column].textContent.trim());
            if (Number.isNaN(a) && Number.isNaN(b)) return (s === "") - (t === "") || sign * s.localeCompare(t, "en", { numeric: true });
            return Number.isNaN(a) - Number.isNaN(b) || sign * (a - b); // what is missing comes last both ways
          };
          table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
        },
      }, ...head.childNodes));
    });
  }
})();
