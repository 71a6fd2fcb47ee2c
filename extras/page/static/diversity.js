// How unlike each other the titles of a list have to be. Undefined: as the server does it by itself.
import { html } from "./html.js";

export const Diversity = ({ t, diversity = 0, change }) => html`
  <label class="diversity">${t("diversity")}
    <input type="range" min="0" max="1" step="0.05" value=${diversity} onChange=${(event) => change(Number(event.target.value))} />
    <output>${diversity.toFixed(2)}</output>
  </label>`;
