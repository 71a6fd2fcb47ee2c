// What is wrong, and what to do.
import { html } from "./html.js";

const CODES_WITH_WORDS = ["no_server", "no_release", "release_opening", "service_unavailable", "overloaded", "unauthorized", "too_many_requests", "bad_request"];

export const Notice = ({ t, problem, again }) => html`
  <div class="notice bad" role="alert">
    <strong>${t("problem")}</strong>
    <p>${t(CODES_WITH_WORDS.includes(problem.code) ? problem.code : "other", problem)}</p>
    ${again && html`<button onClick=${again}>${t("tryAgain")}</button>`}
  </div>`;

// What an answer lacks.
export const Degraded = ({ t, answer }) => {
  if (answer.cold_start) return html`<p class="notice" role="status">${t("coldStart")}</p>`;
  if (!answer.degraded) return null;
  return html`
    <div class="notice warn" role="status">
      <strong>${t("degraded")}</strong>
      <ul>${answer.degraded.map((each) => html`<li>${each.service} ${each.reason}${t("colon")}${t(`instead_${each.instead}`)}</li>`)}</ul>
    </div>`;
};
