// Preact with templates instead of JSX, so that nothing has to be built.
import htm from "./vendor/htm.mjs";
import { Component, h, render } from "./vendor/preact.mjs";

export const html = htm.bind(h);
export { Component, render };
