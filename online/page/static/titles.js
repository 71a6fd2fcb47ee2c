// How an item is shown: title, year, genres, whatever the data set calls them.

const YEAR = /^(.*) \((\d{4})\)$/;
const NOT_SHOWN = new Set(["itemid", "score", "title", "value", "liked", "timestamp", "explanation"]);

export function named(item) {
  const match = YEAR.exec(item.title);
  return match ? { title: match[1], year: match[2] } : { title: item.title, year: "" };
}

// The lists among an item's attributes, one after the other: genres.
export const tags = (item) =>
  Object.entries(item).filter(([name, value]) => !NOT_SHOWN.has(name) && Array.isArray(value)).flatMap(([, value]) => value);

// Its other attributes: [name, value].
export const facts = (item) =>
  Object.entries(item).filter(([name, value]) => !NOT_SHOWN.has(name) && ["string", "number"].includes(typeof value));

// A hue for a genre, the same one everywhere on the page.
export function hue(name = "") {
  let sum = 0;
  for (const letter of name) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return sum;
}
