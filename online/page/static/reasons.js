// Why an item is in the list, in a sentence.

const NO_CHANNEL = "fused";

export function reason(t, item, answer) {
  const found = Object.entries(answer.recall ?? {})
    .filter(([channel]) => channel !== NO_CHANNEL)
    .map(([channel, itemids]) => ({ channel, n: itemids.indexOf(item.itemid) + 1 }))
    .filter(({ n }) => n);
  if (!found.length) return t("popularReason");
  return t("reasonChannels", { channels: found.map((each) => t("channelPlace", each)).join(", ") });
}
