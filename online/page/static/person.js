// Who asks: chosen by id, by how little is known of them, or nobody that is known; and what they have rated.
import { api } from "./api.js";
import { Component, html } from "./html.js";
import { Lately } from "./history.js";

const FEW = 15; // users with the fewest ratings, of which one is taken
const MAX_ID = 2 ** 31 - 1;

const anybody = (from) => from[Math.floor(Math.random() * from.length)];

// An id that nobody has, of the kind that the others have.
function stranger(like) {
  const number = MAX_ID - Math.floor(Math.random() * 1e8);
  return typeof like === "number" ? number : `guest-${number}`;
}

export class Person extends Component {
  state = { text: "", found: null };

  search = async (text) => {
    this.searching?.abort();
    this.searching = new AbortController();
    this.setState({ text });
    if (!text) {
      this.setState({ found: null });
      return;
    }
    try {
      const { users } = await api.users({ q: text, size: 8 }, this.searching.signal);
      this.setState({ found: users });
    } catch (problem) {
      if (problem.name !== "AbortError") this.setState({ found: [] });
    }
  };

  take = (userid) => {
    this.setState({ text: "", found: null });
    this.props.choose(userid);
  };

  few = async () => {
    const { users } = await api.users({ fewest: true, size: FEW });
    if (users.length) this.take(anybody(users).userid);
  };

  submit = (event) => {
    event.preventDefault();
    if (this.state.found?.length) this.take(this.state.found[0].userid);
  };

  render({ t, userid, history }, { text, found }) {
    return html`
      <aside aria-label=${t("person")}>
        <form role="search" onSubmit=${this.submit}>
          <label for="user">${t("searchUser")}</label>
          <input id="user" type="search" autocomplete="off" value=${text} onInput=${(event) => this.search(event.target.value)} />
        </form>
        ${found && html`
          <ul class="found" aria-label=${t("users")}>
            ${found.map((user) => html`
              <li key=${user.userid}><button onClick=${() => this.take(user.userid)}>
                ${user.userid} <span class="quiet">${t("eventsOf", { n: user.events })}</span></button></li>`)}
            ${!found.length && html`<li class="quiet">${t("noUser")}</li>`}
          </ul>`}
        <p class="buttons">
          <button onClick=${this.few}>${t("few")}</button>
          <button onClick=${() => this.take(stranger(userid))}>${t("stranger")}</button>
        </p>
        ${userid !== null && html`<h2>${t("user", { user: userid })}</h2>`}
        ${history && html`<${Lately} t=${t} history=${history} />`}
      </aside>`;
  }
}
