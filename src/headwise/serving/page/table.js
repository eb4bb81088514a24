// Tables in files: read as headwise.reading.tables reads them, nothing guessed unsaid, and written for a spreadsheet.

import { Mistake } from "./say.js";

export const MOST_BYTES = 50_000_000;

/** The table in a file: { columns, rows, notes }; every value is text. Throws a Mistake that names the line. */
export async function readTable(file) {
  if (file.size > MOST_BYTES) throw new Mistake("file_large", { n: MOST_BYTES / 1e6 });
  const zipped = file.name.toLowerCase().endsWith(".gz");
  const kind = file.name.toLowerCase().replace(/\.gz$/, "").match(/\.(csv|tsv|txt|jsonl|ndjson|json)$/)?.[1];
  if (!kind) throw new Mistake("file_kind", { name: file.name });
  const stream = zipped ? file.stream().pipeThrough(new DecompressionStream("gzip")) : file.stream();
  const read = await new Response(stream).arrayBuffer().catch(() => {
    throw new Mistake("file_unzip");
  });
  const bytes = new Uint8Array(read);
  const { text, encoding } = decoded(bytes);
  if (!text.trim()) throw new Mistake("file_empty");
  const nul = text.indexOf("\0");
  if (nul >= 0) throw new Mistake("file_nul", { line: lineAt(text, nul) });
  const notes = encoding === "UTF-8" ? [] : [["note_encoding", { encoding }]];
  if (kind === "txt") return { columns: ["text"], rows: lines(text).map(([line]) => [line]), notes };
  const table = kind === "csv" || kind === "tsv" ? delimited(text, kind, notes) : objects(text, notes);
  if (!table.rows.length) throw new Mistake("file_no_rows");
  return table;
}

/** Text of bytes in UTF-8, UTF-16 or GB18030, and which it was. */
export function decoded(bytes) {
  const as = (name) => new TextDecoder(name, { fatal: true }).decode(bytes);
  const mark = bytes[0] === 0xff && bytes[1] === 0xfe ? "utf-16le" : bytes[0] === 0xfe && bytes[1] === 0xff ? "utf-16be" : null;
  try {
    return mark ? { text: as(mark), encoding: "UTF-16" } : { text: as("utf-8"), encoding: "UTF-8" };
  } catch {
    if (mark || !readsAsChinese(bytes)) throw new Mistake("file_encoding");
  }
  try {
    return { text: as("gb18030"), encoding: "GB18030" };
  } catch {
    throw new Mistake("file_encoding");
  }
}

/** Whether most pairs of bytes beyond ASCII are common characters of GB 2312: those of Latin-1 by accident are not. */
function readsAsChinese(bytes) {
  let common = 0, all = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    if (bytes[at] < 0x80) continue;
    common += bytes[at] >= 0xa1 && bytes[at] <= 0xf7 && bytes[at + 1] >= 0xa1;
    all += 1;
    at += 1;
  }
  return 2 * common >= all;
}

const lineAt = (text, at) => text.slice(0, at).split(/\r\n|\r|\n/).length;

/** Lines that are not blank, each with its number. */
const lines = (text) => text.split(/\r\n|\r|\n/).map((line, at) => [line, at + 1]).filter(([line]) => line.trim());

function delimited(text, kind, notes) {
  const delimiter = kind === "tsv" ? "\t" : guessed(text);
  if (kind === "csv" && delimiter !== ",") notes.push(["note_delimiter", { delimiter: delimiter === "\t" ? "tab" : delimiter }]);
  const [header, ...rows] = fields(text, delimiter, kind === "csv").filter(({ cells }) => cells.length > 1 || cells[0]);
  const twice = header.cells.find((name, at) => !name.trim() || header.cells.indexOf(name) < at);
  if (twice !== undefined) throw new Mistake("file_names", { line: header.line, name: twice });
  const odd = rows.find(({ cells }) => cells.length !== header.cells.length);
  if (odd) throw new Mistake("file_fields", { line: odd.line, found: odd.cells.length, expected: header.cells.length });
  return { columns: header.cells, rows: rows.map(({ cells }) => cells), notes };
}

/** The comma; where the header has none, the one of ; tab | that it holds most often. */
function guessed(text) {
  const header = lines(text)[0][0];
  const times = (mark) => header.split(mark).length - 1;
  const best = [";", "\t", "|"].sort((one, other) => times(other) - times(one))[0];
  return header.includes(",") || !times(best) ? "," : best;
}

/** Rows of cells (RFC 4180), each with the line where it begins. */
function fields(text, delimiter, quoted) {
  const mark = delimiter === "|" ? "\\|" : delimiter;
  const pattern = new RegExp(`${quoted ? '(?:"([^"]*(?:""[^"]*)*)("?))?' : "()()"}([^${mark}\\r\\n]*)(${mark}|\\r\\n|\\r|\\n|$)`, "y");
  const rows = [];
  let cells = [], line = 1, following = 1;
  while (pattern.lastIndex < text.length || cells.length) {
    const [whole, inside, close, rest, end] = pattern.exec(text);
    if (inside !== undefined && quoted && (!close || rest)) throw new Mistake("file_quotes", { line });
    cells.push(inside !== undefined && quoted ? inside.replaceAll('""', '"') : rest);
    following += whole.match(/\r\n|\r|\n/g)?.length ?? 0;
    if (end === delimiter) continue;
    rows.push({ line, cells });
    cells = [];
    line = following;
  }
  return rows;
}

/** JSON Lines, or a list of objects; lists of words are joined by blanks, what is nested deeper stays JSON. */
function objects(text, notes) {
  const each = text.trimStart()[0] === "[" ? elements(text) : lines(text);
  const found = each.map(([one, line]) => [parsed(one, line), line]);
  const columns = Object.keys(found[0][0]);
  const nested = new Set();
  for (const [one, line] of found) {
    const more = Object.keys(one).find((name) => !columns.includes(name));
    if (more !== undefined) throw new Mistake("file_key", { line, name: more });
  }
  const rows = found.map(([one, line]) => columns.map((name) => {
    const value = one[name];
    if (value === null || value === undefined) throw new Mistake("file_null", { line, name });
    if (typeof value !== "object") return String(value);
    nested.add(name);
    const words = Array.isArray(value) && value.every((word) => typeof word === "string");
    return words ? value.join(" ") : JSON.stringify(value);
  }));
  if (nested.size) notes.push(["note_nested", { names: [...nested].join(", ") }]);
  return { columns, rows, notes };
}

/** What stands between the commas of a JSON list, each with the line where it begins. */
function elements(text) {
  const found = [], tokens = /"[^"\\]*(?:\\.[^"\\]*)*"|[[{\]},]/g;
  let depth = 0, begin = text.indexOf("[") + 1, line = 1, counted = 0, match;
  for (tokens.lastIndex = begin; depth >= 0 && (match = tokens.exec(text)); ) {
    const [token] = match;
    if (token === "[" || token === "{") depth += 1;
    else if (token === "]" || token === "}") depth -= 1;
    if (depth > 0 || (depth === 0 && token !== ",")) continue;
    const one = text.slice(begin, match.index), start = begin + one.search(/\S|$/);
    line += text.slice(counted, start).split("\n").length - 1;
    found.push([one, line]);
    [counted, begin] = [start, tokens.lastIndex];
  }
  if (depth >= 0 || text.slice(begin).trim()) throw new Mistake("file_json", { line: lineAt(text, begin) });
  return found;
}

/** A line of JSON whose own numbers are texts, as they are written: JavaScript would round long ones. */
function numbersAsWritten(line) {
  let depth = 0;
  return line.replace(/"[^"\\]*(?:\\.[^"\\]*)*"|[{[]|[\]}]|-?\d[\d.eE+-]*/g, (token) => {
    if (token === "{" || token === "[") depth += 1;
    else if (token === "}" || token === "]") depth -= 1;
    else if (token[0] !== '"' && depth === 1) return `"${token}"`;
    return token;
  });
}

function parsed(line, number) {
  let one = null;
  try {
    one = JSON.parse(numbersAsWritten(line));
  } catch { /* said below */ }
  if (one === null || typeof one !== "object" || Array.isArray(one)) throw new Mistake("file_json", { line: number });
  return one;
}

// ---- writing ----

/** The columns of a table and, behind them, what was told of each row. Names that are taken get predicted_ before them. */
export function joined({ columns, rows }, answers, separator) {
  const names = [...new Set(answers.flatMap((one) => Object.keys(one)))];
  const taken = new Set(columns);
  const fresh = names.map((name) => {
    let own = name;
    while (taken.has(own)) own = `predicted_${own}`;
    taken.add(own);
    return own;
  });
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    if (Array.isArray(value) && value.every((one) => typeof one === "string")) return value.join(separator);
    return typeof value === "object" ? JSON.stringify(value) : String(value);
  };
  return {
    columns: [...columns, ...fresh],
    cells: rows.map((row, at) => [...row, ...names.map((name) => cell(answers[at][name]))]),
    objects: rows.map((row, at) => Object.fromEntries([
      ...columns.map((name, place) => [name, row[place]]),
      ...names.map((name, place) => [fresh[place], answers[at][name]]).filter(([, value]) => value !== undefined),
    ])),
  };
}

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const FORMULA = /^[\s]*[=+\-@＝＋－＠]|^[\t\r]/;

/** A cell that a spreadsheet shows as text: an apostrophe stands before what it would compute, but for plain numbers. */
export const harmless = (cell) => FORMULA.test(cell) && !NUMBER.test(cell) ? `'${cell}` : cell;

/** A CSV file for spreadsheets, and before how many cells an apostrophe had to be put. */
export function asCsv({ columns, cells }) {
  let changed = 0;
  const written = (cell) => {
    const own = harmless(cell);
    changed += own !== cell;
    return /[",\r\n]/.test(own) ? `"${own.replaceAll('"', '""')}"` : own;
  };
  const text = [columns, ...cells].map((row) => `${row.map(written).join(",")}\r\n`).join("");
  return { blob: new Blob(["\ufeff", text], { type: "text/csv" }), changed };
}

export const asJsonLines = ({ objects: rows }) =>
  new Blob(rows.map((row) => `${JSON.stringify(row)}\n`), { type: "application/x-ndjson" });
