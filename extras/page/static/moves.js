// When a list changes: elements move from where they were, and the keyboard's focus stays.

// First, last, invert, play.
const MS = 450;
const still = matchMedia("(prefers-reduced-motion: reduce)");

// The places of the elements below `parent` that have data-flip, by that name.
export function places(parent) {
  const found = new Map();
  if (parent) for (const each of parent.querySelectorAll("[data-flip]")) found.set(each.dataset.flip, each.getBoundingClientRect());
  return found;
}

export function animateFrom(before, parent) {
  if (!parent || !before.size || still.matches) return;
  for (const each of parent.querySelectorAll("[data-flip]")) {
    const old = before.get(each.dataset.flip);
    const now = each.getBoundingClientRect();
    if (!old) {
      each.animate([{ opacity: 0, transform: "scale(0.94)" }, { opacity: 1, transform: "none" }], { duration: MS, easing: "ease-out" });
    } else if (old.top !== now.top || old.left !== now.left) {
      const from = `translate(${old.left - now.left}px, ${old.top - now.top}px)`;
      each.animate([{ transform: from }, { transform: "none" }], { duration: MS, easing: "cubic-bezier(.2, .8, .2, 1)" });
    }
  }
}

// The focused element, and which child of `list` it is in; null: in none.
export function focusIn(list) {
  const element = document.activeElement;
  const place = [...(list?.children ?? [])].findIndex((child) => child.contains(element));
  return place < 0 ? null : { element, place };
}

// Focus that element again; if it is gone, `target` in the child that took its place, or in the last one.
export function focusAgain(focused, list, target) {
  if (!focused || document.activeElement !== document.body) return;
  const children = list?.children ?? [];
  const next = children[Math.min(focused.place, children.length - 1)];
  (focused.element.isConnected ? focused.element : next?.querySelector(target) ?? document.getElementById("main")).focus();
}
