// The fifty as cards, which move visibly when their order changes.
import { Acts } from "./acts.js";
import { api } from "./api.js";
import { Explanation } from "./explanation.js";
import { animateFrom, focusAgain, focusIn, places } from "./moves.js";
import { Component, html } from "./html.js";
import { Degraded, Notice } from "./notice.js";
import { facts, named, painted, tags } from "./titles.js";
import { Diversity, When } from "./choices.js";

const ranks = (answer) => new Map(answer?.item_list.map((item, n) => [item.itemid, n + 1]));

const Moved = ({ t, rank, old }) => {
  if (old === rank) return null;
  if (old === undefined) return html`<span class="moved new">${t("isNew")}</span>`;
  return old > rank
    ? html`<span class="moved up">▲ <span>${t("up", { n: old - rank })}</span></span>`
    : html`<span class="moved down">▼ <span>${t("down", { n: rank - old })}</span></span>`;
};

const Details = ({ t, item, explanation }) => html`
  <details>
    <summary>${t("details")}</summary>
    <dl>
      <dt>${t("score")}</dt><dd>${item.score}</dd>
      ${facts(item).map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}
    </dl>
    ${explanation && html`<${Explanation} t=${t} explanation=${explanation} />`}
  </details>`;

// Similar titles, requested when the list is opened.
class Alike extends Component {
  state = { found: null, problem: null };

  look = async (event) => {
    if (!event.currentTarget.open || this.state.found) return;
    try {
      this.setState({ found: (await api.similar(this.props.item.itemid)).item_list, problem: null });
    } catch (problem) {
      this.setState({ problem });
    }
  };

  render({ t }, { found, problem }) {
    return html`
      <details class="alike" onToggle=${this.look}>
        <summary>${t("alike")}</summary>
        ${problem && html`<${Notice} t=${t} problem=${problem} />`}
        ${found && html`<ul>${found.map((each) => html`
          <li key=${each.itemid} title=${each.why}>${named(each).title} <span class="quiet">${named(each).year}</span></li>`)}</ul>`}
      </details>`;
  }
}

// The list's filter.
const Only = ({ t, kinds, where, change }) => html`
  <label class="diversity">${t("only")}
    <select onChange=${({ target }) => change(target.value ? Object.fromEntries([JSON.parse(target.value)].map(([name, value]) => [name, [value]])) : {})}>
      <option value="">${t("everything")}</option>
      ${kinds.map(([name, value]) => html`
        <option value=${JSON.stringify([name, value])} selected=${where[name]?.[0] === value}>${value}</option>`)}
    </select>
  </label>`;

// Words that titles or kinds are to have; empty: the list of recommendations again.
// What has been typed stays when an answer arrives meanwhile.
class Search extends Component {
  state = { typed: undefined };

  componentDidUpdate({ query }) {
    if (query !== this.props.query) this.setState({ typed: undefined });
  }

  submit = (event) => {
    event.preventDefault();
    this.props.change(event.target.elements.query.value.trim());
  };

  render({ t, query }, { typed }) {
    return html`
      <form class="search" role="search" onSubmit=${this.submit}>
        <label>${t("search")} <input type="search" name="query" maxlength="200" value=${typed ?? query} onInput=${({ target }) => this.setState({ typed: target.value })} placeholder=${t("searchSuch")} /></label>
        <button class="plain">${t("find")}</button>
      </form>`;
  }
}

const Card = ({ t, language, item, rank, old, moving, explanation, waiting, best, live, act }) => {
  const { title, year } = named(item);
  return html`
    <li class="card" data-flip=${item.itemid} style=${painted(item)}>
      <span class="rank" aria-hidden="true">${rank}</span>
      <div class="what">
        <h3 tabindex="-1">${title} ${year && html`<span class="year">${year}</span>`}</h3>
        <p class="tags">${tags(item).map((tag) => html`<span>${tag}</span>`)}</p>
        <p class="reason">${explanation?.reason.sentence[language] ?? (waiting ? "…" : "")}</p>
        <${Acts} t=${t} item=${item} live=${live} act=${act} />
        <${Details} t=${t} item=${item} explanation=${explanation} />
        <${Alike} t=${t} item=${item} />
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
    return { before: places(this.element), focused: focusIn(this.element) };
  }

  componentDidUpdate(_props, _state, { before, focused }) {
    animateFrom(before, this.element);
    focusAgain(focused, this.element, "h3");
  }

  render({ t, language, answer, before, explained, unexplained, live, act }) {
    const old = ranks(before);
    const best = Math.max(...answer.item_list.map((item) => item.score), 1e-9);
    return html`
      <ol class="cards" ref=${this.keep}>
        ${answer.item_list.map((item, n) => html`
          <${Card} key=${item.itemid} t=${t} language=${language} item=${item} rank=${n + 1} old=${old.get(item.itemid)}
            moving=${before !== null} explanation=${explained.get(item.itemid)} waiting=${!unexplained && explained.size === 0} best=${best} live=${live} act=${act} />`)}
      </ol>`;
  }
}

export const List = ({ t, language, answer, before, explained, unexplained, history, when, diversity, where, query, kinds, busy, live, ask, act, explain }) => html`
  <section aria-labelledby="list-title">
    <h2 id="list-title">${t("list")}</h2>
    ${history?.last != null && html`<${When} t=${t} when=${when} change=${(each) => ask(undefined, each)} />`}
    <${Diversity} t=${t} diversity=${diversity ?? answer?.diversity} change=${(each) => ask(undefined, undefined, each)} />
    <${Search} t=${t} query=${query} change=${(each) => ask(undefined, undefined, undefined, undefined, each)} />
    ${kinds.length > 0 && html`<${Only} t=${t} kinds=${kinds} where=${where} change=${(each) => ask(undefined, undefined, undefined, each)} />`}
    <p class="quiet" role="status">
      ${busy ? t("loading") : answer && t("answered", { n: answer.item_list.length, release: answer.release, ms: answer.took_ms.total })}
    </p>
    ${answer && html`<${Degraded} t=${t} answer=${answer} />`}
    ${!busy && query && answer?.item_list.length === 0 && html`<p class="quiet" role="status">${t("noTitle")}</p>`}
    ${unexplained && html`
      <p class="notice warn" role="status">${t("unexplained")} <button class="plain" onClick=${explain}>${t("tryAgain")}</button></p>`}
    ${answer && html`
      <${Cards} t=${t} language=${language} answer=${answer} before=${before} explained=${explained} unexplained=${unexplained} live=${live} act=${act} />`}
  </section>`;
