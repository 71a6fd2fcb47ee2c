// Keep the keyboard's focus when the focused element is removed.

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
