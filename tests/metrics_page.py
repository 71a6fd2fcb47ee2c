"""Single numbers of a page in Prometheus's text format."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families


def value(page: str, name: str, **labels: str) -> float:
    samples = (
        each
        for family in text_string_to_metric_families(page)
        for each in family.samples
    )
    return next(
        (
            each.value
            for each in samples
            if (each.name, each.labels) == (f"recsys_{name}", labels)
        ),
        0.0,
    )


def requests_of(
    page: str, status: int, outcome: str, endpoint: str = "/ml/rec"
) -> float:
    return value(
        page, "requests_total", endpoint=endpoint, status=str(status), outcome=outcome
    )
