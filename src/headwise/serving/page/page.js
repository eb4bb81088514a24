// The page: which model, one text and its answer, why; a file; what is known of the model.

import { facts } from "./about.js";
import { drawn, requests } from "./answers.js";
import { explained } from "./explanation.js";
import { begin, brief, element, make, options, say, told, whenSpoken } from "./say.js";
import { get, key, post } from "./server.js";
import { beginUpload, setUploadModel } from "./upload.js";

const MOST_CHOICES = 200; // labels one can ask about by name
const state = { model: null, asked: null, found: null, why: null, wrong: null, stop: null };

// ---- coming in ----

async function enter() {
  element("problem").hidden = true;
  try {
    const { models, model_id: first } = await get("info");
    options(element("model"), models.map(({ name }) => [name, name]), first);
    element("model-part").hidden = models.length < 2;
    element("door").hidden = true;
    element("inside").hidden = false;
    element("forget").hidden = !key.get();
    await choose(element("model").value);
    element("first").focus({ preventScroll: true });
  } catch (error) {
    refuse(error);
  }
}

/** Ask for the key, or say what is wrong. */
function refuse(error) {
  const locked = error.status === 401, tried = Boolean(key.get());
  if (locked) key.forget();
  if (locked) element("inside").hidden = true;
  element("door").hidden = !locked;
  if (locked) element("key").focus();
  problem(locked && !tried ? null : error);
}

function problem(error) {
  state.wrong = error;
  element("problem").hidden = !error;
  element("problem").textContent = error ? told(error) : "";
}

async function choose(name) {
  const model = await get(`models/${encodeURIComponent(name)}/about`);
  if (name !== element("model").value) return; // another one was chosen meanwhile
  state.model = model;
  clear();
  setUploadModel(state.model);
  show();
}

// ---- one text ----

function clear() {
  state.stop?.abort();
  Object.assign(state, { asked: null, found: null, why: null });
  element("explain").disabled = false;
}

const asks = (model) => model.task === "question-answering" ? ["question", "context"] : model.pairs ? ["text_first", "text_second"] : ["text"];

function given() {
  const texts = asks(state.model).map((_, at) => element(["first", "second"][at]).value);
  return { texts, text: texts.length === 1 ? texts[0] : texts };
}

async function ask() {
  const { model } = state, { texts, text } = given();
  const empty = texts.findIndex((one) => !one.trim());
  clear();
  problem(null);
  if (empty >= 0) return element(["first", "second"][empty]).focus(), show();
  const stop = state.stop = new AbortController();
  element("ask-now").disabled = true;
  try {
    const answers = await Promise.all(requests(model, text).map(([path, body]) => post(model.name, path, body, stop.signal)));
    if (state.stop === stop) Object.assign(state, { asked: text, found: answers.map(({ found }) => found) });
  } catch (error) {
    if (error.name !== "AbortError") failed(error);
  }
  element("ask-now").disabled = false;
  show();
}

async function explain() {
  const { model, asked } = state, stop = state.stop = new AbortController(), label = element("why").value;
  element("explain").disabled = true;
  element("explanation").replaceChildren(make("p", { class: "hint waits" }, say("explaining")));
  try {
    const { found } = await post(model.name, "explain", { inputs: asked, label: label || null }, stop.signal);
    if (state.stop === stop) state.why = { found };
  } catch (error) {
    if (error.name === "AbortError") return;
    state.why = { error };
    if (error.status === 401) refuse(error);
  }
  element("explain").disabled = false;
  showExplanation();
}

function failed(error) {
  if (error.status === 401) refuse(error);
  else problem(error);
}

// ---- showing ----

function show() {
  const { model } = state;
  problem(state.wrong);
  if (!model) return;
  const [first, second] = asks(model);
  element("first-name").textContent = say(first);
  element("second-part").hidden = !second;
  element("second-name").textContent = second ? say(second) : "";
  element("mask").hidden = !model.mask;
  element("mask").textContent = model.mask ? say("insert_mask", { mask: model.mask }) : "";
  element("about").replaceChildren(...facts(model).filter(Boolean));
  element("answer").replaceChildren(...(state.found ? drawn(model, state.asked, state.found) : []).filter(Boolean));
  element("explain-part").hidden = !state.found || !model.explains;
  const choices = model.task === "text-classification" && model.labels.length <= MOST_CHOICES ? model.labels : [];
  element("why-part").hidden = !choices.length;
  options(element("why"), [["", say("likeliest")], ...choices.map((label) => [label, brief(label)])], element("why").value);
  document.title = `${model.name} · headwise`;
  showExplanation();
}

function showExplanation() {
  const { why } = state;
  if (!why) return state.found && element("explain").disabled ? null : element("explanation").replaceChildren();
  element("explanation").replaceChildren(...(why.error
    ? [make("p", { class: "problem" }, why.error.status === 429 ? say("explains_another") : told(why.error))]
    : explained(why.found).filter(Boolean)));
}

// ---- the whole ----

function listen() {
  const on = (id, kind, act) => element(id).addEventListener(kind, (event) => {
    if (kind === "submit") event.preventDefault();
    act(event);
  });
  on("model", "change", (event) => choose(event.target.value).catch(failed));
  on("ask", "submit", ask);
  on("explain", "click", explain);
  for (const id of ["first", "second"]) {
    on(id, "keydown", (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && ask());
  }
  on("mask", "click", () => {
    element("first").setRangeText(state.model.mask, element("first").selectionStart, element("first").selectionEnd, "end");
    element("first").focus();
  });
  on("door", "submit", () => {
    key.set(element("key").value.trim());
    element("key").value = "";
    enter();
  });
  on("forget", "click", () => {
    key.forget();
    location.reload();
  });
}

await begin();
listen();
beginUpload();
whenSpoken(show);
await enter();
