"""Own data go live in the demo's stack: a shop's views, by ids that are strings; a supermarket's log, bought again."""

from __future__ import annotations

from pathlib import Path

from data_exchange_center import artifacts
from data_exchange_center.release_parts import read_own_ids
from tests.e2e.pipeline import Pipeline
from tests.made_up_data import shop, supermarket


def test_fifty_unseen_items_by_the_shops_own_ids(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    with pipeline.with_release(RECSYS_DATA=str(shop(tmp_path / "shop"))) as sold:
        folder = sold.settings.exchange_dir
        ids, seen = (
            read_own_ids(folder),
            artifacts.USER_SEEN.read(folder).set_index("userid")["seen"],
        )
        few = seen[seen.map(len) <= 25]
        for number in few.index[:20]:
            answer = sold.recommend(ids.users[number], explain="recall").json()
            assert answer["userid"] == ids.users[number]
            itemids = [item["itemid"] for item in answer["item_list"]]
            assert len(set(itemids)) == 50
            assert (
                set(itemids)
                <= set(answer["recall"]["fused"])
                <= set(ids.items.values())
            )
            assert not set(itemids) & {ids.items[item] for item in seen[number]}
            assert all(
                list(item) == ["itemid", "score", "title"]
                for item in answer["item_list"]
            )


def test_a_declaration_is_proposed_from_the_files(
    pipeline: Pipeline, tmp_path: Path
) -> None:
    folder = shop(tmp_path / "shop")
    (folder / "dataset.toml").unlink()
    done = pipeline.run("make", "new-data", f"folder={folder}")
    assert done.returncode == 0, done.stdout
    assert (folder / "dataset.toml").is_file()


def test_habits_are_recommended_again(pipeline: Pipeline, tmp_path: Path) -> None:
    with pipeline.with_release(
        RECSYS_DATA=str(supermarket(tmp_path / "market"))
    ) as market:
        folder = market.settings.exchange_dir
        ids, states = read_own_ids(folder), artifacts.USER_STATE.read(folder)
        for number, items in zip(
            states["userid"][10:20], states["items"][10:20], strict=True
        ):
            answer = market.recommend(ids.users[number], explain="recall").json()
            had = {ids.items[item] for item in items.tolist()}
            assert set(answer["recall"]["own"]) == had
            shown = [item["itemid"] for item in answer["item_list"]]
            assert len(had & set(shown[:10])) >= 5
            assert "subclass" in answer["item_list"][0]
