// What a user can do with an item, and what was done, with undo.
import { focusAgain, focusIn } from "./moves.js";
import { Component, html } from "./html.js";
import { named } from "./titles.js";

const STARS = 5; // with more levels, a list instead of stars

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

const sentence = (t, { item, effect, value }) =>
  t({ rates: value === undefined ? "likedIt" : "rated", hides: "hidden", retracts: "undone" }[effect], { title: named(item).title, n: value });

export class Done extends Component {
  keep = (element) => {
    this.element = element;
  };

  getSnapshotBeforeUpdate() {
    return focusIn(this.element);
  }

  componentDidUpdate(_props, _state, focused) {
    focusAgain(focused, this.element, "button");
  }

  render({ t, done, latest, live, act }) {
    return html`
      <p class="visually-hidden" role="status">${latest && sentence(t, latest)}</p>
      ${done.length > 0 && html`
        <section class="done" aria-label=${t("done")}>
          <ul ref=${this.keep}>${done.map(({ item, effect, value }) => html`
            <li key=${item.itemid}>
              <span>${sentence(t, { item, effect, value })}</span>
              ${can(live, "retracts") && html`<button class="plain" onClick=${() => act(item, "retracts")}>${t("undo")}</button>`}
            </li>`)}</ul>
        </section>`}`;
  }
}
