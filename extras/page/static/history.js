// What a user has rated, newest first.
import { html } from "./html.js";
import { named, painted } from "./titles.js";

const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);

const Event = ({ item }) => {
  const { title, year } = named(item);
  return html`
    <li style=${painted(item)} class="event">
      <span class="title">${title} <span class="quiet">${year}</span></span>
      <span class=${item.liked ? "value liked" : "value"}>${item.value} ★</span>
      <time class="quiet">${day(item.timestamp)}</time>
    </li>`;
};

export const Lately = ({ t, history }) => html`
  <section class="lately" aria-label=${t("historyTitle")}>
    <h3>${t("historyTitle")}</h3>
    ${history.events
      ? html`<p class="quiet">${t("newest", { shown: history.item_list.length, n: history.events })}</p>
          <ol tabindex="0" aria-label=${t("historyTitle")}>${history.item_list.map((item) => html`<${Event} key=${item.itemid} item=${item} />`)}</ol>`
      : html`<p class="quiet">${t("historyNone")}</p>`}
  </section>`;
