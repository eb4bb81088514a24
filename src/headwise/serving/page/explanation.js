// Why an answer: words in the colours of what they did, and whether that is to be believed.

import { brief, languageOf, make, named, number, say } from "./say.js";

/** An explanation as the server gives it (headwise.insight.page.as_data), as elements. */
export function explained(data) {
  const at = Math.max(0, data.attributions.findIndex((one) => one.method === data.chosen));
  const words = data.attributions[at].words.map((value) => value ?? 0);
  const most = Math.max(...words.map(Math.abs), 1e-12);
  const label = brief(data.labels[data.asked]), trusted = data.chosen !== null;
  const method = named(data.attributions[at].method);
  const verdict = make("p", { class: trusted ? "verdict" : "verdict refused" },
    make("strong", {}, trusted ? "✓" : "✕"), " ", say(trusted ? "trusted" : "not_trusted", { method }));
  const about = data.about ? make("p", { class: "hint" }, say("at_word", { word: brief(data.about), label })) : null;
  return [make("h3", {}, say("why", { label })), about, verdict, legend(label), ...data.texts.map((text) => heat(text, words, most)),
    ranking(data.words, words, most), make("p", { class: "hint" }, say("receipt"))];
}

function legend(label) {
  return make("p", { class: "legend" }, say("against"), " ", make("i", { class: "scale" }), " ", say("towards", { label }));
}

function heat(text, words, most) {
  const parts = text.map(([characters, at]) => at < 0 ? characters : make("span", {
    class: words[at] < 0 ? "word against" : "word",
    title: signed(words[at]),
    "--heat": (Math.abs(words[at]) / most).toFixed(3),
  }, characters));
  const whole = text.map(([characters]) => characters).join("");
  return make("p", { class: "heat", dir: "auto", lang: languageOf(whole) }, ...parts);
}

const signed = (value) => (value > 0 ? "+" : "") + number(value);

/** The strongest words as a table: colours alone tell too little. */
function ranking(names, words, most) {
  const order = words.map((_, at) => at).sort((one, other) => Math.abs(words[other]) - Math.abs(words[one])).slice(0, 10);
  const rows = order.map((at) => make("tr", {},
    make("td", {}, make("bdi", { lang: languageOf(names[at].text) }, names[at].text)),
    make("td", { class: "fill" }, make("i", { class: words[at] < 0 ? "sway against" : "sway", "--share": Math.abs(words[at]) / most })),
    make("td", { class: "number" }, signed(words[at]))));
  const head = make("tr", {}, make("th", { scope: "col" }, say("word")), make("th", {}), make("th", { scope: "col", class: "number" }, say("value")));
  return make("details", {}, make("summary", {}, say("strongest", { n: order.length })),
    make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows)));
}
