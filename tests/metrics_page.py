"""Single numbers of a page in Prometheus's text format."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(page: str) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def value(page: str, name: str, **labels: str) -> float:
    return samples(page).get((f"recsys_{name}", frozenset(labels.items())), 0.0)


def requests_of(page: str, status: int, outcome: str, endpoint: str = "/ml/rec") -> float:
    return value(page, "requests_total", endpoint=endpoint, status=str(status), outcome=outcome)
