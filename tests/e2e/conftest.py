"""`make demo` with MovieLens-100K, once for all end-to-end tests: each leaves artifacts and live release as found."""

from collections.abc import Iterator

import pytest

from tests.e2e.pipeline import Pipeline, demo, ml_100k


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("demo")
    with demo(
        folder / "exchange", 11_000, RECSYS_DATA=str(ml_100k(folder / "data"))
    ) as pipeline:
        yield pipeline
