// The moment of which the list is requested. A request sees what happened before its second.
import { html } from "./html.js";

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
