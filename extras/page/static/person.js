// The user: chosen by id, one with few ratings, or a new one; and what they have rated.
import { api } from "./api.js";
import { Component, html } from "./html.js";
import { Notice } from "./notice.js";
import { named, painted } from "./titles.js";

const FEW = 15; // users with the fewest ratings, of whom another than the current one is chosen
const PAUSE_MS = 200; // without typing, then the search begins
const MAX_ID = 2 ** 31 - 1;

const anybody = (from) => from[Math.floor(Math.random() * from.length)];

// An unused id, of the same kind as the others.
export function unknownUser(like) {
  const number = MAX_ID - Math.floor(Math.random() * 1e8);
  return typeof like === "number" ? number : `new-${number}`;
}

// What a user has rated, newest first.
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

const Lately = ({ t, history }) => html`
  <section class="lately" aria-label=${t("historyTitle")}>
    <h3>${t("historyTitle")}</h3>
    ${history.events
      ? html`<p class="quiet">${t("newest", { shown: history.item_list.length, n: history.events })}</p>
          <ol tabindex="0" aria-label=${t("historyTitle")}>${history.item_list.map((item) => html`<${Event} key=${item.itemid} item=${item} />`)}</ol>`
      : html`<p class="quiet">${t("historyNone")}</p>`}
  </section>`;

export class Person extends Component {
  state = { text: "", found: null, problem: null, again: null };

  type = (text) => {
    this.stop();
    this.setState({ text });
    if (text) this.pause = setTimeout(() => this.search(text), PAUSE_MS);
    else this.setState({ found: null, problem: null });
  };

  // Ignore results of pending searches.
  stop() {
    clearTimeout(this.pause);
    this.searching?.abort();
  }

  // Users whose ids begin with a text. Undefined: an error, or another search has begun.
  search = async (text) => {
    this.stop();
    this.searching = new AbortController();
    try {
      const { users } = await api.users({ q: text, size: 8 }, this.searching.signal);
      this.setState({ found: users, problem: null });
      return users;
    } catch (problem) {
      if (problem.name !== "AbortError") this.setState({ found: null, problem, again: () => this.search(text) });
      return undefined;
    }
  };

  take = (userid) => {
    this.stop();
    this.setState({ text: "", found: null, problem: null });
    this.props.choose(userid);
  };

  few = async () => {
    try {
      const { users } = await api.users({ fewest: true, size: FEW });
      const others = users.filter((user) => user.userid !== this.props.userid);
      if (others.length) this.take(anybody(others).userid);
    } catch (problem) {
      this.setState({ problem, again: this.few });
    }
  };

  submit = async (event) => {
    event.preventDefault();
    const users = this.state.text ? await this.search(this.state.text) : undefined;
    if (users?.length) this.take(users[0].userid);
  };

  render({ t, userid, history }, { text, found, problem, again }) {
    return html`
      <aside aria-label=${t("person")}>
        <form role="search" onSubmit=${this.submit}>
          <label for="user">${t("searchUser")}</label>
          <input id="user" type="search" autocomplete="off" value=${text} onInput=${(event) => this.type(event.target.value)} />
        </form>
        ${problem && html`<${Notice} t=${t} problem=${problem} again=${again} />`}
        ${found && html`
          <ul class="found" aria-label=${t("users")}>
            ${found.map((user) => html`
              <li key=${user.userid}><button onClick=${() => this.take(user.userid)}>
                ${user.userid} <span class="quiet">${t("eventsOf", { n: user.events })}</span></button></li>`)}
            ${!found.length && html`<li class="quiet">${t("noUser")}</li>`}
          </ul>`}
        <p class="buttons">
          <button onClick=${this.few}>${t("few")}</button>
          <button onClick=${() => this.take(unknownUser(userid))}>${t("unknownUser")}</button>
        </p>
        ${userid !== null && html`<h2>${t("user", { user: userid })}</h2>`}
        ${history && html`<${Lately} t=${t} history=${history} />`}
      </aside>`;
  }
}
