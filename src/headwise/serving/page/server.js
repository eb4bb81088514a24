// Asking the server: the key, errors in one form, and waiting where it is busy.

import { say } from "./say.js";

const KEY = "headwise-key";

export const key = {
  get: () => sessionStorage.getItem(KEY), // gone with the tab
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** A request the server did not answer. */
export class Refused extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    Object.assign(this, { status, retryAfter });
  }

  say() {
    const own = { 0: "unreachable", 401: "key_wrong", 429: "busy" }[this.status];
    return own ? say(own, { n: this.retryAfter }) : say("refused", { message: this.message });
  }
}

async function request(path, how) {
  const headers = { ...how.headers };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  let answer;
  try {
    answer = await fetch(path, { ...how, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, error.message);
  }
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, said.error ?? answer.statusText, Number(answer.headers.get("retry-after") ?? 1));
}

export const get = async (path) => (await request(path, {})).json();
export const bytes = async (path) => (await request(path, {})).blob();

/** What a model answers, and by which version. */
export async function post(model, path, body, signal) {
  const how = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal };
  const answer = await request(`models/${encodeURIComponent(model)}/${path}`, how);
  return { found: await answer.json(), version: answer.headers.get("x-model-version") };
}

/** The same, asked again where the server is busy, or for a moment not there. wait(seconds) is told of each pause. */
export async function postUntilAnswered(model, path, body, signal, wait) {
  for (let lost = 0; ;) {
    try {
      return await post(model, path, body, signal);
    } catch (error) {
      if (error.status === 0 && (lost += 1) > 5) throw error;
      if (error.status !== 429 && error.status !== 0) throw error;
      const seconds = error.status === 429 ? Math.max(1, error.retryAfter) : 2;
      wait(seconds);
      await pause(seconds, signal);
    }
  }
}

function pause(seconds, signal) {
  return new Promise((done, fail) => {
    const timer = setTimeout(done, 1000 * seconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      fail(new DOMException("", "AbortError"));
    }, { once: true });
  });
}

/** Give a file to the reader. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

