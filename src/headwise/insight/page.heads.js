
// ---- where it looked: a map of all heads, one head closely, its strongest edges as a list ----

const attention = data.attention;
const COUNT = data.tokens.length;
const SUMMARIES = Object.keys(data.heads);

Object.assign(state, {
  map: attention ? "weights" : SUMMARIES[0],
  layer: 0, // which of the layers watched
  head: 0, // which of the heads watched
  specials: true,
  token: null, // pinned: which position, null for all
  pointed: null, // the same, under the pointer
  side: "from",
  mostEdges: Math.min(400, Math.max(60, COUNT)),
  row: COUNT <= 80 ? 20 : 16, // height of a token in pixels
});

/** A token as people read it: the word where it is a whole one, else the piece without its mark for a blank. */
const names = (() => {
  const pieces = new Map();
  for (const word of data.word_of) pieces.set(word, (pieces.get(word) ?? 0) + 1);
  return data.tokens.map((token, at) => data.word_of[at] >= 0 && pieces.get(data.word_of[at]) === 1
    ? data.words[data.word_of[at]].text : token.replace(/^[Ġ▁]/, ""));
})();

// ---- edges ----

const unpacked = new Map();

/** The edges of one layer: where they lead and the root of their weight, [heads tokens per_token] each. */
function unpack(layer) {
  if (!unpacked.has(layer)) {
    const bytes = Uint8Array.from(atob(attention.edges[layer]), (character) => character.charCodeAt(0));
    const size = attention.heads.length * COUNT * attention.per_token;
    unpacked.set(layer, { targets: new Uint16Array(bytes.buffer, 0, size), roots: bytes.subarray(2 * size) });
  }
  return unpacked.get(layer);
}

/** Calls each(from, to, weight) for the edges of a head. */
function forEdges(layer, head, each) {
  const { targets, roots } = unpack(layer), k = attention.per_token;
  for (let from = 0, at = head * COUNT * k; from < COUNT; from++) {
    for (let rank = 0; rank < k; rank++, at++) each(from, targets[at], (roots[at] / 255) ** 2);
  }
}

/** The strongest edges of the head chosen, of all tokens or of one. */
function strongestEdges() {
  const token = state.pointed ?? state.token, found = [];
  const hidden = (at) => !state.specials && data.word_of[at] < 0;
  forEdges(state.layer, state.head, (from, to, weight) => {
    if (weight > 0 && (token === null || token === (state.side === "from" ? from : to)) && !hidden(from) && !hidden(to)) {
      found.push({ from, to, weight });
    }
  });
  return found.sort((a, b) => b.weight - a.weight).slice(0, state.mostEdges);
}

// ---- the map ----

/** The layers and heads of the map: summaries are of all there are, weights of those watched. */
function mapped() {
  const values = data.heads[state.map];
  return values ? [[...values.keys()], [...(values[0] ?? []).keys()]] : [attention.layers, attention.heads];
}

function showMap() {
  options(element("map"), [...(attention ? ["weights"] : []), ...SUMMARIES].map((name) =>
    [name, languages[state.language][name] ? say(name) : name]), state.map);
  const values = data.heads[state.map], [layers, heads] = mapped(), grid = element("grid");
  const most = values ? Math.max(...values.flat().map((value) => value ?? 0), 1e-9) : 1;
  const floor = state.map === "entropy" ? most : Math.max(most, 0.25);
  grid.style.setProperty("--columns", heads.length);
  grid.classList.toggle("dense", heads.length > 8);
  const had = grid.contains(document.activeElement);
  grid.replaceChildren(make("span"), ...heads.map((head) => make("span", { class: "soft" }, head)),
    ...layers.flatMap((layer, row) => [make("span", { class: "soft layer" }, layer), ...heads.map((head, column) => {
      const name = say("layer_head", { layer, head }) + (values ? `: ${number(values[row][column])}` : "");
      const watched = [attention?.layers.indexOf(layer) ?? -1, attention?.heads.indexOf(head) ?? -1];
      const cell = make("button", { type: "button", title: name, "aria-label": name, disabled: Math.min(...watched) < 0,
        tabindex: -1, "data-layer": watched[0], "data-head": watched[1] },
      values ? make("span", {}, known(values[row][column]) ? number(values[row][column], heads.length > 8 ? 1 : 2).replace(/^0\./, ".") : "–")
        : thumbnail(...watched));
      if (values) cell.style.setProperty("--heat", (values[row][column] ?? 0) / floor);
      return cell;
    })]));
  markHead();
  if (had) grid.querySelector(".chosen")?.focus();
  element("map-help").textContent = say(state.map === "weights" || state.map === "entropy" ? `${state.map}_help` : "summary_help");
}

/** A head as a small picture, a point for a token, or for some where there are many. */
function thumbnail(layer, head) {
  const size = Math.min(COUNT, 48), points = new Float32Array(size * size);
  forEdges(layer, head, (from, to, weight) => {
    const at = Math.floor(from * size / COUNT) * size + Math.floor(to * size / COUNT);
    if (weight > points[at]) points[at] = weight;
  });
  const canvas = make("canvas", { width: size, height: size }), context = canvas.getContext("2d");
  const picture = context.createImageData(size, size);
  points.forEach((weight, at) => picture.data.set([59, 125, 216, 255 * Math.sqrt(weight)], 4 * at));
  context.putImageData(picture, 0, 0);
  return canvas;
}

function markHead() {
  const cells = [...element("grid").querySelectorAll("button")];
  for (const cell of cells) {
    const chosen = Number(cell.dataset.layer) === state.layer && Number(cell.dataset.head) === state.head;
    cell.classList.toggle("chosen", chosen);
    cell.setAttribute("aria-pressed", chosen);
    cell.tabIndex = chosen ? 0 : -1; // one Tab stop; the arrow keys do the rest
  }
}

function chooseHead(layer, head) {
  state.layer = Math.min(attention.layers.length - 1, Math.max(0, layer));
  state.head = Math.min(attention.heads.length - 1, Math.max(0, head));
  markHead();
  showHead();
}

// ---- one head ----

function showHead() {
  options(element("layer"), attention.layers.map((layer, at) => [at, layer]), state.layer);
  options(element("head-number"), attention.heads.map((head, at) => [at, head]), state.head);
  element("left-out").textContent = attention.per_token < COUNT
    ? say("left_out", { k: attention.per_token, t: COUNT, share: percent(attention.kept) })
    : say("nothing_left_out", { t: COUNT });
  showTokens();
  showEdges();
}

/** About how wide a name is in pixels: Chinese characters are twice as wide as letters. */
const breadth = (name) => [...name].reduce((sum, character) => sum + (character >= "\u2e80" ? 14 : 8), 0);

function shortened(name, room) {
  if (breadth(name) <= room) return name;
  const characters = [...name];
  while (characters.length > 1 && breadth(characters.join("")) > room - 10) characters.pop();
  return characters.join("") + "…";
}

let sizes = { width: 0, from: 0, to: 0 }; // of the drawing: where the left names end and the right ones begin

function showTokens() {
  const place = element("tokens"), row = state.row, width = Math.max(240, place.clientWidth);
  const margin = Math.min(160, Math.round(width * 0.3), 16 + Math.ceil(Math.max(...names.map(breadth))));
  sizes = { width, from: margin, to: width - margin };
  place.parentNode.style.setProperty("--margin", `${margin - 6}px`);
  const readable = row >= 9;
  const column = (side) => readable ? names.map((name, at) => draw("text", {
    x: side === "from" ? sizes.from - 6 : sizes.to + 6, y: (at + 0.5) * row, "data-at": at,
    "text-anchor": side === "from" ? "end" : "start", class: data.word_of[at] < 0 ? "soft" : null,
  }, shortened(name, margin - 12))) : [];
  const svg = draw("svg", { width, height: COUNT * row, viewBox: `0 0 ${width} ${COUNT * row}`, role: "img",
    "aria-labelledby": "head-readout", "--size": `${Math.min(14, Math.max(7, row * 0.7))}px` },
  draw("g", { class: "marks" }), draw("g", { class: "lines" }),
  draw("g", { class: "from" }, ...column("from")), draw("g", { class: "to" }, ...column("to")));
  const before = place.scrollTop / Math.max(1, place.scrollHeight);
  place.replaceChildren(svg);
  place.scrollTop = before * place.scrollHeight;
}

function showEdges() {
  const found = strongestEdges(), token = state.pointed ?? state.token, row = state.row, svg = element("tokens").firstChild;
  const most = found[0]?.weight ?? 1, faint = Math.min(1, Math.sqrt(60 / found.length)), middle = (sizes.from + sizes.to) / 2;
  const mid = (at) => (at + 0.5) * row;
  svg.querySelector(".lines").replaceChildren(...found.toReversed().map(({ from, to, weight }) => draw("path", {
    d: `M${sizes.from},${mid(from)}C${middle},${mid(from)} ${middle},${mid(to)} ${sizes.to},${mid(to)}`,
    "stroke-width": (0.75 + 2.25 * weight).toFixed(2), "stroke-opacity": (0.05 + 0.85 * faint * weight / most).toFixed(3),
  })));
  const mark = (side, at, heat) => draw("rect", { x: side === "from" ? 0 : sizes.to, y: at * row, width: sizes.from,
    height: row, class: "heat", "--heat": heat });
  const ends = token === null ? [] : found.map((edge) => state.side === "from"
    ? mark("to", edge.to, edge.weight) : mark("from", edge.from, edge.weight));
  svg.querySelector(".marks").replaceChildren(...ends, ...(token === null ? [] : [mark(state.side, token, 0.35)]));
  for (const node of svg.querySelectorAll("text.chosen")) node.classList.remove("chosen");
  if (token !== null) svg.querySelector(`.${state.side} [data-at="${token}"]`)?.classList.add("chosen");
  element("all-tokens").hidden = state.token === null;
  listEdges(found.slice(0, 60), token);
}

function listEdges(found, token) {
  const where = say("layer_head", { layer: attention.layers[state.layer], head: attention.heads[state.head] });
  const what = token === null ? say("edges_all") : say(`edges_${state.side}`, { token: names[token] });
  element("head-readout").replaceChildren(make("strong", {}, make("bdi", {}, what)), make("span", { class: "soft" }, ` · ${where}`));
  const name = (at) => [make("bdi", {}, names[at]), make("sub", { class: "soft" }, at)];
  element("edges").replaceChildren(make("tbody", {}, ...(found.length ? found : [null]).map((edge) => edge === null
    ? make("tr", {}, make("td", { class: "soft" }, say("no_edges")))
    : make("tr", { "data-from": edge.from, "data-to": edge.to },
      make("td", { class: "label" }, ...(token === null ? [...name(edge.from), " → ", ...name(edge.to)]
        : name(state.side === "from" ? edge.to : edge.from))),
      make("td", {}, make("i", { class: "sway", "--share": edge.weight })),
      make("td", { class: "number" }, number(edge.weight, 2))))));
}

function pinToken(at, side) {
  state.pointed = null;
  state.token = at;
  state.side = side ?? state.side;
  showEdges();
}

/** Scrolls the box of tokens so that a token is seen. */
function reveal(at) {
  const place = element("tokens"), y = at * state.row;
  if (y < place.scrollTop || y + state.row > place.scrollTop + place.clientHeight) {
    place.scrollTop = y - place.clientHeight / 2;
  }
}

// ---- what hands do ----

function listenToMap() {
  element("map").addEventListener("change", (event) => {
    state.map = event.target.value;
    showMap();
  });
  element("grid").addEventListener("click", (event) => {
    const cell = event.target.closest("button");
    if (cell) chooseHead(Number(cell.dataset.layer), Number(cell.dataset.head));
  });
  element("grid").addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!step || !attention) return;
    event.preventDefault();
    chooseHead(state.layer + step[0], state.head + step[1]);
    element("grid").querySelector(".chosen")?.focus();
  });
}

function listenToPickers() {
  element("layer").addEventListener("change", (event) => chooseHead(Number(event.target.value), state.head));
  element("head-number").addEventListener("change", (event) => chooseHead(state.layer, Number(event.target.value)));
  Object.assign(element("most-edges"), { min: 10, max: Math.min(2000, COUNT * attention.per_token), value: state.mostEdges });
  Object.assign(element("zoom"), { min: 2, max: 26, value: state.row });
  element("with-specials").checked = state.specials;
  element("with-specials").addEventListener("change", (event) => {
    state.specials = event.target.checked;
    showEdges();
  });
  element("most-edges").addEventListener("input", (event) => {
    state.mostEdges = Number(event.target.value);
    showEdges();
  });
  element("zoom").addEventListener("input", (event) => zoomTo(Number(event.target.value)));
  element("all-tokens").addEventListener("click", () => pinToken(null));
}

function zoomTo(row) {
  state.row = row;
  showTokens();
  showEdges();
}

function listenToTokens() {
  const place = element("tokens");
  const under = (event) => {
    const box = place.firstChild.getBoundingClientRect();
    const at = Math.floor((event.clientY - box.top) / state.row);
    return [Math.min(COUNT - 1, Math.max(0, at)), event.clientX - box.left < box.width / 2 ? "from" : "to"];
  };
  place.addEventListener("pointermove", (event) => {
    const [at, side] = under(event);
    if (event.pointerType !== "mouse" || state.token !== null || (at === state.pointed && side === state.side)) return;
    [state.pointed, state.side] = [at, side];
    showEdges();
  });
  place.addEventListener("pointerleave", () => {
    if (state.pointed === null) return;
    state.pointed = null;
    showEdges();
  });
  place.addEventListener("click", (event) => {
    const [at, side] = under(event);
    if (at === state.token && side === state.side) pinToken(null);
    else pinToken(at, side);
  });
  place.addEventListener("keydown", (event) => {
    const at = state.token, sides = { ArrowLeft: "from", ArrowRight: "to" };
    const to = { ArrowDown: (at ?? -1) + 1, ArrowUp: (at ?? 1) - 1, Home: 0, End: COUNT - 1 }[event.key];
    if (event.key === "Escape") pinToken(null);
    if (to === undefined && !sides[event.key]) return;
    event.preventDefault();
    pinToken(Math.min(COUNT - 1, Math.max(0, to ?? at ?? 0)), sides[event.key]);
    reveal(state.token);
  });
  element("edges").addEventListener("click", (event) => {
    const row = event.target.closest("[data-from]");
    if (!row) return;
    if (state.token === null) pinToken(Number(row.dataset.from), "from");
    reveal(Number(state.side === "from" ? row.dataset.to : row.dataset.from));
  });
}

/** On paper nothing scrolls, so a long column is drawn as high as a page, names or not. */
function listenToPrinter() {
  let before = null;
  addEventListener("beforeprint", () => {
    before = state.row;
    zoomTo(Math.min(state.row, Math.max(1, 800 / COUNT)));
  });
  addEventListener("afterprint", () => zoomTo(before));
}

function showLooked() {
  element("looked").hidden = !attention && !SUMMARIES.length;
  if (!element("looked").hidden) showMap();
  element("head").hidden = !attention;
  if (attention) showHead();
  else {
    element("head-readout").replaceChildren(make("span", { class: "soft" }, say("not_watched")));
    element("edges").parentNode.hidden = true;
  }
}

function begin() {
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => {
      state.language = button.dataset.language;
      show();
    });
  }
  listenToWords();
  listenToMap();
  if (attention) {
    listenToPickers();
    listenToTokens();
    listenToPrinter();
    let width = 0;
    new ResizeObserver(() => {
      if (element("tokens").clientWidth === width) return;
      width = element("tokens").clientWidth;
      zoomTo(state.row);
    }).observe(element("tokens"));
  }
  show();
}

begin();
