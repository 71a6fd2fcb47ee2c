// What a list is requested for: a moment, and how diverse it has to be.
import { html } from "./html.js";

// A request sees what happened before its second.
const AFTER = { session: 1, hour: 3600 }; // seconds after the last event

export const MOMENTS = ["now", "session", "hour"];

// The request's timestamp; undefined: now.
export const moment = (when, last) => (when === "now" || last === null ? undefined : last + AFTER[when]);

export const When = ({ t, when, name = "when", change }) => html`
  <fieldset class="choice">
    <legend>${t("when")}</legend>
    ${MOMENTS.map((each) => html`
      <label><input type="radio" name=${name} value=${each} checked=${each === when} onChange=${() => change(each)} />
        <span>${t(each)}</span></label>`)}
  </fieldset>`;

// Undefined: the server's default.
export const Diversity = ({ t, diversity = 0, change }) => html`
  <label class="diversity">${t("diversity")}
    <input type="range" min="0" max="1" step="0.05" value=${diversity} onChange=${(event) => change(Number(event.target.value))} />
    <output>${diversity.toFixed(2)}</output>
  </label>`;
