// Draws the figures of a page in the reader's theme and width, and sets up MathJax, which loads
// after this file. What is done is noted: data-drawn on a figure, data-typeset on <html>.

const ROOT = document.documentElement;
const figures = [...document.querySelectorAll(".figure")].map((box) => ({
  box,
  made: JSON.parse(box.firstElementChild.textContent),
}));

window.MathJax = {
  tex: { inlineMath: [["$", "$"], ["\\(", "\\)"]], processEscapes: true },
  svg: { fontCache: "global", scale: 0.93 },
  options: { enableMenu: false, skipHtmlTags: ["script", "style", "pre", "code", "textarea"] },
  startup: {
    pageReady: async () => {
      await MathJax.startup.defaultPageReady();
      ROOT.dataset.typeset = "";
    },
  },
};

// Greys change places, light for dark. A colour stays; so do the colours of a scale, for the text
// names them, wherever the data have them.
function darkColour(text) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16) / 255);
  const [high, low] = [Math.max(r, g, b), Math.min(r, g, b)];
  if (high - low > 0.21) return text; // plotly's ink, #2a3f5f, is the greyest blue below that
  const grey = Math.round(255 * (0.11 + 0.8 * (1 - (high + low) / 2)));
  return `#${grey.toString(16).padStart(2, "0").repeat(3)}`;
}

function dark(value, kept = []) {
  if (typeof value === "string") {
    const text = { white: "#ffffff", black: "#000000" }[value] ?? value;
    return /^#[0-9a-f]{6}$/i.test(text) && !kept.includes(text) ? darkColour(text) : value;
  }
  if (Array.isArray(value)) return value.map((part) => dark(part, kept));
  if (value === null || typeof value !== "object") return value;
  const changed = ([key, part]) => [key, key === "colorscale" ? part : dark(part, kept)];
  return Object.fromEntries(Object.entries(value).map(changed));
}

function darkFigure({ data, layout, frames = [] }) {
  const kept = data.flatMap(({ colorscale }) => (Array.isArray(colorscale) ? colorscale.flat() : []));
  return { data: dark(data, kept), layout: dark(layout), frames: dark(frames, kept) };
}

// The layout at a width: a figure that was made wider shrinks as far as it can be read, and is
// scrolled sideways beyond that. Pictures keep their shape; a legend at the side moves below.
function fitted({ data, layout }, width) {
  const keys = Object.keys(layout);
  const own = layout.width ?? 700;
  const picture = data.some((trace) => trace.type === "image");
  const columns = keys.filter((key) => key.startsWith("xaxis")).length;
  const narrowest = picture ? (layout.annotations ? 560 : 0) : columns > 1 ? 600 : 0;
  const now = Math.min(own, Math.max(width, narrowest));
  if (now === own) return { ...layout, width: own };
  const small = structuredClone(layout);
  const margin = { t: 60, b: 60, ...layout.template?.layout?.margin, ...layout.margin };
  let height = layout.height ?? 450;
  if (picture) height += (height - margin.t - margin.b) * (now / own - 1);
  if (small.title?.text) small.title.text = wrapped(small.title.text, now / 9);
  const more = 20 * ((small.title?.text ?? "").split("<br>").length - 1);
  small.margin = { ...margin, t: margin.t + more };
  height += more;
  const scenes = keys.filter((key) => key.startsWith("scene"));
  for (const { eye } of scenes.map((key) => small[key].camera ?? {})) {
    for (const axis in eye) eye[axis] *= 1.15; // room for the names of the axes
  }
  for (const slider of small.sliders ?? []) slider.currentvalue = { ...slider.currentvalue, xanchor: "right" };
  if (!scenes.length && columns < 2) {
    const rows = layout.showlegend === false ? 0 : legendRows(data, now);
    const isBelow = small.legend?.orientation === "h" && (small.legend.y ?? 1) <= 0;
    const room = rows && isBelow && !picture ? 64 : margin.b; // without the legend's
    small.legend = { ...small.legend, orientation: "h", x: 0, xanchor: "left" };
    Object.assign(small.legend, { y: 0, yref: "container", yanchor: "bottom" });
    const below = (picture ? 5 : room) + 30 * rows;
    small.margin.b = below;
    height += below - margin.b;
  }
  return { ...small, width: now, height: Math.round(height) };
}

// About how many lines a legend takes; plotly gives each entry the width of the longest.
function legendRows(data, width) {
  const names = data.filter((trace) => trace.name && trace.showlegend !== false).map((trace) => trace.name);
  if (names.length < 2) return 0;
  const each = 50 + 7.5 * Math.max(...names.map((name) => name.length));
  return Math.ceil(names.length / Math.max(1, Math.floor((width - 20) / each)));
}

// Lines of at most so many characters: plotly breaks none.
function wrapped(text, length) {
  const lines = [""];
  for (const word of text.split(" ")) {
    if (lines.at(-1) && lines.at(-1).length + word.length >= length) lines.push("");
    lines[lines.length - 1] += (lines.at(-1) ? " " : "") + word;
  }
  return lines.join("<br>");
}

async function draw({ box, made }) {
  // the gaps between pictures are white pixels: what is written there needs a white figure
  const picture = made.data.some((trace) => trace.type === "image");
  const shown = ROOT.dataset.theme === "dark" && !picture ? darkFigure(made) : made;
  const layout = fitted(shown, box.clientWidth);
  const old = box.querySelector(".plot");
  if (old) Plotly.purge(old);
  old?.remove();
  box.style.height = `${layout.height}px`;
  const plot = box.appendChild(document.createElement("div"));
  plot.className = "plot";
  plot.style.width = `${layout.width}px`;
  // Plotly writes into what it is given: it gets a copy.
  const { data, frames } = structuredClone({ data: shown.data, frames: shown.frames ?? [] });
  await Plotly.newPlot(plot, data, structuredClone(layout), { displaylogo: false });
  if (frames.length) await Plotly.addFrames(plot, frames);
  box.dataset.drawn = ROOT.dataset.theme;
}

// A figure is drawn when it comes near, and drawn again when the theme or the width changes.
const near = new IntersectionObserver(
  (entries) => {
    for (const { target } of entries.filter((entry) => entry.isIntersecting)) {
      near.unobserve(target);
      draw(figures.find(({ box }) => box === target));
    }
  },
  { rootMargin: "800px" },
);

function drawAll() {
  for (const { box } of figures) {
    delete box.dataset.drawn;
    near.unobserve(box);
    near.observe(box);
  }
}

function nameButton() {
  document.getElementById("theme").textContent = ROOT.dataset.theme === "dark" ? "light" : "dark";
}

function changeTheme() {
  nameButton();
  drawAll();
}

document.getElementById("theme").addEventListener("click", () => {
  ROOT.dataset.theme = ROOT.dataset.theme === "dark" ? "light" : "dark";
  try {
    localStorage.setItem("theme", ROOT.dataset.theme);
  } catch {
    // it holds for this page, then
  }
  changeTheme();
});
DARK.addEventListener("change", () => {
  applyTheme();
  changeTheme();
});

let width = innerWidth;
let waiting;
addEventListener("resize", () => {
  clearTimeout(waiting);
  if (innerWidth !== width) waiting = setTimeout(drawAll, 200);
  width = innerWidth;
});

const filter = document.getElementById("filter");
filter?.addEventListener("input", () => {
  const words = filter.value.toLowerCase().split(/\s+/);
  let count = 0;
  for (const row of document.querySelectorAll("tbody tr")) {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every((word) => text.includes(word));
    count += !row.hidden;
  }
  document.getElementById("count").textContent = `${count} rows`;
});

addEventListener("beforeprint", () => figures.filter(({ box }) => !box.dataset.drawn).forEach(draw));

nameButton();
drawAll();
