// Words in the reader's language, and elements made of them. What comes from outside becomes text, never markup.

let languages = {};
let language = "en";
const listeners = [];

/** Read the words, then say everything in the reader's language. */
export async function begin() {
  languages = await (await fetch("page/languages.json")).json();
  const chosen = sessionStorage.getItem("headwise-language") ?? navigator.language;
  for (const button of document.querySelectorAll("[data-language]")) {
    button.addEventListener("click", () => {
      sessionStorage.setItem("headwise-language", button.dataset.language);
      speak(button.dataset.language);
    });
  }
  speak((chosen || "en").startsWith("zh") ? "zh" : "en");
}

/** Call this now and whenever the language changes. */
export function whenSpoken(listen) {
  listeners.push(listen);
}

function speak(chosen) {
  language = chosen;
  document.documentElement.lang = chosen === "zh" ? "zh-CN" : "en";
  for (const node of document.querySelectorAll("[data-say]")) node.textContent = say(node.dataset.say);
  for (const button of document.querySelectorAll("[data-language]")) {
    button.setAttribute("aria-pressed", button.dataset.language === chosen);
  }
  listeners.forEach((listen) => listen());
}

/** The words for a key, with values in their blanks. */
export function say(key, values = {}) {
  return languages[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

/** A name of ours in the reader's language, or as it is. */
export function named(name) {
  return languages[language].names[name] ?? name;
}

/** Something that was wrong, to be said in the reader's language. */
export class Mistake extends Error {
  constructor(key, values = {}) {
    super(key);
    this.say = () => say(key, values);
  }
}

/** What to tell of an error. What the server says of a request is English. */
export const told = (error) => error.say?.() ?? `${error.name}: ${error.message}`;

export const element = (id) => document.getElementById(id);

/** An element. Names that begin with -- are set as properties, since the policy allows no style attributes. */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("--")) node.style.setProperty(name, value);
    else if (typeof value === "boolean") node.toggleAttribute(name, value);
    else if (value !== null) node.setAttribute(name, value);
  }
  node.append(...children.flat().filter((one) => one !== null && one !== undefined));
  return node;
}

/** Fill a select; what was chosen stays so where it still can. options: [value, words] */
export function options(select, pairs, chosen = select.value) {
  select.replaceChildren(...pairs.map(([value, words]) => make("option", { value }, words)));
  if (pairs.some(([value]) => value === chosen)) select.value = chosen;
}

export const count = (value) => value.toLocaleString(language === "zh" ? "zh-CN" : "en-US");
export const number = (value, digits = 3) => value.toFixed(digits).replace("-", "−");
export const brief = (text, most = 40) => {
  const characters = [...text];
  return characters.length > most ? characters.slice(0, most - 1).join("") + "…" : text;
};
/** The language to mark a text with, so that a browser takes the right glyphs and breaks. */
export const languageOf = (text) => /\p{Script=Han}/u.test(text) && !/[\u3040-\u30ff]/.test(text) ? "zh" : null;
