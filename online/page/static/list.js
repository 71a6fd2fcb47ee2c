// The fifty as cards, which move visibly when their order changes.
import { animateFrom, places } from "./flip.js";
import { Component, html } from "./html.js";
import { Lacking } from "./notice.js";
import { reason } from "./reasons.js";
import { facts, hue, named, tags } from "./titles.js";
import { When } from "./when.js";

const ranks = (answer) => new Map(answer?.item_list.map((item, n) => [item.itemid, n + 1]));

const Moved = ({ t, rank, old }) => {
  if (old === rank) return null;
  if (old === undefined) return html`<span class="moved new">${t("isNew")}</span>`;
  return old > rank
    ? html`<span class="moved up">▲ <span>${t("up", { n: old - rank })}</span></span>`
    : html`<span class="moved down">▼ <span>${t("down", { n: rank - old })}</span></span>`;
};

const Details = ({ t, item, answer }) => html`
  <details>
    <summary>${t("details")}</summary>
    <dl>
      <dt>${t("score")}</dt><dd>${item.score}</dd>
      ${facts(item).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}
      ${Object.entries(answer.recall ?? {}).map(([channel, found]) => {
        const place = found.indexOf(item.itemid) + 1;
        return html`<dt>${channel}</dt><dd>${place || "–"}</dd>`;
      })}
    </dl>
  </details>`;

export const Card = ({ t, item, rank, old, moving, answer, best }) => {
  const { title, year } = named(item);
  return html`
    <li class="card" data-flip=${item.itemid} style=${{ "--hue": hue(tags(item)[0]) }}>
      <span class="rank" aria-hidden="true">${rank}</span>
      <div class="what">
        <h3>${title} ${year && html`<span class="year">${year}</span>`}</h3>
        <p class="tags">${tags(item).map((tag) => html`<span>${tag}</span>`)}</p>
        <p class="reason">${reason(t, item, answer)}</p>
        <${Details} t=${t} item=${item} answer=${answer} />
      </div>
      <div class="side">
        <span class="score" title=${t("score")}><span class="visually-hidden">${t("score")} </span>${item.score.toFixed(3)}</span>
        <span class="bar" aria-hidden="true"><span style=${{ width: `${Math.max(2, (100 * item.score) / best)}%` }}></span></span>
        ${moving && html`<${Moved} t=${t} rank=${rank} old=${old} />`}
      </div>
    </li>`;
};

class Cards extends Component {
  keep = (element) => {
    this.element = element;
  };

  getSnapshotBeforeUpdate() {
    return places(this.element);
  }

  componentDidUpdate(_props, _state, before) {
    animateFrom(before, this.element);
  }

  render({ t, answer, before }) {
    const old = ranks(before);
    const best = Math.max(...answer.item_list.map((item) => item.score), 1e-9);
    return html`
      <ol class="cards" ref=${this.keep}>
        ${answer.item_list.map((item, n) => html`
          <${Card} key=${item.itemid} t=${t} item=${item} rank=${n + 1} old=${old.get(item.itemid)} moving=${before !== null}
            answer=${answer} best=${best} />`)}
      </ol>`;
  }
}

export const List = ({ t, answer, before, history, when, busy, ask }) => html`
  <section aria-labelledby="list-title">
    <h2 id="list-title">${t("list")}</h2>
    ${history?.last != null && html`<${When} t=${t} when=${when} change=${(each) => ask(undefined, each)} />`}
    <p class="quiet" role="status">
      ${busy ? t("loading") : answer && t("answered", { n: answer.item_list.length, release: answer.release, ms: answer.took_ms.total })}
    </p>
    ${answer && html`<${Lacking} t=${t} answer=${answer} />`}
    ${answer && html`<${Cards} t=${t} answer=${answer} before=${before} />`}
  </section>`;
