"use strict";
// The answer, what mattered and the receipt. page.heads.js goes on with where the model looked.
// Whatever comes from outside is put in as text nodes; no markup is ever made of it.

const { explanation: data, languages } = JSON.parse(document.getElementById("data").textContent);
const element = (id) => document.getElementById(id);
const ROLLOUT = data.attributions.length; // the method after the last one

const state = {
  language: (navigator.language || "en").startsWith("zh") ? "zh" : "en",
  method: Math.max(0, data.attributions.findIndex((one) => one.method === data.chosen)),
  word: null,
  order: "strength",
};

// ---- making elements ----

function make(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function draw(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("--")) node.style.setProperty(name, value); // the policy allows no style attributes
    else if (typeof value === "boolean") node.toggleAttribute(name, value);
    else if (value !== null) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((child) => child !== null).map((child) => child.nodeType ? child : String(child)));
  return node;
}

// ---- words and numbers ----

function say(key, values = {}) {
  return languages[state.language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** A method's name in the reader's language, however its own name writes ×. */
function methodName(number) {
  if (number === ROLLOUT) return say("rollout");
  const name = data.attributions[number].method;
  const key = name.toLowerCase().replace(/[_ -]x[_ -]|[^a-z]/g, "");
  return languages[state.language].methods[key] ?? name;
}

const brief = (text) => [...text].length > 40 ? [...text].slice(0, 39).join("") + "…" : text;
const asked = () => brief(data.labels[data.asked]);
const known = (value) => value !== null && value !== undefined;
const number = (value, digits = 3) => known(value) ? value.toFixed(digits).replace("-", "−") : "–";
const signed = (value) => (value > 0 ? "+" : "") + number(value);
const percent = (value) => known(value) ? (100 * value).toFixed(value < 0.1 ? 1 : 0) + " %" : "–";
const seconds = (value) => value < 1 ? `${Math.max(1, Math.round(1000 * value))} ms` : `${value.toFixed(1)} s`;
const languageOf = (text) => /\p{Script=Han}/u.test(text) && !/[\u3040-\u30ff]/.test(text) ? "zh" : null;
/** Indices, the largest number of either sign first. */
const bySize = (values) => values.map((_, at) => at).sort((a, b) => Math.abs(values[b]) - Math.abs(values[a]));

// ---- pickers ----

/** A row of radio buttons: one Tab stop, arrow keys choose. options: [value, words] */
function choices(place, name, label, options, chosen, choose) {
  const had = place.contains(document.activeElement);
  place.setAttribute("role", "radiogroup");
  place.setAttribute("aria-label", label);
  place.replaceChildren(...options.map(([value, ...words]) => {
    const radio = make("input", { type: "radio", name, value });
    radio.checked = String(value) === String(chosen);
    radio.addEventListener("change", () => choose(value));
    return make("label", {}, radio, make("span", {}, ...words));
  }));
  if (had) place.querySelector(":checked")?.focus();
}

function options(select, pairs, chosen) {
  select.replaceChildren(...pairs.map(([value, words]) => make("option", { value }, words)));
  select.value = String(chosen);
}

// ---- the answer ----

function showAnswer() {
  const label = asked(), other = known(data.other) ? brief(data.labels[data.other]) : null;
  const best = data.probabilities.indexOf(Math.max(...data.probabilities));
  element("headline").replaceChildren(
    make("bdi", {}, data.labels[best]), " ", make("span", { class: "soft" }, number(data.probabilities[best])));
  element("question").textContent = (other === null ? say("why", { label }) : say("why_not", { label, other }))
    + (data.about ? ` ${say("at_word", { word: brief(data.about) })}` : "");
  const rows = bySize(data.probabilities).map((at) => make("div", { class: at === best ? "answer best" : "answer" },
    make("bdi", { lang: languageOf(data.labels[at]) }, data.labels[at]),
    make("i", { "--share": data.measure === "number" ? 0 : Math.min(1, Math.max(0, data.probabilities[at])) }),
    make("span", { class: "number" }, number(data.probabilities[at]))));
  const more = rows.splice(8);
  element("answers").replaceChildren(...rows, ...(more.length
    ? [make("details", {}, make("summary", {}, say("more_labels", { n: more.length })), ...more)] : []));
  const use = data.attributions.findIndex((one) => one.method === data.chosen), trusted = use >= 0;
  const sentence = say(trusted ? "use" : "use_none", { verdict: data.verdict, method: methodName(Math.max(0, use)) });
  element("verdict").className = trusted ? "verdict" : "verdict refused";
  element("verdict").replaceChildren(make("strong", {}, trusted ? "✓" : "✕"), " ", make("bdi", {}, sentence));
}

// ---- what mattered ----

/** Of the method chosen: a number for each word, and the share of the special tokens. */
function heat() {
  if (state.method < ROLLOUT) {
    const one = data.attributions[state.method];
    return { words: one.words.map((value) => value ?? 0), special: one.special_share, gap: one.gap };
  }
  const words = data.words.map(() => 0);
  let special = 0, all = 0;
  data.rollout.forEach((value, at) => {
    all += value ?? 0;
    if (data.word_of[at] < 0) special += value ?? 0;
    else words[data.word_of[at]] += value ?? 0;
  });
  return { words, special: all ? special / all : 0, gap: null };
}

function showMethods() {
  const names = [...data.attributions.keys(), ROLLOUT].map((at) => {
    const trusted = data.attributions[at]?.receipt?.trusted;
    return [at, methodName(at), trusted ? make("span", { class: "mark", title: say("beats_random") }, " ✓") : null];
  });
  choices(element("methods"), "method", say("method"), names, state.method, (value) => {
    state.method = value;
    showMattered();
    showReceipt();
  });
}

function showMattered() {
  const { words, special, gap } = heat();
  const most = Math.max(...words.map(Math.abs), 1e-12);
  const parts = data.texts.map((text) => make("p", { dir: "auto", lang: languageOf(text.map(([part]) => part).join("")) },
    ...text.map(([characters, at]) => at < 0
      ? make("span", { class: characters.trim() ? "unread" : null }, characters)
      : make("span", {
        class: words[at] < 0 ? "word against" : "word", "data-word": at,
        "--heat": (Math.abs(words[at]) / most).toFixed(3),
      }, characters))));
  element("texts").replaceChildren(...parts);
  element("unread").hidden = !element("texts").querySelector(".unread");
  showLegend();
  const names = [...new Set(data.tokens.filter((_, at) => data.word_of[at] < 0))].join(" ");
  element("specials").textContent = (special > 0
    ? say("special_share", { share: percent(special), tokens: names }) : say("no_special_share"))
    + (known(gap) ? " " + say("gap", { gap: gap.toExponential(1) }) : "");
  showWords(words, most);
  showWord();
}

function showLegend() {
  element("legend").replaceChildren(...(state.method === ROLLOUT
    ? [make("i", { class: "scale one" }), " ", say("rollout")]
    : [say("against"), " ", make("i", { class: "scale" }), " ", say("towards_label", { label: asked() })]));
}

function showWords(values, most) {
  const ways = state.method === ROLLOUT ? ["strength", "place"] : ["strength", "towards", "against", "place"];
  if (!ways.includes(state.order)) state.order = "strength";
  choices(element("orders"), "order", say("order"), ways.map((way) => [way, say(`by_${way}`)]), state.order, (value) => {
    state.order = value;
    showMattered();
  });
  const orders = {
    strength: () => bySize(values),
    towards: () => bySize(values).filter((at) => values[at] > 0),
    against: () => bySize(values).filter((at) => values[at] < 0),
    place: () => values.map((_, at) => at),
  };
  element("words").replaceChildren(
    make("thead", {}, make("tr", {}, make("th", {}, say("word")), make("th"), make("th", { class: "number" }, say("value")))),
    make("tbody", {}, ...orders[state.order]().map((at) => make("tr", { "data-word": at },
      make("td", { class: "label" }, make("bdi", { lang: languageOf(data.words[at].text) }, data.words[at].text)),
      make("td", {}, make("i", { class: values[at] < 0 ? "sway against" : "sway", "--share": Math.abs(values[at]) / most })),
      make("td", { class: "number" }, signed(values[at]))))));
}

/** The line above the text about the word under the pointer or the arrow keys. */
function showWord() {
  for (const node of document.querySelectorAll("[data-word].chosen")) node.classList.remove("chosen");
  const at = state.word, readout = element("word-readout");
  if (at === null) return readout.replaceChildren(make("span", { class: "soft" }, say("no_word")));
  for (const node of document.querySelectorAll(`[data-word="${at}"]`)) node.classList.add("chosen");
  const { words } = heat(), label = asked();
  const way = state.method === ROLLOUT ? say("share_of_rollout")
    : say(words[at] < 0 ? "against_label" : "towards_label", { label });
  readout.replaceChildren(make("strong", {}, make("bdi", {}, data.words[at].text)), " ", signed(words[at]), " ", way,
    make("span", { class: "soft" }, " · " + say("rank", { n: bySize(words).indexOf(at) + 1, all: words.length })));
}

function chooseWord(at) {
  if (at === state.word) return;
  state.word = at;
  showWord();
}

function listenToWords() {
  for (const place of [element("texts"), element("words")]) {
    for (const kind of ["pointerover", "click"]) {
      place.addEventListener(kind, (event) => {
        const word = event.target.closest("[data-word]");
        if (word) chooseWord(Number(word.dataset.word));
      });
    }
  }
  element("texts").addEventListener("keydown", (event) => {
    const last = data.words.length - 1, at = state.word;
    const to = { ArrowRight: (at ?? -1) + 1, ArrowLeft: (at ?? 1) - 1, Home: 0, End: last }[event.key];
    if (event.key === "Escape") chooseWord(null);
    if (to === undefined || last < 0) return;
    event.preventDefault();
    chooseWord(Math.min(last, Math.max(0, to)));
    element("texts").querySelector(".chosen")?.scrollIntoView({ block: "nearest" });
  });
}

// ---- the receipt ----

function showReceipt() {
  const receipt = data.attributions[state.method]?.receipt;
  element("curves").replaceChildren(...(receipt
    ? [plot(receipt, "deletion", say("words_removed")), plot(receipt, "insertion", say("words_added"))]
    : [make("p", { class: "hint" }, say("no_receipt"))]));
  const columns = ["comprehensiveness", "sufficiency", "deletion_area", "insertion_area", "special", "time", "beats_random"];
  element("receipts").replaceChildren(
    make("thead", {}, make("tr", {}, make("th", {}, say("method")),
      ...columns.map((name) => make("th", { class: "number" }, say(name))))),
    make("tbody", {}, ...data.attributions.map(receiptRow), randomRow()));
}

function receiptRow(one, at) {
  const receipt = one.receipt;
  const numbers = receipt
    ? [receipt.comprehensiveness, receipt.sufficiency, receipt.curves.deletion_area, receipt.curves.insertion_area]
    : [null, null, null, null];
  const trusted = receipt ? make("span", { title: state.language === "en" ? receipt.reason : null },
    say(receipt.trusted ? "yes" : "no")) : "–";
  return make("tr", { class: at === state.method ? "final" : null },
    make("td", { class: "label" }, methodName(at)),
    ...[...numbers.map((value) => number(value)), percent(one.special_share), seconds(one.seconds), trusted]
      .map((words) => make("td", { class: "number" }, words)));
}

function randomRow() {
  const orders = data.attributions.find((one) => one.receipt?.random.length)?.receipt.random;
  if (!orders) return null;
  const mean = (name) => number(orders.reduce((sum, one) => sum + one[name], 0) / orders.length);
  const cells = ["–", "–", mean("deletion_area"), mean("insertion_area"), "–", "–", "–"];
  return make("tr", { class: "soft" }, make("td", { class: "label" }, say("random")),
    ...cells.map((words) => make("td", { class: "number" }, words)));
}

/** The curve of the method, of occlusion and of the random orders, as a figure. */
function plot(receipt, kind, below) {
  const [width, height, left, bottom, top] = [420, 236, 34, 36, 8];
  const curves = [receipt.curves, receipt.occlusion, ...receipt.random].map((one) => one[kind].map((value) => value ?? 0));
  const low = Math.min(0, ...curves.flat()), high = Math.max(...curves.flat(), low + 1e-6);
  const ceiling = high > 0.5 && high <= 1 ? 1 : high;
  const x = (share) => left + share * (width - left - 8);
  const y = (value) => top + (ceiling - value) / (ceiling - low) * (height - top - bottom);
  const points = (values) => values.map((value, at) => `${x(receipt.shares[at]).toFixed(1)},${y(value).toFixed(1)}`);
  const line = (values, name) => draw("polyline", { points: points(values).join(" "), class: name });
  const [own, occlusion, ...random] = curves;
  const over = (pick) => receipt.shares.map((_, at) => pick(...random.map((one) => one[at])));
  const band = random.length
    ? [draw("polygon", { points: [...points(over(Math.max)), ...points(over(Math.min)).reverse()].join(" "), class: "band" }),
      line(over((...values) => values.reduce((a, b) => a + b) / values.length), "random")] : [];
  const ticks = [low, (low + ceiling) / 2, ceiling].map((value) => [
    draw("line", { x1: left, x2: width - 8, y1: y(value), y2: y(value), class: "rule" }),
    draw("text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, number(value, 2))]);
  const shares = [0, 0.5, 1].map((share) => draw("text",
    { x: x(share), y: height - bottom + 15, "text-anchor": ["start", "middle", "end"][2 * share] }, percent(share).replace("0.0", "0")));
  const name = draw("text", { x: x(0.5), y: height - 4, "text-anchor": "middle" }, below);
  const label = asked(), other = known(data.other) ? brief(data.labels[data.other]) : null;
  const what = say(other === null ? `asked_${data.measure}` : "asked_difference", { label, other });
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${say(kind)}: ${what}, ${below}` },
    ...ticks.flat(), ...band, line(occlusion, "occlusion"), line(own, "own"), ...shares, name);
  const area = (one) => number(one[`${kind}_area`], 2);
  const mean = receipt.random.reduce((sum, one) => sum + one[`${kind}_area`], 0) / receipt.random.length;
  const keys = [["own", methodName(state.method), area(receipt.curves)], ["occlusion", say("occlusion_curve"), area(receipt.occlusion)],
    ["random", say("random_curve", { n: random.length }), number(mean, 2)]];
  return make("figure", {}, make("figcaption", {}, make("strong", {}, say(kind)), " ", make("span", { class: "soft" }, what)), svg,
    make("p", { class: "keys" }, ...keys.slice(0, random.length ? 3 : 2).map(([style, words, size]) =>
      make("span", {}, make("i", { class: style }), " ", words, " ", make("b", {}, size)))));
}

// ---- the whole ----

function show() {
  document.documentElement.lang = state.language;
  document.title = `${data.labels[data.asked]} · headwise`;
  for (const node of document.querySelectorAll("[data-say]")) node.textContent = say(node.dataset.say);
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", button.dataset.language === state.language);
  }
  showAnswer();
  showMethods();
  showMattered();
  showReceipt();
  showLooked();
}
