// Request trace: one request as a waterfall, with the time, input and output of each service, and re-ranking.
import { html } from "./html.js";
import { Degraded } from "./notice.js";

// {tower: 66} -> "tower: 66 numbers"
const each = (t, word, counts) => Object.entries(counts).map(([name, n]) => t(word, { name, n })).join(t("comma"));

const DESCRIBE = {
  redis: (t, { received }) => ({
    sent: t("redis_sent"), received: received.users ? t("redis_received", received) : t("redis_unknown"),
  }),
  elasticsearch: (t, { sent, received }) => ({
    sent: sent.vectors && t("elasticsearch_sent", { ...sent, vectors: each(t, "dims", sent.vectors) }),
    received: received.found && t("elasticsearch_received", { ...received, found: each(t, "of", received.found) }),
  }),
  feast: (t, { sent, received }) => ({
    sent: sent.users && t("feast_sent"), received: "features" in received && t("feast_received", received),
  }),
  triton: (t, { sent, received }) => ({
    sent: sent.columns && t("triton_sent", {
      ...sent, once: sent.history ? t("triton_once", { n: sent.history }) : "",
      columns: Object.entries(sent.columns).map(([kind, n]) => t("of", { name: t(`column_${kind}`), n })).join(t("comma")),
    }),
    received: received.scores && t("triton_received", received),
  }),
  diversity: (t, { sent, received }) => ({
    sent: t("diversity_sent", sent), received: "shown" in received && t("diversity_received", received),
  }),
};

const Stage = ({ t, stage, total }) => {
  const described = DESCRIBE[stage.stage]?.(t, stage) ?? {}; // of a stage without a description: name and time
  const percent = (ms) => `${Math.min(100, (100 * ms) / total)}%`;
  return html`
    <li class=${stage.failed ? "stop failed" : "stop"}>
      <h3>${t(stage.stage)} <span class="ms">${t("ms", { n: stage.took_ms })}</span></h3>
      <span class="track" aria-hidden="true"><span style=${{ left: percent(stage.began_ms), width: percent(stage.took_ms) }}></span></span>
      <dl>
        ${described.sent && html`<dt>→ ${t("sent")}</dt><dd>${described.sent}</dd>`}
        ${stage.failed ? html`<dt>←</dt><dd class="bad">${t("failed")}</dd>` : described.received && html`<dt>← ${t("received")}</dt><dd>${described.received}</dd>`}
      </dl>
    </li>`;
};

export const Trace = ({ t, answer, busy }) => {
  if (!answer) return html`<section><h2>${t("trace")}</h2><p>${busy ? t("loading") : ""}</p></section>`;
  const { total } = answer.took_ms;
  return html`
    <section aria-labelledby="trace-title">
      <h2 id="trace-title">${t("trace")}</h2>
      <p>${t("traceIntro")}</p>
      <${Degraded} t=${t} answer=${answer} />
      <ol class="trace">${(answer.stages ?? []).map((stage) => html`<${Stage} key=${stage.stage} t=${t} stage=${stage} total=${total} />`)}</ol>
      <p><strong>${t("total")} ${t("ms", { n: total })}</strong> · ${t("answered", { n: answer.item_list.length, release: answer.release, ms: total })}</p>
    </section>`;
};
