// How an item is shown: title, year, genres, whatever the data set calls them.

const YEAR = /^(.*) \((\d{4})\)$/;
const FROM_THE_RIGHT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/; // Hebrew, Arabic and their like
const NOT_SHOWN = new Set(["itemid", "score", "title", "value", "liked", "timestamp", "explanation"]);

// Isolate a right-to-left title, so that it does not reorder the rest of the line.
const isolated = (title) => (FROM_THE_RIGHT.test(title) ? `\u2068${title}\u2069` : title);

export function named(item) {
  const match = YEAR.exec(item.title);
  return match ? { title: isolated(match[1]), year: match[2] } : { title: isolated(item.title), year: "" };
}

// All values of an item's list attributes: [name, value], such as genres and one of them.
export const terms = (item) =>
  Object.entries(item).filter(([name, value]) => !NOT_SHOWN.has(name) && Array.isArray(value))
    .flatMap(([name, values]) => values.map((value) => [name, value]));

export const tags = (item) => terms(item).map(([, value]) => value);

// Its other attributes: [name, value].
export const facts = (item) =>
  Object.entries(item).filter(([name, value]) =>
    !NOT_SHOWN.has(name) && ["string", "number"].includes(typeof value) && `${value}` !== named(item).year);

// Names of those that are numbers.
export const numbers = (item) =>
  Object.entries(item).filter(([name, value]) => !NOT_SHOWN.has(name) && typeof value === "number").map(([name]) => name);

const GOLDEN_ANGLE = 137.508; // however many hues there are, each is far from those before
const SHADES = [0, 0.12, -0.1]; // added to the lightness, so that hues that come near differ in it

const met = new Map(); // a genre -> its number

// The colour of an item's first genre, the same one everywhere on the page: { hue, shade }.
export function paint(item) {
  const [name = ""] = tags(item);
  if (!met.has(name)) met.set(name, met.size);
  const n = met.get(name);
  return { hue: (n * GOLDEN_ANGLE) % 360, shade: SHADES[n % SHADES.length] };
}

// As CSS variables, for an element's style.
export const painted = (item) => {
  const { hue, shade } = paint(item);
  return { "--hue": hue, "--shade": shade };
};
