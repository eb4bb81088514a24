// Answers, drawn as their task has them.

import { brief, count, languageOf, make, named, number, say } from "./say.js";

const CLASSIFIER = "text-classification";
const MOST_BARS = 8;

/** What to ask for an answer to be shown: for labels all their scores, for everything what predict tells. */
export function requests(model, text) {
  const own = [["invocations", { inputs: [text] }]];
  return model.task === CLASSIFIER ? [...own, ["predict", { inputs: text }]] : own;
}

/** What the requests found, as elements. */
export function drawn(model, text, [{ predictions: [told] }, labels]) {
  if (model.task === CLASSIFIER) return classified(model, told, labels);
  if (told.entities) return tagged(text, told.entities);
  if (told.masks) return told.masks.map((words, at) => masked(words, at, told.masks.length));
  if ("answer" in told) return answered(text, told);
  if ("cosine" in told) return [headline(say("similarity"), told.cosine), scale(told.cosine)];
  if ("score" in told) return [headline(model.labels[0] ?? model.columns.label ?? say("score"), told.score)];
  return [headline(say("vector", { n: count(told.vector.length) }), null)];
}

function headline(name, score) {
  const value = score === null ? null : make("span", { class: "soft" }, number(score));
  return make("p", { class: "headline" }, make("bdi", { lang: languageOf(name) }, name), " ", value);
}

function bar(name, score, best) {
  return make("div", { class: best ? "bar best" : "bar" },
    make("bdi", { lang: languageOf(name) }, name),
    make("i", { "--share": Math.min(1, Math.max(0, score)) }),
    make("span", { class: "number" }, number(score)));
}

/** No answer, and why. */
function keptBack(told) {
  return [make("p", { class: "headline" }, say("no_answer")), make("p", { class: "hint" }, named(told.abstains))];
}

function classified(model, told, labels) {
  const chosen = told.labels ?? (told.label === null ? [] : [told.label]);
  const rows = labels.map(({ label, score }) => bar(label, score, chosen.includes(label)));
  const more = rows.splice(MOST_BARS);
  const rest = more.length ? make("details", {}, make("summary", {}, say("more_labels", { n: more.length })), ...more) : null;
  const top = told.abstains
    ? keptBack(told)
    : told.labels
      ? [make("p", { class: "headline" }, make("bdi", {}, told.labels.join(" · ") || say("no_label")))]
      : [headline(told.label, told.score)];
  return [...top, ...rows, rest];
}

/** A text in pieces: [characters, entity or null]. Places count characters as Python does, by code points. */
function cut(text, marks) {
  const characters = [...text], parts = [];
  let at = 0;
  for (const mark of [...marks].sort((one, other) => one.start - other.start)) {
    parts.push([characters.slice(at, mark.start).join(""), null], [characters.slice(mark.start, mark.end).join(""), mark]);
    at = mark.end;
  }
  return [...parts, [characters.slice(at).join(""), null]].filter(([part]) => part);
}

function marked(text, marks, draw) {
  const parts = cut(text, marks).map(([part, mark]) => mark ? draw(part, mark) : part);
  return make("p", { class: "marked", dir: "auto", lang: languageOf(text) }, ...parts);
}

function tagged(text, entities) {
  const kinds = [...new Set(entities.map((one) => one.label))].sort();
  const draw = (part, one) => make("mark", { class: `kind${kinds.indexOf(one.label) % 6}`, title: number(one.score) },
    part, make("small", {}, one.label));
  const list = make("ul", { class: "found" }, ...entities.map((one) =>
    make("li", {}, make("bdi", {}, one.text), " ", make("span", { class: "soft" }, `${one.label} ${number(one.score)}`))));
  return [make("p", { class: "headline" }, say("entities", { n: entities.length })), marked(text, entities, draw),
    entities.length ? make("details", {}, make("summary", {}, say("as_list")), list) : null];
}

function answered([, context], told) {
  if (told.abstains) return keptBack(told);
  if (!told.answer) return [headline(say("no_answer_there"), told.score)];
  return [headline(told.answer, told.score), marked(context, [told], (part) => make("mark", { class: "kind0" }, part))];
}

function masked(words, at, all) {
  const rows = words.map(({ word, score }, place) => bar(word, score, place === 0));
  const name = all > 1 ? make("h3", {}, say("mask_number", { n: at + 1 })) : null;
  return make("div", {}, name, words.length ? headline(words[0].word, words[0].score) : null, ...rows);
}

function scale(cosine) {
  return make("div", { class: "bar best" }, make("span", { class: "soft" }, "0 – 1"),
    make("i", { "--share": Math.max(0, cosine) }), make("span", { class: "number" }, number(cosine)));
}

/** An answer in a few words, for a table. */
export function inShort(told) {
  if (told.error) return `⚠ ${told.error}`;
  if (told.abstains) return `${say("no_answer")} (${named(told.abstains)})`;
  if (told.labels) return told.labels.join(" · ") || say("no_label");
  if (told.entities) return told.entities.map((one) => `${one.text} (${one.label})`).join(", ") || "–";
  if (told.masks) return told.masks.map((words) => words[0]?.word ?? "–").join(", ");
  if (told.vector) return say("vector", { n: count(told.vector.length) });
  const words = told.label ?? told.answer, score = told.score ?? told.cosine;
  return [words === undefined ? null : brief(words, 60) || say("no_answer"), number(score)].filter(Boolean).join(" ");
}
