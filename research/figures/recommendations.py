"""Tables of recommendation quality: systems, slices, protocols, diversity, experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any, Final

from research.evaluation.report import ENOUGH
from research.figures.tables import Figure, block, mean_of, measured, read, shown, span, table

NAMES = {
    "source: recall": "the source's recall",
    "source: ranked": "the source's recall and ranker",
    "default: channel tower": "two towers alone",
    "default: channel ease": "EASE as vectors alone",
    "default: recall": "fused recall",
    "default: ranked": "fused recall and ranker",
    "channel tower": "two towers alone",
    "channel ease": "EASE as vectors alone",
    "recall": "fused recall",
    "ranked": "fused recall and ranker",
}
METRICS = {"recall@200": "recall@200", "recall@50": "recall@50", "ndcg@50": "NDCG@50"}
RETURNING = "returning: recall@200"
HEADLINE = {
    "popularity": "the most liked films",
    "source: ranked": "FM and DeepFM, as in the source",
    "EASE": "EASE, untuned",
    "default: ranked": "recipe `default`",
}
FUSION = "the best fusion of them"
SLICED = ("popularity", "EASE", "source: ranked", "default: ranked")
SLICES = {
    "returning": "back after an hour or more",
    "same session": "in the same session",
    "few ratings": "fewer than 50 ratings",
    "many ratings": "200 ratings or more",
    "popular films": "popular films",
    "rare films": "rare films",
}


@block("evaluation", "evaluation.json")
@block("ml100k", "evaluation_offline_ml-100k.json")
def evaluation(figure: Figure) -> str:
    """Metrics of several recommenders on the last ten, with intervals, and for those who come back."""
    head = ("list", "recall@200", "recall@50", "NDCG@50", "returning after an hour: recall@200")
    rows = []
    for system, found in figure["systems"].items():
        returning = figure["slices"][system]["returning"]["recall@200"]
        values = (f"{found[metric]['mean']:.3f}" for metric in ("recall@50", "ndcg@50"))
        rows.append((name_of(system), span(found["recall@200"]), *values, span(returning)))
    return shown(figure, head, rows)


@block("headline", "evaluation.json")
def headline(figure: Figure) -> str:
    """Users who come back, then all at the request's time: the default in a sentence, five recommenders in a table."""
    now = figure["protocols"]["in session"]["as of now"]["all"]
    moment = figure["protocols"]["one moment"]["as of now"]["all"]
    head = ("list", "recall@200, back after a break", "recall@200, all users", "NDCG@50, all users")
    rows = []
    for system, name in HEADLINE.items():
        where = figure if system in figure["systems"] else read("evaluation_source.json")
        found, back = where["systems"][system], where["slices"][system]["returning"]["recall@200"]["mean"]
        rows.append(
            (name, *(f"{value:.3f}" for value in (back, *(found[at]["mean"] for at in ("recall@200", "ndcg@50")))))
        )
    rivals = read("rivals.json")["rows"][FUSION]
    values = (f"{rivals[metric]:.3f}" for metric in (RETURNING, "recall@200", "ndcg@50"))
    rows.insert(-1, ("the best fusion of tuned rivals", *values))
    ranked, in_session = now["ranked"], figure["systems"]["default: ranked"]
    first = (
        f"Of what users who come back after an hour or more like next, **{ranked['recall@50']:.0%}** is among the 50 "
        f"films of a plain request and **{ranked['recall@200']:.0%}** among 200; of all users, with the request's "
        f"time (`timestamp`), **{in_session['recall@50']['mean']:.0%}** and **{in_session['recall@200']['mean']:.0%}**."
    )
    note = (
        f"At the request's time; back after a break: {now['users']:,} users, all: {figure['users']:,}. "
        f"Split at one moment for all ({moment['users']:,} users): recall@200 {moment['ranked']['recall@200']:.3f}, "
        f"NDCG@50 {moment['ranked']['ndcg@50']:.3f}."
    )
    return f"{first}\n\n{shown(figure, head, rows, note)}"


@block("funnel", "evaluation.json")
def funnel(figure: Figure) -> str:
    """Share of what was liked that each stage still holds."""
    cuts = ("200", "50", "10")
    found = figure["funnel"]
    rows: list[Sequence[object]] = []
    for channel in found[cuts[0]]["channels"]:
        for key, label in (("found", "found by {}"), ("by no other", "... and by no other")):
            rows.append((label.format(channel), *(f"{found[cut]['channels'][channel][key]:.3f}" for cut in cuts)))
    for key, label in (("found by any", "found by any channel"), ("fused", "fused"), ("ranked", "ranked")):
        rows.append((label, *(f"{found[cut][key]:.3f}" for cut in cuts)))
    head = ("stage", *(f"among the first {cut}" for cut in cuts))
    size, kept = found["candidates"]["size"], found["candidates"]["found"]
    among = f"Among all candidates of the ranker ({size}): {kept:.3f}."
    gains = (f"{METRICS[metric]} {paired(figure['ranking'][metric])}" for metric in METRICS)
    ranker = f"Ranked against fused, paired over users: {', '.join(gains)}."
    return shown(figure, head, rows, f"{among} {ranker}")


@block("slices", "evaluation.json")
def slices(figure: Figure) -> str:
    """recall@200 by kind of user and of film, with intervals."""
    systems = [system for system in SLICED if system in figure["slices"]]
    head = ("slice", "users", *(name_of(system) for system in systems))
    rows = []
    for name, label in SLICES.items():
        found = [figure["slices"][system][name]["recall@200"] for system in systems]
        rows.append((label, f"{found[0]['users']:,}", *map(span, found)))
    return shown(figure, head, rows, "recall@200.")


@block("recipes", "evaluation.json")
def recipes(figure: Figure) -> str:
    """Both recipes through the running server: what they find."""
    figures = {"source": read("evaluation_source.json"), "default": figure}
    ranked = [found["systems"][f"{name}: ranked"] for name, found in figures.items()]
    returning = [found["slices"][f"{name}: ranked"]["returning"] for name, found in figures.items()]
    gauc = [found["labelled"]["liked against rated"]["gauc"] for found in figures.values()]
    rows: list[tuple[str, list[Any]]] = [
        *((label, [found[metric] for found in ranked]) for metric, label in METRICS.items()),
        ("hit rate@50", [found["hit_rate@50"] for found in ranked]),
        (RETURNING, [found["recall@200"] for found in returning]),
        *(
            (name, [found[name] for found in ranked])
            for name in ("coverage@50", "gini@50", "novelty@50", "diversity@50")
        ),
        ("GAUC, liked against rated", gauc),
    ]
    return shown(
        figure, ("", *figures), [(name, *(f"{mean_of(value):.3f}" for value in values)) for name, values in rows]
    )


@block("exact", "evaluation.json")
def exact(figure: Figure) -> str:
    """Loss of approximate search."""
    head = ("list", "items shared", "users with the same list", *METRICS.values())
    rows = [
        (
            name_of(stage),
            f"{found['shared']:.2%}",
            f"{found['users with the same list']:,} / {found['users']:,}",
            *(f"{found[metric]:+.5f}" for metric in METRICS),
        )
        for stage, found in figure["live against exact"].items()
    ]
    return shown(figure, head, rows)


@block("labelled", "evaluation.json")
def labelled(figure: Figure) -> str:
    """AUC and GAUC of both recipes' rankers over their candidates, and of recall's order of the same."""
    figures = {"source": read("evaluation_source.json"), "default": figure}
    head = ("", *("rows", "AUC", "GAUC", "GAUC of recall's order"))
    rows = []
    for recipe, found in figures.items():
        for name, part in found["labelled"].items():
            values = (f"{part[key]:.3f}" for key in ("auc", "gauc", "gauc of recalled order"))
            rows.append((f"{recipe}: {name}", f"{part['rows']:,}", *values))
    return shown(figure, head, rows)


def name_of(system: str) -> str:
    return NAMES.get(system, system)


def paired(found: Figure) -> str:
    """A paired difference, and how likely chance alone makes one as large."""
    chance = "p < .001" if found["p_value"] < 0.001 else f"p = {found['p_value']:.3f}"
    return f"{found['difference']:+.4f} ({chance})"


@block("protocols", "evaluation_offline.json")
def protocols(figure: Figure) -> str:
    """NDCG@50 of recall's order and the served one in each protocol, at the requests' own times and as of now."""
    head = ("protocol", "request", "slice", "users", "recall", "served", "difference, paired")
    rows = [
        (
            *(protocol, when, name, f"{row['users']:,}"),
            *(f"{row[order]['ndcg@50']:.3f}" for order in ("recall", "ranked")),
            paired(row["difference"]["ndcg@50"]),
        )
        for protocol, by_time in figure["protocols"].items()
        for when, groups in by_time.items()
        for name, row in groups.items()
        if row["users"] >= ENOUGH
    ]
    return shown(figure, head, rows, f"NDCG@50, of slices of {ENOUGH} users and more.")


@block("baskets", "baskets_ta-feng.json")
def next_baskets(figure: Figure) -> str:
    """The next basket, compared with TIFU-KNN."""
    names = list(figure["table"]["ranked"])
    rows = [
        (NAMES.get(name, name), *(f"{found[each]:.3f}" for each in names)) for name, found in figure["table"].items()
    ]
    published = figure["published"]
    values = (f"{published[each]:.3f}" if each in published else "-" for each in names)
    rows.append(("TIFU-KNN, published (its authors: users of three baskets, items had nine times)", *values))
    against = figure["ranked against"]["TIFU-KNN"]
    gains = " and ".join(f"{paired(against[each])} in {each}" for each in ("recall@10", "ndcg@10"))
    had = figure["share of the targets that were had before"]
    note = (
        f"{figure['users']:,} users; {had:.0%} of what they buy they have bought before. The ranked list is ahead of "
        f"TIFU-KNN by {gains}."
    )
    return shown(figure, ["list", *names], rows, note)


@block("live_events", "evaluation_live_events.json")
def live_events(figure: Figure) -> str:
    """The replay, variant by variant; unknown users by number of events."""
    metrics = ("hit@10", "hit@50", "ndcg@50")
    rows = [
        (name.replace("sent", "").strip(), *(span(found[metric]) for metric in metrics))
        for name, found in figure["replay"].items()
    ]
    replay = table(("the server gets an event", "HR@10", "HR@50", "NDCG@50"), rows)
    unknown_users = figure["unknown_users"]
    values = [span(found) for found in unknown_users.values()]
    by_number = table(("events of an unknown user", *unknown_users), [("recall@50", *values)])
    note = (
        f"{figure['users']:,} users, {figure['replay']['sent at once']['events']:,} liked events, one after the other; "
        "means over users. Unknown users: recall@50 of the liked held-out items, by how many of the events "
        f"before it the server had ({next(iter(unknown_users.values()))['users']:,} users)."
    )
    return f"{replay}\n\n{by_number}\n\n{note} {measured(figure)}"


@block("search", "search.json")
def search(figure: Figure) -> str:
    """Free-text search: films that should be found, by queries that share words with them and paraphrases."""
    rows = [
        (name, *(f"{value:.3f}" for of_kind in row.values() for value in of_kind.values()))
        for name, row in figure["systems"].items()
    ]
    kinds = next(iter(figure["systems"].values()))
    columns = [f"{kind}: {metric}" for kind, of_kind in kinds.items() for metric in of_kind]
    words = ", ".join(f"{row['NDCG@10']:.3f} with {weight}" for weight, row in figure["weights"].items())
    notes = [
        "Thirty of the sixty queries, as new users get their answers. The words' weight was chosen on the other "
        f"thirty, by NDCG@10: {words}."
    ]
    for name, of in figure["encoders"].items():
        tried = ", ".join(
            f"{' and '.join(format(by_kind['NDCG@10'], '.3f') for by_kind in row.values())} with {weight}"
            for weight, row in of["weights"].items()
        )
        change = " and ".join(
            f"by {each['difference']:+.3f} ({each['low']:+.3f} to {each['high']:+.3f}) of {kind}"
            for kind, each in of.get("change", {}).items()
        )
        notes.append(
            f"The weight of {name}, {of['chosen']}, is the best of those with which queries with words lose nothing "
            f"there ({tried})" + (f"; it changes NDCG@10 {change}." if change else ".")
        )
    return shown(figure, ("order", *columns), rows, " ".join(notes))


PUBLISHED = "papers_published.json"
PAPERS = {"hr@10": "HR@10", "ndcg@10": "NDCG@10", "hr@50": "HR@50", "hr@200": "HR@200"}


@block("papers", "papers.json")
def papers(figure: Figure) -> str:
    """The last rating of every user: means over seeds, published figures of others, and a split by gap."""
    rows, by_gap = [], []
    for name, runs in figure["last"].items():
        seconds = [mean(run[part] for run in runs.values()) for part in ("seconds", "seconds to answers")]
        for when in next(iter(runs.values()), {"ranked": {}})["ranked"]:
            found = [run["ranked"][when] for run in runs.values()]
            values = (_spread([each[metric] for each in found]) for metric in PAPERS)
            minutes = " / ".join(f"{each / 60:.1f} min" for each in seconds)
            rows.append((f"recipe `{name}`, {when}", *values, minutes))
            by_gap.append(_by_gap(f"recipe `{name}`, {when}", found))
    rows += [(f"{each['model']} ({each['by']})", *_published(each), "") for each in read(PUBLISHED)["last"]]
    chosen = "; ".join(
        f"`{name}`, {when}: {row['hr@10']:.4f} / {row['ndcg@10']:.4f}"
        for name, runs in figure["last but one"].items()
        for run in runs.values()
        for when, row in run["ranked"].items()
    )
    note = (
        f"{figure['users']:,} users; {_seeds(figure['last'])}: mean ± standard deviation. Processor time of "
        "training, and with the answers to all requests. On the last but one, on which settings were chosen, "
        f"HR@10 / NDCG@10: {chosen}."
    )
    first = table(["list", *PAPERS.values(), "processor time"], rows)
    return f"{first}\n\n{_gaps(by_gap)}\n\n{note} {measured(figure)}"


@block("papers_live", "papers_live.json")
def papers_live(figure: Figure) -> str:
    """The last rating of every user, by the running server: means over seeds."""
    rows, by_gap = [], []
    for name, runs in figure["live"].items():
        for when in next(iter(runs.values())):
            found = [run[when] for run in runs.values()]
            rows.append((f"recipe `{name}`, {when}", *(_spread([run[metric] for run in found]) for metric in PAPERS)))
            by_gap.append(_by_gap(rows[-1][0], found))
    first = table(["list", *PAPERS.values()], rows)
    note = f"{figure['users']:,} users; {_seeds(figure['live'])}: mean ± standard deviation."
    return f"{first}\n\n{_gaps(by_gap)}\n\n{note} {measured(figure)}"


def _seeds(recipes: Figure) -> str:
    return ", ".join(f"`{name}` by {len(runs)} seed{'s' * (len(runs) > 1)}" for name, runs in recipes.items())


def _gaps(rows: list[tuple[str, ...]]) -> str:
    return table(["by the gap before the target", "same second", "up to a minute", "later"], rows)


def _by_gap(name: str, runs: Sequence[Figure]) -> tuple[str, ...]:
    """HR@10 / NDCG@10 of each gap, means over seeds."""
    cells = [
        " / ".join(f"{mean(run['by gap'][gap][metric] for run in runs):.3f}" for metric in ("hr@10", "ndcg@10"))
        for gap in runs[0]["by gap"]
    ]
    return (name, *cells)


def _published(found: Figure) -> tuple[str, ...]:
    return tuple("-" if found.get(metric) is None else f"{found[metric]:g}" for metric in PAPERS)


def _spread(values: Sequence[float]) -> str:
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


@block("rivals", "rivals.json")
def rivals(figure: Figure) -> str:
    """Every tuned rival, their best fusion, and the recipe."""
    head = ("list", *METRICS.values(), RETURNING, "NDCG@50 to the recipe's, paired", "trained for")
    rows = [
        (name, *_metrics(row), paired(row["to the recipe"]), f"{row['seconds']:.0f} s")
        for name, row in figure["rows"].items()
    ]
    if ours := figure.get("recipe's"):
        rows.append((f"recipe `{figure['recipe']}`", *_metrics(ours), "", ""))
    settings = "; ".join(
        f"{name}: " + ", ".join(f"{key} {value}" for key, value in row["setting"].items())
        for name, row in figure["rows"].items()
    )
    tried = sum(map(len, figure["tried"].values()))
    note = (
        f"{figure['users']:,} users. Settings, of {tried} that were tried, were chosen by their NDCG@50 on the ten "
        f"before the last ten: {settings}. Trained for: processor time of the chosen setting."
    )
    return shown(figure, head, rows, note)


def _metrics(row: Figure) -> tuple[str, ...]:
    values = (row.get(metric) for metric in (*METRICS, RETURNING))
    return tuple("-" if value is None else f"{value:.3f}" for value in values)


@block("canary", "canary.json")
def canary(figure: Figure) -> str:
    """Bad releases as canaries: the reason of the rollback, and what it has cost until then."""
    head = ("release", "rolled back by", "step", "minutes", "users", "likes lost")
    rows = [
        (
            each["name"],
            f"`{each['reason']}`" if each["reason"] else "not rolled back",
            each["step"],
            f"{each['minutes']:.1f}",
            f"{each['users']:,}",
            f"{each['likes lost']:,.0f}",
        )
        for each in figure["bad"]
    ]
    equal = figure["equal"]
    note = (
        f"{figure['taken back']} of {len(figure['bad'])} are rolled back, {figure['right']} of them for a reason that "
        f"names what is wrong; of {equal['comparisons']} canaries of the active release with itself "
        f"{equal['rolled back']} are. Simulated over the lists of {figure['lists']} users: {figure['rate']:g} requests "
        f"a second, a first step of {figure['share']:.0%}, {figure['users']:,} users a step."
    )
    return shown(figure, head, rows, note)


@block("imported_models", "imported_models_ml-100k.json")
@block("imported_kinds", "imported_models.json")
def imported_models(figure: Figure) -> str:
    """Models of other libraries: how long they take to go live, their speed, and their recall in both places."""
    head = ("model", "kind", "import", "live after", "p50", "processor", *(f"recall@50, {each}" for each in RECALLS))
    own = figure["own"]
    rows = [(f"the recipe {figure['recipe']}", "", "", "", *speed_of(own), "", "")]
    rows += [
        (
            f"{name.split('_', 1)[1]} ({row['library']})",
            row["kind"],
            f"{row['import_s']:.1f} s",
            f"{row['live_s']:.0f} s",
            *speed_of(row),
            *(f"{row['recall@50'][each]:.3f}" for each in ("library", "stack")),
        )
        for name, row in figure["rows"].items()
    ]
    note = (
        "Live after: the import, the offline steps and the load of the stores, until every worker answers from it. "
        "p50 and processor time: of a plain request, one at a time, all services together. "
        "The models have their exporters' settings, which are not tuned."
    )
    if "one-of-each-kind" in figure["command"]:
        note += " Of sasrec one epoch is trained: this table shows time."
    return shown(figure, head, rows, note)


RECALLS: Final = ("the library's lists", "served lists")


def speed_of(row: Mapping[str, Any]) -> tuple[str, str]:
    """p50 and processor time of a request."""
    return f"{row['p50_ms']:.1f} ms", f"{row['processor_ms']:.1f} ms"


@block("tune", "tune.json")
def tune(figure: Figure) -> str:
    """Other values of the recipe's numbers, and what each strength of diversity costs."""
    rows = [(name, f"{row['ndcg@50']:.4f}", paired(row["change"])) for name, row in figure["rows"].items()]
    numbers = table(("number", "NDCG@50", "difference, paired"), rows)
    lines = [
        (
            f"**{strength}**" if float(strength) == figure.get("chosen") else strength,
            *(f"{row[name]:.4f}" for name in ("ndcg@50", "diversity", "novelty", "coverage@50")),
            paired(row["change"]),
        )
        for strength, row in figure["diversity"].items()
    ]
    strengths = table(("diversity", "NDCG@50", "diversity@50", "novelty", "coverage@50", "difference, paired"), lines)
    note = f"{figure['users']:,} users; NDCG@50 of the recipe as it is: {figure['as it is']:.4f}."
    if not rows:
        return f"{strengths}\n\n{note} Other values of the numbers are not measured yet. {measured(figure)}"
    return f"{numbers}\n\n{strengths}\n\n{note} {measured(figure)}"
