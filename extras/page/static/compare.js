// The same user's lists of two releases, or of two moments, side by side.
import { api } from "./api.js";
import { Component, html } from "./html.js";
import { Notice } from "./notice.js";
import { named, painted } from "./titles.js";
import { moment, MOMENTS } from "./choices.js";

const SIZE = 50;
const SIDES = ["left", "right"];

const Side = ({ t, side, chosen, releases, change }) => html`
  <fieldset class="side-choice">
    <legend>${t(side)}</legend>
    <label>${t("release")}
      <select value=${chosen.release} onChange=${(event) => change(side, { release: event.target.value })}>
        ${releases.map((each) => html`<option value=${each.release}>${each.release} · ${each.recipe}${each.live ? ` · ${t("live")}` : ""}</option>`)}
      </select>
    </label>
    <label>${t("when")}
      <select value=${chosen.when} onChange=${(event) => change(side, { when: event.target.value })}>
        ${MOMENTS.map((each) => html`<option value=${each}>${t(each)}</option>`)}
      </select>
    </label>
  </fieldset>`;

const Moved = ({ t, rank, other }) => {
  if (other === undefined) return html`<span class="moved new">${t("onlyHere")}</span>`;
  if (other === rank) return html`<span class="moved">=</span>`;
  return other > rank
    ? html`<span class="moved up">▲ <span>${t("up", { n: other - rank })}</span></span>`
    : html`<span class="moved down">▼ <span>${t("down", { n: rank - other })}</span></span>`;
};

export const Column = ({ t, side, answer, other }) => {
  const there = new Map(other.item_list.map((item, n) => [item.itemid, n + 1]));
  return html`
    <div>
      <h3>${t(side)} <span class="quiet">${answer.release}</span></h3>
      <ol class="rows">
        ${answer.item_list.map((item, n) => {
          const { title, year } = named(item);
          return html`
            <li key=${item.itemid} class=${there.has(item.itemid) ? "" : "alone"} style=${painted(item)}>
              <span class="rank" aria-hidden="true">${n + 1}</span>
              <span class="title">${title} <span class="quiet">${year}</span></span>
              <${Moved} t=${t} rank=${n + 1} other=${there.get(item.itemid)} />
            </li>`;
        })}
      </ol>
    </div>`;
};

export class Compare extends Component {
  state = { left: null, right: null, answers: null, problem: null };

  componentDidMount() {
    this.start();
  }

  componentDidUpdate(before) {
    const { userid, history, releases } = this.props;
    if (releases !== before.releases || !this.state.left) this.start();
    else if (userid !== before.userid || history !== before.history) this.ask();
  }

  // The live release against the one before it, or two moments where there is one release.
  start() {
    const [first, second] = this.props.releases;
    if (!first) return;
    this.setState(
      { left: { release: first.release, when: "now" }, right: { release: (second ?? first).release, when: second ? "now" : "session" } },
      () => this.ask(),
    );
  }

  change = (side, chosen) => this.setState({ [side]: { ...this.state[side], ...chosen } }, () => this.ask());

  async ask() {
    const { userid, history } = this.props;
    const requested = (this.requested = {}); // the last one is shown
    if (!history || history.userid !== userid) {
      this.setState({ answers: null, problem: null });
      return;
    }
    try {
      const answers = await Promise.all(SIDES.map((side) => {
        const { release, when } = this.state[side];
        return api.recommend({ userid, size: SIZE, release, timestamp: moment(when, history.last) });
      }));
      if (requested === this.requested) this.setState({ answers, problem: null });
    } catch (problem) {
      if (requested === this.requested) this.setState({ problem });
    }
  }

  render({ t, releases }, { left, right, answers, problem }) {
    const both = answers && answers[0].item_list.filter((item) => answers[1].item_list.some((each) => each.itemid === item.itemid)).length;
    return html`
      <section aria-labelledby="compare-title">
        <h2 id="compare-title">${t("compare")}</h2>
        ${releases.length === 1 && html`<p class="notice">${t("oneRelease")}<code>RECSYS_RECIPE=source make offline sync</code>. ${t("twoTimes")}</p>`}
        ${left && html`<div class="choices">
          <${Side} t=${t} side="left" chosen=${left} releases=${releases} change=${this.change} />
          <${Side} t=${t} side="right" chosen=${right} releases=${releases} change=${this.change} /></div>`}
        ${problem && html`<${Notice} t=${t} problem=${problem} again=${() => this.ask()} />`}
        ${answers && html`
          <p role="status"><strong>${t("inBoth", { n: both })}</strong></p>
          <div class="columns">
            <${Column} t=${t} side="left" answer=${answers[0]} other=${answers[1]} />
            <${Column} t=${t} side="right" answer=${answers[1]} other=${answers[0]} />
          </div>`}
      </section>`;
  }
}
