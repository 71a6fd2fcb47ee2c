// Any title: why it is not in the list, or where in the list it is.
import { api } from "./api.js";
import { Explanation } from "./explanation.js";
import { Component, html } from "./html.js";
import { Notice } from "./notice.js";
import { named, tags } from "./titles.js";
import { moment } from "./when.js";

const SIZE = 50;

export class WhyNot extends Component {
  state = { text: "", found: null, item: null, told: null, problem: null };

  search = async (text) => {
    this.searching?.abort();
    this.searching = new AbortController();
    this.setState({ text });
    if (!text.trim()) {
      this.setState({ found: null });
      return;
    }
    try {
      const { item_list: found } = await api.items({ q: text.trim() }, this.searching.signal);
      this.setState({ found, problem: null });
    } catch (problem) {
      if (problem.name !== "AbortError") this.setState({ problem });
    }
  };

  choose = (item) => this.setState({ item, told: null, problem: null }, () => this.ask());

  // For whoever asks now, as of the moment that the list is of.
  async ask() {
    const { userid, history, when, diversity } = this.props;
    const { item } = this.state;
    const asked = (this.asked = {}); // the last one asked for is shown
    try {
      const told = await api.whyNot({ userid, itemid: item.itemid, size: SIZE, timestamp: moment(when, history?.last ?? null), diversity });
      if (asked === this.asked) this.setState({ told, problem: null });
    } catch (problem) {
      if (asked === this.asked) this.setState({ told: null, problem });
    }
  }

  componentDidUpdate(before) {
    if (!this.state.item || this.props.answer === before.answer) return;
    if (this.props.answer) this.ask();
    else this.setState({ told: null }); // it was told of somebody else
  }

  render({ t, language }, { text, found, item, told, problem }) {
    return html`
      <section aria-labelledby="why-title">
        <h2 id="why-title">${t("whyNot")}</h2>
        <p><label for="title">${t("searchTitle")}</label>
          <input id="title" type="search" autocomplete="off" maxlength="100" value=${text} onInput=${(event) => this.search(event.target.value)} /></p>
        ${!found && !item && html`<p class="quiet">${t("chooseTitle")}</p>`}
        ${found && !found.length && html`<p role="status">${t("noTitle")}</p>`}
        ${found && html`<ul class="found wide" aria-label=${t("titles")}>${found.map((each) => {
          const { title, year } = named(each);
          return html`<li key=${each.itemid}><button aria-pressed=${each.itemid === item?.itemid} onClick=${() => this.choose(each)}>
            ${title} <span class="quiet">${year} ${tags(each).join(t("comma"))}</span></button></li>`;
        })}</ul>`}
        ${problem && html`<${Notice} t=${t} problem=${problem} again=${item && (() => this.ask())} />`}
        ${told && html`
          <article class="verdict" aria-live="polite">
            <h3>${named(item).title} <span class="quiet">${named(item).year}</span></h3>
            <p>${told.sentence[language]}</p>
            ${Object.keys(told.channels).length > 0 && html`<${Explanation} t=${t} told=${told} />`}
          </article>`}
      </section>`;
  }
}
