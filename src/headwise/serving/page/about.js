// What is known of a model: what it reads and answers, how it did, and where its report is.

import { brief, count, languageOf, make, named, number, say } from "./say.js";
import { bytes, key, save } from "./server.js";

export function facts(model) {
  const own = [
    ["task", named(model.task)],
    ["version", model.version],
    ["labels", model.labels.length ? labels(model) : null],
    ["decision", model.abstains ? say("abstains") : null],
    ["reads", reads(model)],
    ["parameters", count(model.parameters)],
    ["base_model", model.base_model],
    ["trained_by", model.headwise ? `headwise ${model.headwise}` : null],
    ["rows", model.judged?.rows ?? null],
    ["access", say(key.get() ? "with_key" : "without_key")],
  ].filter(([, value]) => value);
  const list = make("dl", {}, ...own.flatMap(([name, value]) => [make("dt", {}, say(name)), make("dd", {}, value)]));
  return [list, ...scores(model.judged), report(model)];
}

function labels(model) {
  const shown = model.labels.slice(0, 12).map((label) => make("li", { lang: languageOf(label) }, make("bdi", {}, brief(label))));
  const more = model.labels.length - shown.length;
  return make("ul", { class: "labels" }, ...shown, more > 0 ? make("li", { class: "soft" }, say("more_labels", { n: count(more) })) : null);
}

function reads(model) {
  const what = say(model.task === "question-answering" ? "reads_question" : model.pairs ? "reads_pair" : "reads_text");
  const long = model.max_windows > 1 ? "reads_windows" : "reads_tokens";
  return `${what}, ${say(long, { n: count(model.max_length), windows: model.max_windows })}`;
}

function scores(judged) {
  if (!judged) return [make("p", { class: "hint" }, say("not_judged"))];
  const own = judged.verdicts.at(-1), rows = own.rows ? count(own.rows) : null;
  const line = ([name, value]) => {
    const span = own.intervals[name]?.every((end) => end !== null) ? own.intervals[name] : null;
    return make("tr", {}, make("th", { scope: "row" }, named(name)), make("td", { class: "number" }, number(value),
      span ? make("small", {}, ` ${number(span[0])}–${number(span[1])}`) : null));
  };
  const others = judged.verdicts.slice(0, -1).filter((one) => typeof one.scores[judged.metric] === "number").map((one) => make("tr", { class: "soft" },
    make("th", { scope: "row" }, baseline(one.name)), make("td", { class: "number" }, number(one.scores[judged.metric]))));
  const compared = others.length
    ? [make("table", {}, make("caption", {}, say("compared", { metric: named(judged.metric) })), make("tbody", {}, ...others))] : [];
  return [
    make("h3", {}, say("scores")),
    make("table", {}, make("caption", {}, say(rows ? "judged_on" : "judged_on_part", { split: named(judged.split), rows })),
      make("tbody", {}, ...Object.entries(own.scores).filter(([, value]) => value !== null).map(line))),
    Object.keys(own.intervals).length ? make("p", { class: "hint" }, say("intervals")) : null,
    ...compared,
  ];
}

/** What a model had to beat, in the reader's language. */
function baseline(name) {
  const model = name.match(/^(.*) before fine-tuning( \(.*)?$/)?.[1];
  return model === undefined ? named(name) : say("before", { model });
}

/** A link; where a key is needed, which a link cannot carry, the report comes as a file. */
function report(model) {
  if (!model.report) return null;
  const path = `models/${encodeURIComponent(model.name)}/report`;
  const link = make("a", { href: path, target: "_blank", rel: "noopener noreferrer" }, say("report"));
  link.addEventListener("click", async (event) => {
    if (!key.get()) return;
    event.preventDefault();
    save(await bytes(path), `${model.name}-report.html`);
  });
  return make("p", {}, link);
}
