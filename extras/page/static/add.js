// Add a title by its attributes, show where it is placed, and remove it again.
import { api } from "./api.js";
import { Explanation } from "./explanation.js";
import { Component, html } from "./html.js";
import { Notice } from "./notice.js";
import { unknownUser } from "./person.js";
import { named, numbers } from "./titles.js";

const TRIES = 5; // another worker of the server knows of it within a second
const AGAIN_MS = 300;

async function patiently(ask) {
  for (let left = TRIES; ; left -= 1) {
    try {
      const found = await ask();
      if (found.code !== "unknown_item" || left <= 1) return found;
    } catch (problem) {
      if (problem.code !== "bad_request" || left <= 1) throw problem;
    }
    await new Promise((done) => setTimeout(done, AGAIN_MS));
  }
}

export class Add extends Component {
  state = { title: "", chosen: new Set(), given: {}, added: null, explanation: null, alike: null, problem: null, again: null };

  // Select or deselect a value.
  toggle = (kind) => {
    const chosen = new Set(this.state.chosen);
    if (!chosen.delete(kind)) chosen.add(kind);
    this.setState({ chosen });
  };

  add = async (event) => {
    event?.preventDefault();
    const { title, chosen, given } = this.state;
    const attributes = { ...given };
    for (const [name, value] of [...chosen].map(JSON.parse)) (attributes[name] ??= []).push(value);
    const body = { itemid: unknownUser(this.props.answer.item_list[0].itemid), title: title.trim(), attributes };
    await this.attempt(this.add, async () => {
      const added = await api.addItem(body);
      this.setState({ added, explanation: null, alike: null }, () => this.look());
    });
  };

  // Its place in the current user's list, and similar titles.
  look = async () => {
    const { itemid } = this.state.added;
    await this.attempt(this.look, async () => {
      const explanation = await patiently(() => api.whyNot({ userid: this.props.userid, itemid, size: 50 }));
      const { item_list: alike } = await patiently(() => api.similar(itemid));
      this.setState({ explanation, alike });
    });
  };

  remove = async () => {
    await this.attempt(this.remove, async () => {
      await api.removeItem(this.state.added.itemid);
      this.setState({ added: null, explanation: null, alike: null });
    });
  };

  async attempt(again, act) {
    this.setState({ problem: null });
    try {
      await act();
    } catch (problem) {
      this.setState({ problem, again });
    }
  }

  componentDidUpdate(before) {
    if (this.state.added && this.props.userid !== before.userid) this.look();
  }

  render({ t, language, kinds, answer }, { title, chosen, given, added, explanation, alike, problem, again }) {
    const counts = [...new Set((answer?.item_list ?? []).flatMap(numbers))];
    return html`
      <section aria-labelledby="add-title">
        <h2 id="add-title">${t("add")}</h2>
        <p class="quiet">${t("addIntro")}</p>
        <form onSubmit=${this.add}>
          <p><label for="new-title">${t("newTitle")}</label>
            <input id="new-title" required maxlength="200" autocomplete="off" value=${title} onInput=${({ target }) => this.setState({ title: target.value })} /></p>
          <fieldset class="kinds"><legend>${t("kinds")}</legend>
            ${kinds.map((kind) => [JSON.stringify(kind), kind[1]]).map(([key, value]) => html`
              <label key=${key}><input type="checkbox" checked=${chosen.has(key)} onChange=${() => this.toggle(key)} /> ${value}</label>`)}
          </fieldset>
          ${counts.map((name) => html`
            <p key=${name}><label>${name} <input type="number" step="any" value=${given[name]}
              onInput=${({ target }) => this.setState({ given: { ...given, [name]: target.value ? Number(target.value) : null } })} /></label></p>`)}
          <p><button disabled=${!answer?.item_list.length}>${t("addIt")}</button></p>
        </form>
        ${problem && html`<${Notice} t=${t} problem=${problem} again=${again} />`}
        ${added && html`
          <article class="verdict" aria-live="polite">
            <h3>${named(added).title} <span class="quiet">${named(added).year}</span></h3>
            ${explanation ? html`<p>${explanation.sentence[language]}</p>` : html`<p>${t("loading")}</p>`}
            ${alike && html`<h4>${t("alike")}</h4>
              <ul>${alike.map((each) => html`<li key=${each.itemid}>${named(each).title} <span class="quiet">${named(each).year}</span></li>`)}</ul>`}
            ${explanation && Object.keys(explanation.channels).length > 0 && html`<${Explanation} t=${t} explanation=${explanation} />`}
            <p><button class="plain" onClick=${this.remove}>${t("takeAway")}</button></p>
          </article>`}
      </section>`;
  }
}
