from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from mcp import Client, StdioServerParameters

ROOT = Path(__file__).resolve().parents[4]
USER = 8


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("recommend", {"userid": True}, "userid"),
    ("recommend", {"userid": USER, "siez": 3}, "siez"),
    ("recommend", {"userid": USER, "size": True}, "size"),
    (
        "recommend",
        {"userid": USER, "where": {"genres": {"some": ["Comedy"]}}},
        "where.genres",
    ),
    ("recommend", {"history": [{"itemid": 4, "rating": 5}]}, "history.0.rating"),
    ("rank", {"userid": USER}, "candidates"),
    ("similar", {"itemids": []}, "itemids"),
]


def test_every_tool_answers(url: str) -> None:
    async def run_steps() -> None:
        command = StdioServerParameters(
            command=sys.executable,
            args=["-m", "extras.mcp", "--url", url],
            cwd=ROOT,
            env=dict(os.environ),
        )
        async with Client(command) as client:

            async def call(tool: str, **arguments: Any) -> dict[str, Any]:
                found = await client.call_tool(tool, arguments)
                assert not found.is_error, found
                return dict(found.structured_content or {})

            tools = (await client.list_tools()).tools
            names = [tool.name for tool in tools]
            assert names == ["recommend", "rank", "similar", "popular"]
            assert all(
                tool.description
                and tool.annotations
                and tool.annotations.read_only_hint
                for tool in tools
            )
            listed = (await call("recommend", userid=USER, size=5))["item_list"]
            ids = [item["itemid"] for item in listed]
            assert len(ids) == 5
            assert all(item["title"] and item["genres"] is not None for item in listed)
            ranked = await call(
                "rank", userid=USER, candidates=[*ids[::-1], 99_999_999]
            )
            assert [item["itemid"] for item in ranked["item_list"]] == ids
            assert ranked["unknown"] == [99_999_999]
            comedies = await call(
                "recommend",
                history=[{"itemid": 4, "value": 5}],
                where={"genres": ["Comedy"]},
            )
            assert all("Comedy" in item["genres"] for item in comedies["item_list"])
            assert (await call("similar", itemids=[4], size=3))["item_list"][0]["why"]
            popular = await call("popular", size=3)
            assert len(popular["item_list"]) == 3
            assert "popular" in popular["reason"]
            wrong = await client.call_tool(
                "recommend", {"userid": USER, "where": {"genre": ["Comedy"]}}
            )
            assert wrong.is_error
            assert "there are: genres" in str(wrong.content)
            for tool, arguments, named in WRONG:
                found = await client.call_tool(tool, arguments)
                assert found.is_error, arguments
                said = str(found.content)
                assert named in said, said
                assert "pydantic" not in said
            schema = tools[0].input_schema
            assert {"Event", "Condition"} <= schema["$defs"].keys()
            assert schema["additionalProperties"] is False
            found = await call("recommend", userid=USER, query="comedy", size=3)
            assert all("Comedy" in item["genres"] for item in found["item_list"])

    asyncio.run(run_steps())


def test_without_a_server_a_tool_says_so() -> None:
    from extras.client import Client as Recommender
    from extras.mcp.__main__ import server

    async def run_steps() -> None:
        with Recommender("http://127.0.0.1:9", retries=0) as recommender:
            async with Client(server(recommender)) as client:
                found = await client.call_tool("popular", {})
                assert found.is_error
                assert "No server answers at http://127.0.0.1:9" in str(found.content)

    asyncio.run(run_steps())
