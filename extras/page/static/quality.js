// What `make quality` found last: hit rates of served lists, and features that have drifted.
import { api } from "./api.js";
import { Component, html } from "./html.js";

const DAYS = 14; // newest rows of the hit rates
const FEATURES = 10; // furthest from the training data

const Rates = ({ t, rates }) => html`
  <table class="numbers">
    <caption>${t("hitRates")}</caption>
    <thead><tr><th scope="col">${t("day")}</th><th scope="col">${t("release")}</th><th scope="col">${t("lists")}</th><th scope="col">${t("hitRate")}</th></tr></thead>
    <tbody>${rates.map((each) => html`
      <tr key=${each.day + each.release}><td>${each.day}</td><td>${each.release}</td><td>${each.lists}</td><td>${percent(each.hits / each.lists)}</td></tr>`)}</tbody>
  </table>`;

const percent = (share) => `${(share * 100).toFixed(1)} %`;

const DriftTable = ({ t, drift, threshold }) => html`
  <table class="numbers">
    <caption>${t("driftTitle", { threshold })}</caption>
    <thead><tr><th scope="col">${t("feature")}</th><th scope="col">PSI</th></tr></thead>
    <tbody>${drift.map((each) => html`
      <tr key=${each.feature}><td>${each.feature}</td><td>${each.psi.toFixed(3)} ${each.psi > threshold && html`<strong class="bad">${t("drifted")}</strong>`}</td></tr>`)}</tbody>
  </table>`;

export class Quality extends Component {
  state = { report: null };

  componentDidMount() {
    api.quality().then((report) => this.setState({ report }), () => {}); // a server without quality shows none
  }

  render({ t }, { report }) {
    if (!report) return null;
    return html`
      <h2>${t("quality")}</h2>
      ${!report.made && html`<p class="quiet">${t("noQuality")}<code>make quality</code></p>`}
      ${report.hit_rates.length > 0 && html`<${Rates} t=${t} rates=${report.hit_rates.slice(-DAYS).reverse()} />`}
      ${report.drift.length > 0 && html`<${DriftTable} t=${t} drift=${report.drift.slice(0, FEATURES)} threshold=${report.threshold} />`}`;
  }
}
