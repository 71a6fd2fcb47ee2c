// Request trace: one request as a waterfall, with the time and output of each service, and re-ranking.
import { html } from "./html.js";
import { Degraded } from "./notice.js";

// What came back, by stage; of a stage without a description: name and time.
const DESCRIBE = {
  redis: (t, counts) => t(counts.users ? "redis_received" : "redis_unknown", counts),
  elasticsearch: (t, counts) => t("elasticsearch_received", {
    ...counts, found: Object.entries(counts.found).map(([name, n]) => t("of", { name, n })).join(t("comma")),
  }),
  triton: (t, counts) => t("triton_received", counts),
  diversity: (t, counts) => t("diversity_received", counts),
};

const Stage = ({ t, stage, total }) => {
  const received = Object.keys(stage.counts).length && DESCRIBE[stage.stage]?.(t, stage.counts);
  const percent = (ms) => `${Math.min(100, (100 * ms) / total)}%`;
  return html`
    <li class=${stage.failed ? "stop failed" : "stop"}>
      <h3>${t(stage.stage)} <span class="ms">${t("ms", { n: stage.took_ms })}</span></h3>
      <span class="track" aria-hidden="true"><span style=${{ left: percent(stage.began_ms), width: percent(stage.took_ms) }}></span></span>
      <dl>
        ${stage.failed ? html`<dt>←</dt><dd class="bad">${t("failed")}</dd>` : received ? html`<dt>← ${t("received")}</dt><dd>${received}</dd>` : ""}
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
