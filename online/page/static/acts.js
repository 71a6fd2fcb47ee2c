// What can be done with an item, and what was done, to be taken back.
import { html } from "./html.js";
import { named } from "./titles.js";

const STARS = 5; // more levels than that are chosen from a list

const can = (live, effect) => Object.values(live?.event_types ?? {}).includes(effect);

const Stars = ({ t, levels, rate }) => html`
  <span class="stars" role="group" aria-label=${t("rate")}>
    ${levels.map((level) => html`<button class="star" aria-label=${t("rateAs", { n: level })} title=${t("rateAs", { n: level })} onClick=${() => rate(level)}>★</button>`)}
  </span>`;

const Choice = ({ t, levels, rate }) => html`
  <select aria-label=${t("rate")} onChange=${(event) => event.target.value && rate(Number(event.target.value))}>
    <option value="">${t("rate")}</option>
    ${levels.map((level) => html`<option value=${level}>${level}</option>`)}
  </select>`;

export const Acts = ({ t, item, live, act }) => {
  const levels = live?.levels ?? [];
  const rate = (level) => act(item, "rates", level);
  return html`
    <div class="acts">
      ${can(live, "rates") && (levels.length === 1
        ? html`<button class="plain" onClick=${() => rate(undefined)}>${t("like")}</button>`
        : html`<${levels.length <= STARS ? Stars : Choice} t=${t} levels=${levels} rate=${rate} />`)}
      ${can(live, "hides") && html`<button class="plain" onClick=${() => act(item, "hides")}>${t("hide")}</button>`}
    </div>`;
};

export const Done = ({ t, done, live, act }) => {
  if (!done.length) return null;
  return html`
    <section class="done" aria-label=${t("done")}>
      <ul>${done.map(({ item, effect, value }) => html`
        <li key=${item.itemid}>
          <span>${t(effect === "hides" ? "hidden" : value === undefined ? "likedIt" : "rated", { title: named(item).title, n: value })}</span>
          ${can(live, "retracts") && html`<button class="plain" onClick=${() => act(item, "retracts")}>${t("undo")}</button>`}
        </li>`)}</ul>
    </section>`;
};
