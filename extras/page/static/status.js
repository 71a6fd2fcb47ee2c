// The services, the releases, the canaries and the running experiments, and serving another release.
import { api } from "./api.js";
import { Faults } from "./faults.js";
import { Quality } from "./quality.js";
import { Component, html } from "./html.js";
import { Notice } from "./notice.js";

const Service = ({ t, name, state }) => html`
  <li class=${state.ready ? "service good" : "service bad"}>
    <h3>${name} <span class="state">${t(state.ready ? "ready" : "notReady")}</span></h3>
    <p class="quiet">${state.ready ? `${t("version")} ${state.version}${t("comma")}${t("ms", { n: state.took_ms })}` : state.message}</p>
    <p class="quiet">${t("breaker")}${t("colon")}${t(`breaker_${state.breaker}`)}</p>
  </li>`;

const Release = ({ t, release, activate }) => html`
  <li class="release">
    <h3>${release.release} ${release.live && html`<span class="state">${t("live")}</span>`}</h3>
    <p class="quiet">${t("recipe")} ${release.recipe} · ${release.dataset}</p>
    ${!release.live && html`<button onClick=${() => activate(release.release)}>${t("activate")}</button>`}
  </li>`;

const weights = ({ arms }) => Object.values(arms).reduce((sum, arm) => sum + arm.weight, 0);

// `mine`: the arm of the current user, if any.
const Experiment = ({ t, experiment, user, mine }) => html`
  <li class="release">
    <h3>${experiment.name}</h3>
    <p class="quiet">${t("shareOfUsers", { share: percent(experiment.share) })}</p>
    <ul class="arms">${Object.entries(experiment.arms).map(([name, arm]) => html`
      <li key=${name}>${name}${t("colon")}${arm.release}${t("comma")}${percent(experiment.share * arm.weight / weights(experiment))}</li>`)}</ul>
    ${user != null && html`<p>${t("user", { user })}${t("colon")}${mine ?? t("noArm")}</p>`}
  </li>`;

const Canary = ({ t, canary }) => html`
  <li class="release">
    <h3>${canary.release} <span class="state">${t(`canary_${(canary.verdict ?? "runs").replace(" ", "_")}`)}</span></h3>
    <p class="quiet">${t("shareOfUsers", { share: percent(canary.shares[canary.step]) })}${t("comma")}${t("comparedWith", { release: canary.active })}</p>
    ${canary.reason && html`<p>${canary.reason}${canary.detail && `${t("colon")}${canary.detail}`}</p>`}
  </li>`;

const percent = (share) => `${Math.round(share * 1000) / 10} %`;

export class Status extends Component {
  state = { ready: null, releases: null, experiments: [], canaries: null, problem: null, said: "" };

  componentDidMount() {
    this.look();
  }

  look = async (said = "") => {
    const [ready, kept, tried, canaries] = await Promise.allSettled([api.ready(), api.releases(), api.experiments(), api.canary()]);
    this.setState({
      ready: ready.value ?? null, releases: kept.value?.releases ?? null, said,
      experiments: (tried.value?.experiments ?? []).filter((each) => each.stopped === null),
      canaries: canaries.value ?? null, // a server may do without them
      problem: ready.reason ?? kept.reason ?? tried.reason ?? null,
    });
  };

  activate = async (release) => {
    try {
      await api.activate(release);
      await this.look(this.props.t("activated", { release }));
      this.props.begin();
    } catch (problem) {
      this.setState({ problem, said: "" });
    }
  };

  render({ t, answer, userid }, { ready, releases, experiments, canaries, problem, said }) {
    const mine = ({ name }) => answer?.experiments?.[name];
    return html`
      <section aria-labelledby="status-title">
        <h2 id="status-title">${t("status")}</h2>
        <p role="status">${said || (ready && t(`state_${ready.status}`))}</p>
        ${problem && html`<${Notice} t=${t} problem=${problem} />`}
        <p><button onClick=${() => this.look()}>${t("refresh")}</button></p>
        ${ready && html`<h2>${t("services")}</h2>
          <ul class="tiles">${Object.entries(ready.services).map(([name, state]) => html`<${Service} key=${name} t=${t} name=${name} state=${state} />`)}</ul>`}
        ${releases && html`<h2>${t("releases")}</h2>
          <ul class="tiles">${releases.map((each) => html`<${Release} key=${each.release} t=${t} release=${each} activate=${this.activate} />`)}</ul>`}
        ${canaries && (canaries.running || canaries.ended.length > 0) && html`<h2>${t("canaries")}</h2>
          <ul class="tiles">
            ${canaries.running && html`<${Canary} t=${t} canary=${canaries.running} />`}
            ${canaries.ended.slice(0, 5).map((each) => html`<${Canary} key=${each.name} t=${t} canary=${each} />`)}
          </ul>`}
        ${experiments.length > 0 && html`<h2>${t("experiments")}</h2>
          <ul class="tiles">${experiments.map((each) => html`<${Experiment} key=${each.name} t=${t} experiment=${each} user=${userid} mine=${mine(each)} />`)}</ul>`}
        <${Quality} t=${t} />
        <${Faults} t=${t} userid=${userid} />
      </section>`;
  }
}
