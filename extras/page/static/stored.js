// Storage in the browser: until the tab is closed, or for good. The page also works without.
const FOR_GOOD = "language";

const place = (name) => (name === FOR_GOOD ? localStorage : sessionStorage);

// null: nothing is kept.
export function kept(name) {
  try {
    return JSON.parse(place(name).getItem(name));
  } catch {
    return null;
  }
}

export function keep(name, value) {
  try {
    place(name).setItem(name, JSON.stringify(value));
  } catch {
    // it works without
  }
}
