// The numbers behind a reason: places on each list, what a channel's score is the sum of, what moved the ranking model.
import { html } from "./html.js";

const short = (number) => (number === null || number === undefined ? "–" : Number(number).toPrecision(3).replace(/\.?0+$/, ""));
const signed = (number) => `${number > 0 ? "+" : ""}${short(number)}`;

const Row = ({ name, place }) => html`
  <tr><th scope="row">${name}</th><td>${place.rank ?? "–"}</td><td>${place.of}</td><td>${short(place.score)}</td></tr>`;

const Amounts = ({ caption, amounts }) => {
  const most = Math.max(...amounts.map(([, amount]) => Math.abs(amount)), 1e-12);
  return html`
    <h4>${caption}</h4>
    <ul class="amounts">
      ${amounts.map(([name, amount]) => html`
        <li><span class="name">${name}</span><span class="number">${signed(amount)}</span>
          <span class=${amount < 0 ? "amount less" : "amount"} aria-hidden="true"><span style=${{ width: `${(100 * Math.abs(amount)) / most}%` }}></span></span></li>`)}
    </ul>`;
};

const shares = (t, parts) => [
  ["base", parts.base], ["popularity", parts.popularity], ...Object.entries(parts.profile),
  ...parts.history.map((event) => [event.title, event.share]), [t("otherEvents"), parts.others],
].filter(([, amount]) => amount !== 0);

export const Explanation = ({ t, explanation }) => html`
  <div class="explanation">
    <table>
      <thead><tr><th scope="col">${t("where")}</th><th scope="col">${t("rank")}</th><th scope="col">${t("outOf")}</th><th scope="col">${t("score")}</th></tr></thead>
      <tbody>
        ${Object.entries(explanation.channels).map(([name, place]) => html`<${Row} name=${name} place=${place} />`)}
        ${explanation.fused && html`<${Row} name=${t("fused")} place=${explanation.fused} />`}
        ${explanation.ranked && html`<${Row} name=${t("ranked")} place=${explanation.ranked} />`}
        ${explanation.diversified && html`<${Row} name=${t("diversified")} place=${explanation.diversified} />`}
      </tbody>
    </table>
    ${Object.entries(explanation.channels).filter(([, place]) => place.shares).map(([name, place]) => html`
      <${Amounts} caption=${t("sharesOf", { name })} amounts=${shares(t, place.shares)} />`)}
    ${explanation.effects && html`
      <${Amounts} caption=${t("effects")} amounts=${explanation.effects.map((each) => [each.column, each.effect])} />`}
  </div>`;
