// The page: what it knows, and which view is shown. Views are in files of their own.
import { NEEDS_KEY, api, currentKey, setKey } from "./api.js";
import { Add } from "./add.js";
import { Compare } from "./compare.js";
import { Done } from "./acts.js";
import { Component, html, render } from "./html.js";
import { List } from "./list.js";
import { ItemMap } from "./map.js";
import { Notice } from "./notice.js";
import { Person } from "./person.js";
import { Trace } from "./trace.js";
import { Status } from "./status.js";
import { keep, kept } from "./stored.js";
import { terms } from "./titles.js";
import { moment } from "./choices.js";
import { WhyNot } from "./why_not.js";
import { preferred, speaker } from "./words.js";

const SIZE = 50;
const VIEWS = { list: List, whyNot: WhyNot, compare: Compare, trace: Trace, map: ItemMap, add: Add, status: Status };

const viewOf = (hash) => (Object.hasOwn(VIEWS, hash.slice(1)) ? hash.slice(1) : "list");

const liveOf = ({ releases }) => releases.find((each) => each.live);

// The data set's own name for what an event does: rates, hides, retracts. Undefined: it has none.
const typeOf = (state, effect) => Object.entries(liveOf(state)?.event_types ?? {}).find(([, does]) => does === effect)?.[0];

// The user before the page was reloaded, a new one too; undefined if ids are of another kind now.
const previousUser = (like) => [kept("userid")].find((userid) => typeof userid === typeof like);

// Terms of items that were shown, each once, by name: what a list can be limited to.
const kindsOf = (terms) =>
  [...new Map(terms.map((term) => [JSON.stringify(term), term])).values()].sort(([, one], [, other]) => (one < other ? -1 : 1));

const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");

class App extends Component {
  state = {
    language: preferred(), view: viewOf(location.hash), releases: [], userid: null, history: null,
    when: "now", diversity: undefined, where: {}, query: "", kinds: [], answer: null, before: null, explained: new Map(), unexplained: null, done: [], latest: null,
    problem: null, again: null, busy: true, keyed: currentKey() !== "",
  };

  requested = null; // the fields with which the list's reasons are requested
  unsent = new Map(); // itemid -> the event that failed last

  componentDidMount() {
    addEventListener("hashchange", () => this.setState({ view: viewOf(location.hash) }));
    addEventListener(NEEDS_KEY, () => this.setState({ keyed: true }));
    this.begin();
  }

  begin = async () => {
    this.setState({ problem: null, busy: true });
    try {
      const [{ releases }, { users }] = await Promise.all([api.releases(), api.users({ size: 1 })]);
      this.setState({ releases });
      if (users.length) await this.choose(previousUser(users[0].userid) ?? users[0].userid);
      else this.setState({ busy: false });
    } catch (problem) {
      this.setState({ problem, again: this.begin, busy: false });
    }
  };

  // Switch to another user: nothing of the previous one is shown any longer.
  choose = async (userid) => {
    this.unsent.clear();
    keep("userid", userid);
    this.setState({
      userid, history: null, answer: null, before: null, explained: new Map(), unexplained: null, done: [], latest: null, when: "now",
    });
    await this.ask(userid, "now");
  };

  // Load history and list as they are now. Pending requests for another user are aborted.
  ask = async (userid = this.state.userid, when = this.state.when, diversity = this.state.diversity, where = this.state.where, query = this.state.query) => {
    this.asking?.abort();
    const asking = (this.asking = new AbortController());
    this.setState({ busy: true, problem: null, when, diversity, where, query });
    try {
      const history = await api.history({ userid, size: 100 }, asking.signal);
      const filter = Object.keys(where).length ? where : undefined;
      const body = { userid, size: SIZE, timestamp: moment(when, history.last), diversity, where: filter, query: query || undefined };
      const answer = await api.recommend({ ...body, stages: true }, asking.signal);
      const before = this.state.answer?.userid === userid ? this.state.answer : null;
      const kinds = kindsOf([...this.state.kinds, ...answer.item_list.flatMap(terms)]);
      this.setState({ history, answer, before, kinds, explained: new Map(), busy: false });
      this.requested = { ...body, release: answer.release };
    } catch (problem) {
      if (problem.name !== "AbortError") this.setState({ problem, again: () => this.ask(), busy: false });
      return;
    }
    await this.explain();
  };

  // Reasons cost more than the list, so it does not wait for them.
  explain = async () => {
    this.setState({ unexplained: null });
    try {
      const { explained } = await api.recommend({ ...this.requested, explain: true, budget_ms: 5000 }, this.asking.signal);
      this.setState({ explained: new Map((explained ?? []).map((each) => [each.itemid, each])) });
    } catch (problem) {
      if (problem.name !== "AbortError") this.setState({ unexplained: problem });
    }
  };

  // What the user does with an item: it is sent as an event, and the list is requested again.
  act = async (item, effect, value) => {
    const { userid } = this.state.answer;
    const event = this.event(item, effect, value);
    try {
      await api.event(event);
    } catch (problem) {
      if (userid === this.state.userid) this.setState({ problem, again: () => this.act(item, effect, value) });
      return;
    }
    if (userid !== this.state.userid) return; // the user has changed meanwhile
    this.unsent.delete(item.itemid);
    this.setState(({ done }) => {
      const others = done.filter((each) => each.item.itemid !== item.itemid);
      return { latest: { item, effect, value }, done: effect === "retracts" ? others : [{ item, effect, value }, ...others] };
    });
    await this.ask(userid, "now");
  };

  // The event of an act. One that failed may have arrived: repeated under its eventid, it counts once.
  event(item, effect, value) {
    const { userid, recommendation } = this.state.answer;
    const type = typeOf(this.state, effect);
    const last = this.unsent.get(item.itemid);
    if (last?.type === type && last.value === value) return last;
    const event = { eventid: newId(), userid, itemid: item.itemid, type, value, recommendation };
    this.unsent.set(item.itemid, event);
    return event;
  }

  speak = () => {
    const language = this.state.language === "en" ? "zh" : "en";
    keep("language", language);
    this.setState({ language });
  };

  render() {
    const { language, view, problem, again, busy, keyed } = this.state;
    const t = speaker(language);
    document.documentElement.lang = language;
    const View = VIEWS[view];
    const shared = {
      ...this.state, t, live: liveOf(this.state), ask: this.ask, choose: this.choose, begin: this.begin, act: this.act, explain: this.explain,
    };
    return html`
      <a class="skip" href="#main" onClick=${skip}>${t("skip")}</a>
      <header class="top">
        <h1>recsys_pipeline</h1>
        <p class="quiet">${t("tagline")}</p>
        ${keyed && html`
          <label class="key" title=${t("keyWhy")}>${t("key")}
            <input type="password" autocomplete="off" value=${currentKey()} onInput=${(event) => setKey(event.target.value)} />
          </label>`}
        <button class="plain" lang=${language === "en" ? "zh" : "en"} onClick=${this.speak}>${t("language")}</button>
      </header>
      <div class="layout">
        <${Person} ...${shared} />
        <div class="stage">
          <nav aria-label=${t("navigation")}>
            ${Object.keys(VIEWS).map((name) => html`
              <a href=${`#${name}`} aria-current=${name === view ? "page" : undefined}>${t(name)}</a>`)}
          </nav>
          <main id="main" tabindex="-1" aria-busy=${busy}>
            <${Done} ...${shared} />
            ${problem && html`<${Notice} t=${t} problem=${problem} again=${again} />`}
            <${View} ...${shared} />
          </main>
        </div>
      </div>`;
  }
}

function skip(event) {
  event.preventDefault(); // the hash names the view
  document.getElementById("main").focus();
}

const place = document.getElementById("app");
place.replaceChildren();
render(html`<${App} />`, place);
