// Any title: why it is not in the list, or where in the list it is.
import { api } from "./api.js";
import { Explanation } from "./explanation.js";
import { Component, html } from "./html.js";
import { Notice } from "./notice.js";
import { named, tags } from "./titles.js";
import { moment } from "./choices.js";

const SIZE = 50;

export class WhyNot extends Component {
  state = { text: "", found: null, item: null, explanation: null, problem: null };

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

  choose = (item) => this.setState({ item, explanation: null, problem: null }, () => this.ask());

  // For the user on the page, as of the same moment as the list.
  async ask() {
    const { userid, history, when, diversity } = this.props;
    const { item } = this.state;
    const requested = (this.requested = {}); // the last one is shown
    try {
      const explanation = await api.whyNot({ userid, itemid: item.itemid, size: SIZE, timestamp: moment(when, history?.last ?? null), diversity });
      if (requested === this.requested) this.setState({ explanation, problem: null });
    } catch (problem) {
      if (requested === this.requested) this.setState({ explanation: null, problem });
    }
  }

  componentDidUpdate(before) {
    if (!this.state.item || this.props.answer === before.answer) return;
    if (this.props.answer) this.ask();
    else this.setState({ explanation: null }); // it was about another user
  }

  render({ t, language }, { text, found, item, explanation, problem }) {
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
        ${explanation && html`
          <article class="verdict" aria-live="polite">
            <h3>${named(item).title} <span class="quiet">${named(item).year}</span></h3>
            <p>${explanation.sentence[language]}</p>
            ${Object.keys(explanation.channels).length > 0 && html`<${Explanation} t=${t} explanation=${explanation} />`}
          </article>`}
      </section>`;
  }
}
