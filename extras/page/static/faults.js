// Fault switches, where the server allows them, and the user's list before and during a fault side by side.
import { api } from "./api.js";
import { Column } from "./compare.js";
import { Component, html } from "./html.js";
import { Degraded, Notice } from "./notice.js";

const SERVICES = ["redis", "elasticsearch", "feast", "triton"];
const KINDS = ["slow", "down", "reset", "garbage"];
const SECONDS = 30;
const EVERY_MS = 1000;
const CHANCE = 0.25; // that a random schedule begins a fault, each second without one

const drawn = (list) => list[Math.floor(Math.random() * list.length)];

const Switches = ({ t, service, fault, begin }) => html`
  <li>
    <h3>${service} ${fault && html`<span class="state">${t(`fault_${fault.kind}`)}${t("comma")}${t("secondsLeft", { n: Math.max(0, Math.ceil(fault.until - Date.now() / 1000)) })}</span>`}</h3>
    <p>${KINDS.map((kind) => html`
      <button class="plain" aria-label=${`${service} ${t(`fault_${kind}`)}`} onClick=${() => begin(service, kind)}>${t(`fault_${kind}`)}</button> `)}</p>
  </li>`;

export class Faults extends Component {
  state = { allowed: false, faults: [], random: false, before: null, during: null, problem: null };

  componentDidMount() {
    this.look();
  }

  componentDidUpdate({ userid }) {
    if (userid !== this.props.userid) this.setState({ before: null, during: null });
  }

  componentWillUnmount() {
    this.unmounted = true; // an answer may still come
    clearTimeout(this.timer);
  }

  list = () => api.recommend({ userid: this.props.userid, size: 50 });

  // While a fault is on, or a random schedule: which, and the list, once a second.
  look = async () => {
    clearTimeout(this.timer);
    try {
      const { allowed, faults } = await api.faults();
      this.setState({ allowed, faults });
      if (!faults.length && !this.state.random) return;
      if (!faults.length && Math.random() < CHANCE) await this.beginDrawn(() => this.state.random && !this.unmounted);
      if (this.state.before) this.setState({ during: await this.list() });
    } catch (problem) {
      this.setState({ problem });
      if (!this.state.faults.length) return void this.setState({ random: false }); // for example a server without faults
    }
    clearTimeout(this.timer);
    if (!this.unmounted) this.timer = setTimeout(this.look, EVERY_MS);
  };

  change = async (act) => {
    try {
      await act();
      this.setState({ problem: null });
      await this.look();
    } catch (problem) {
      this.setState({ problem });
    }
  };

  begin = async (fault, wanted = () => true) => {
    if (!this.state.faults.length) this.setState({ before: await this.list(), during: null });
    if (wanted()) await api.beginFault(fault);
  };

  beginOne = (service, kind) => this.change(() => this.begin({ service, kind, seconds: SECONDS }));

  beginDrawn = (wanted) =>
    this.begin({ service: drawn(SERVICES), kind: drawn(KINDS), share: 0.3 + 0.7 * Math.random(), seconds: drawn([5, 10, 20]) }, wanted);

  beginRandom = () =>
    this.change(async () => {
      await this.beginDrawn();
      this.setState({ random: true });
    });

  end = () =>
    this.change(() => {
      this.setState({ random: false });
      return api.endFaults();
    });

  render({ t }, { allowed, faults, random, before, during, problem }) {
    if (!allowed) return null;
    const both = before && during && during.item_list.filter((item) => before.item_list.some((each) => each.itemid === item.itemid)).length;
    return html`
      <h2>${t("faults")}</h2>
      <p class="quiet">${t("faultsIntro", { n: SECONDS })}</p>
      ${problem && html`<${Notice} t=${t} problem=${problem} />`}
      <ul class="tiles">${SERVICES.map((service) => html`
        <${Switches} key=${service} t=${t} service=${service} fault=${faults.find((each) => each.service === service)} begin=${this.beginOne} />`)}</ul>
      <p>
        <button aria-pressed=${random} onClick=${this.beginRandom}>${t("randomFaults")}</button>${" "}
        <button onClick=${this.end}>${t("endFaults")}</button>
      </p>
      ${before && during && html`
        <${Degraded} t=${t} answer=${during} />
        <p role="status"><strong>${t("inBoth", { n: both })}</strong></p>
        <div class="columns">
          <${Column} t=${t} side="before" answer=${before} other=${during} />
          <${Column} t=${t} side="during" answer=${during} other=${before} />
        </div>`}`;
  }
}
