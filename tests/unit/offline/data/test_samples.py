from __future__ import annotations

from offline.data.samples import rated_pairs_spec


def test_the_sources_spec_has_59_columns_with_18_genres() -> None:
    spec = rated_pairs_spec(
        users=[1],
        items=[1],
        profile={"gender": ["F"], "age": [1], "occupation": ["0"]},
        genres=[f"g{i}" for i in range(18)],
        window=10,
    )
    assert spec.width == len(spec.columns) == len(set(spec.columns)) == 59
    assert (len(spec.one_hot), len(spec.multi_hot), len(spec.dense)) == (5, 18, 36)
    assert len(spec.stored("user")) + len(spec.stored("item")) == 57
