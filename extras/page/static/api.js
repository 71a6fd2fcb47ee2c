// The server's API. Every error becomes a Problem, which the page can put into words.
import { keep, kept } from "./stored.js";

const OPENING_TRIES = 8; // a release that is being opened takes a second or two

export class Problem extends Error {
  // code: the API's, or "no_server"; more: service, field
  constructor(code, message, more = {}) {
    super(message);
    Object.assign(this, { code, ...more });
  }
}

let key = kept("key") ?? "";

export const currentKey = () => key;

export const NEEDS_KEY = "needs-key"; // event: the server has refused a request without a key

export function setKey(text) {
  key = text.trim();
  keep("key", key);
}

async function once(path, { method = "GET", body, signal } = {}) {
  let response;
  try {
    response = await fetch(path, {
      method,
      signal,
      body: body === undefined ? undefined : JSON.stringify(body),
      headers: key ? { Authorization: `Bearer ${key}` } : {},
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("no_server", String(error));
  }
  let answer;
  try {
    answer = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error; // aborted while its body was being received
    throw new Problem("no_server", `status ${response.status}`);
  }
  if (response.status === 401) dispatchEvent(new Event(NEEDS_KEY));
  // /readyz answers 503 with its whole report
  if (!response.ok && answer.error) throw new Problem(answer.error.code, answer.error.message, answer.error);
  return answer;
}

async function call(path, options) {
  for (let left = OPENING_TRIES; ; left -= 1) {
    try {
      return await once(path, options);
    } catch (problem) {
      if (problem.code !== "release_opening" || left <= 1) throw problem;
      await new Promise((done) => setTimeout(done, 1000));
    }
  }
}

const query = (fields) =>
  new URLSearchParams(Object.entries(fields).filter(([, value]) => value !== undefined && value !== "")).toString();

export const api = {
  recommend: (body, signal) => call("ml/rec", { method: "POST", body, signal }),
  users: (fields, signal) => call(`ml/users?${query(fields)}`, { signal }),
  history: (fields, signal) => call(`ml/history?${query(fields)}`, { signal }),
  items: (fields, signal) => call(`ml/items?${query(fields)}`, { signal }),
  releases: () => call("ml/releases"),
  experiments: () => call("ml/experiments"),
  canary: () => call("ml/canary"),
  similar: (itemid) => call(`ml/similar?${query({ itemid, size: 6 })}`),
  whyNot: (fields, signal) => call(`ml/why-not?${query(fields)}`, { signal }),
  event: (body) => call("ml/event", { method: "POST", body }),
  addItem: (body) => call("ml/item", { method: "POST", body }),
  removeItem: (itemid) => call(`ml/item/${encodeURIComponent(itemid)}`, { method: "DELETE" }),
  map: () => call("ml/map"),
  faults: () => call("ml/faults"),
  beginFault: (body) => call("ml/faults", { method: "POST", body }),
  endFaults: () => call("ml/faults", { method: "DELETE" }),
  quality: () => call("ml/quality"),
  ready: () => call("readyz"),
  activate: (release) => call(`ml/releases/${release}/activate`, { method: "POST" }),
};
