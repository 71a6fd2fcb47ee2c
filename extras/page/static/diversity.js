// How diverse a list has to be. Undefined: the server's default.
import { html } from "./html.js";

export const Diversity = ({ t, diversity = 0, change }) => html`
  <label class="diversity">${t("diversity")}
    <input type="range" min="0" max="1" step="0.05" value=${diversity} onChange=${(event) => change(Number(event.target.value))} />
    <output>${diversity.toFixed(2)}</output>
  </label>`;
