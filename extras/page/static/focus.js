// Where the keyboard is, kept when what it was on goes away.

// The focused element, and which child of `list` it is in; null: in none.
export function focusIn(list) {
  const element = document.activeElement;
  const place = [...(list?.children ?? [])].findIndex((child) => child.contains(element));
  return place < 0 ? null : { element, place };
}

// Back to that element; where it is gone, to `target` in the child that took its place, or in the last one.
export function focusAgain(focused, list, target) {
  if (!focused || document.activeElement !== document.body) return;
  const children = list?.children ?? [];
  const next = children[Math.min(focused.place, children.length - 1)];
  (focused.element.isConnected ? focused.element : next?.querySelector(target) ?? document.getElementById("main")).focus();
}
