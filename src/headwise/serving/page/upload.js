// A file of texts: its rows go to the server in batches, and come back as a file with the answers beside them.

import { inShort } from "./answers.js";
import { brief, count, element, languageOf, make, options, say, told, whenSpoken } from "./say.js";
import { postUntilAnswered, save } from "./server.js";
import { asCsv, asJsonLines, joined, readTable } from "./table.js";

const MOST_ROWS = 64; // of a batch: the bar moves, and others get their turn
const MOST_CHARACTERS = 20_000;
const OF_THE_ROW = [400, 413, 422, 424]; // refused for what a row holds
const SHOWN = 5;

const state = { model: null, table: null, name: "", done: null, stop: null, said: () => "" };

export function beginUpload() {
  element("file").addEventListener("change", (event) => event.target.files[0] && choose(event.target.files[0]));
  const place = element("drop");
  place.addEventListener("dragover", (event) => event.preventDefault());
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) choose(event.dataTransfer.files[0]);
  });
  element("predict").addEventListener("submit", (event) => {
    event.preventDefault();
    run();
  });
  element("cancel").addEventListener("click", () => state.stop?.abort());
  whenSpoken(show);
}

export function setUploadModel(model) {
  forget();
  state.model = model;
  preselect();
  show();
}

async function choose(file) {
  forget();
  Object.assign(state, { table: null, name: file.name, wrong: null });
  try {
    state.table = await readTable(file);
  } catch (error) {
    state.wrong = error;
  }
  preselect();
  show();
}

/** Ends a run that is under way, whose answers nobody wants any more, and those of the one before. */
function forget() {
  state.stop?.abort();
  Object.assign(state, { stop: null, done: null });
  busy(false);
  element("progress-part").hidden = true;
}

/** The columns of training where they are there, else the likeliest. */
function preselect() {
  if (!state.table || !state.model) return;
  const { columns, rows } = state.table, { columns: usual, pairs, task } = state.model;
  const length = (at) => rows.slice(0, 50).reduce((sum, row) => sum + row[at].length, 0);
  const longest = columns.map((_, at) => at).sort((one, other) => length(other) - length(one));
  const likely = columns.findIndex((name) => /^(text|sentence|content|review|文本|内容|句子)$/i.test(name));
  const first = columns.includes(usual.text) ? columns.indexOf(usual.text) : likely >= 0 && !pairs ? likely : longest[0];
  const other = columns.includes(usual.pair) ? columns.indexOf(usual.pair) : longest.find((at) => at !== first);
  state.columns = [first, pairs && other !== undefined && (task !== "feature-extraction" || columns.includes(usual.pair)) ? other : -1];
  for (const [place, at, none] of [["first-column", state.columns[0], false], ["second-column", state.columns[1], true]]) {
    const named = columns.map((name, number) => [String(number), brief(name)]);
    options(element(place), none ? [["-1", "–"], ...named] : named, String(at));
  }
}

function show() {
  const { table, model, wrong } = state;
  element("file-name").textContent = state.name ? brief(state.name) : say("file_none");
  element("file-facts").classList.toggle("wrong", Boolean(wrong));
  element("file-facts").textContent = wrong ? told(wrong) : table
    ? [say("file_facts", { rows: count(table.rows.length), columns: table.columns.length }), ...table.notes.map((note) => say(...note))].join(" · ")
    : "";
  element("predict").hidden = !table || !model;
  if (!model) return;
  element("first-column-name").textContent = say(model.pairs ? "column_first" : "column_text");
  element("second-column-name").textContent = say("column_second");
  element("second-column-part").hidden = !model.pairs;
  element("progress-said").textContent = state.said();
  showResults();
}

/** A row as the model reads it. */
function textOf(row) {
  const [first, second] = ["first-column", "second-column"].map((place) => Number(element(place).value));
  return state.model.pairs && second >= 0 ? [row[first], row[second]] : row[first];
}

/** Rows as batches, none of which is too large: [from, to] */
export function batches(texts) {
  const found = [];
  let from = 0, size = 0;
  texts.forEach((text, at) => {
    size += text.length + 1;
    if (at > from && (at - from >= MOST_ROWS || size > MOST_CHARACTERS)) {
      found.push([from, at]);
      from = at;
      size = text.length;
    }
  });
  return texts.length ? [...found, [from, texts.length]] : [];
}

async function run() {
  const { model, table } = state, stop = new AbortController();
  const texts = table.rows.map(textOf), answers = [], versions = new Set();
  const params = { truncate: element("cut").checked };
  Object.assign(state, { stop, done: null });
  busy(true);
  element("progress-part").hidden = false;
  element("results").replaceChildren();
  element("cancel").focus();
  const wait = (seconds) => progress(answers.length, texts.length, () => say("waits", { n: seconds }));

  async function ask(from, to) {
    try {
      const body = { inputs: texts.slice(from, to), params };
      const { found, version } = await postUntilAnswered(model.name, "invocations", body, stop.signal, wait);
      versions.add(version);
      answers.push(...found.predictions);
    } catch (error) {
      if (!OF_THE_ROW.includes(error.status)) throw error;
      if (to - from === 1) answers.push({ error: error.message });
      else {
        const middle = (from + to) >> 1; // so the others of the batch get their answers
        await ask(from, middle);
        await ask(middle, to);
      }
    }
    progress(answers.length, texts.length);
  }

  let ended = null;
  try {
    progress(0, texts.length);
    for (const [from, to] of batches(texts.map((one) => typeof one === "string" ? one : one.join(" ")))) {
      await ask(from, to);
      if (from === 0 && answers.every((one) => one.error)) throw new Error(answers[0].error);
    }
  } catch (error) {
    ended = error;
  }
  if (state.stop !== stop) return; // another file, or model, was chosen meanwhile
  busy(false);
  if (document.activeElement === document.body) element("predict-now").focus();
  state.done = { answers, versions, columns: table.columns, rows: table.rows.slice(0, answers.length), texts };
  const wrong = answers.filter((one) => one.error).length;
  state.said = () => [
    ended?.name === "AbortError" ? say("cancelled", { n: count(answers.length), all: count(texts.length) })
      : ended ? told(ended) : say("done", { n: count(answers.length) }),
    wrong ? say("rows_wrong", { n: count(wrong) }) : null,
    versions.size > 1 ? say("versions", { versions: [...versions].join(", ") }) : null,
  ].filter(Boolean).join(" ");
  show();
}

function busy(running) {
  element("predict-now").disabled = running;
  element("cancel").hidden = !running;
}

function progress(n, all, said = null) {
  const bar = element("progress");
  Object.assign(bar, { max: all, value: n });
  state.said = said ?? (() => say("progress", { n: count(n), all: count(all), share: Math.floor(100 * n / all) }));
  element("progress-said").textContent = state.said();
}

function showResults() {
  const { done, model, name } = state;
  if (!done?.answers.length) return element("results").replaceChildren();
  const table = joined({ columns: done.columns, rows: done.rows }, done.answers, model.separator ?? "|");
  const csv = asCsv(table), base = name.replace(/\.[.\w]+$/, "") || "predictions";
  const button = (words, blob, ending) => {
    const made = make("button", { type: "button", class: ending === "csv" ? "main" : null }, words);
    made.addEventListener("click", () => save(blob(), `${base}.predicted.${ending}`));
    return made;
  };
  const text = (at) => [done.texts[at]].flat().join(" ⏐ ");
  const rows = done.answers.slice(0, SHOWN).map((answer, at) => make("tr", {},
    make("td", {}, make("bdi", { lang: languageOf(text(at)) }, brief(text(at), 90))),
    make("td", {}, make("bdi", {}, brief(inShort(answer), 120)))));
  const head = make("tr", {}, make("th", { scope: "col" }, say("column_text")), make("th", { scope: "col" }, say("answer")));
  element("results").replaceChildren(
    make("div", { class: "row" }, button(say("save_csv"), () => csv.blob, "csv"), button(say("save_jsonl"), () => asJsonLines(table), "jsonl")),
    make("p", { class: "hint" }, csv.changed ? say("apostrophes", { n: count(csv.changed) }) : say("no_apostrophes")),
    make("div", { class: "box" }, make("table", {}, make("caption", {}, say("first_rows", { n: rows.length })),
      make("thead", {}, head), make("tbody", {}, ...rows))));
}
