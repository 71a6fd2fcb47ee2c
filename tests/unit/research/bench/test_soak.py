from __future__ import annotations

from research.bench.processes import Use
from research.bench.soak import Sample, grown, growth


def samples(*rss_mb: float) -> list[Sample]:
    """One process that does not grow, and one of which each sample is given; a sample every ten seconds."""
    steady = Use(1.0, 100.0, 8, 20)
    return [Sample(10.0 * n, {"redis 1": steady, "server 2": Use(1.0, mb, 30 + n, 40)}) for n, mb in enumerate(rss_mb)]


def test_what_grows_while_it_warms_up_does_not_count() -> None:
    processes = growth(samples(50, 80, 120, 120, 121, 120, 122), warm_up_s=20)
    assert grown(processes) == []
    server = processes[1]
    assert (server["process"], server["rss_mb"], server["rss_mb_at_end"]) == ("server 2", 120, 122)
    assert (server["threads"], server["threads_at_most"], server["open_files_at_most"]) == (32, 36, 40)


def test_what_goes_on_growing_is_named() -> None:
    processes = growth(samples(100, 100, 102, 104, 106, 108, 110), warm_up_s=0)
    assert grown(processes) == ["server 2 has grown from 100.0 MB to 110.0 MB"]
