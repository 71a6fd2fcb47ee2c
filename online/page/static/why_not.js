// Any title: where it stands for this user.
import { api } from "./api.js";
import { Component, html } from "./html.js";
import { Notice } from "./notice.js";
import { named } from "./titles.js";

export class WhyNot extends Component {
  state = { text: "", found: null, problem: null };

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

  render({ t, answer }, { text, found, problem }) {
    const rank = (item) => (answer ? answer.item_list.findIndex((each) => each.itemid === item.itemid) + 1 : 0);
    return html`
      <section aria-labelledby="why-title">
        <h2 id="why-title">${t("whyNot")}</h2>
        <p><label for="title">${t("searchTitle")}</label>
          <input id="title" type="search" autocomplete="off" maxlength="100" value=${text} onInput=${(event) => this.search(event.target.value)} /></p>
        ${problem && html`<${Notice} t=${t} problem=${problem} />`}
        ${!found && html`<p class="quiet">${t("chooseTitle")}</p>`}
        ${found && !found.length && html`<p role="status">${t("noTitle")}</p>`}
        ${found && html`<ul class="rows">${found.map((item) => {
          const { title, year } = named(item);
          return html`<li key=${item.itemid}><span class="title">${title} <span class="quiet">${year}</span></span>
            ${rank(item) > 0 && html`<span class="quiet">${t("inList", { n: rank(item) })}</span>`}</li>`;
        })}</ul>`}
      </section>`;
  }
}
