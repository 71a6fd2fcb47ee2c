// Moves elements from where they were to where they are: first, last, invert, play.

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
