"""A Model Context Protocol server: the recommender's calls as tools of an assistant, over standard input and output.

The tools ask the running server through the typed client, `extras/client.py`, read only, and write nothing.

Run     make mcp, or in an assistant's configuration: .venv/bin/python -m extras.mcp [--url http://127.0.0.1:5000]
Expect  four tools: recommend, rank, similar, popular
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from data_exchange_center import VERSION, steps
from data_exchange_center.dataset import OwnId
from data_exchange_center.settings import Settings
from extras.client import Client, Similar
from online.main.client import Recommended, ServerError
from online.recommend.types import MAX_SIZE

INSTRUCTIONS = (
    "Recommendations for the users of one catalogue. Ids are the data set's own: numbers are numbers. For somebody "
    "without an id give a history. An answer's reason says why it is not personal."
)

Answer = TypeVar("Answer", Recommended, Similar)
User = Annotated[OwnId | None, Field(description="the user's id; left out for somebody who is not stored")]
History = Annotated[
    list[dict[str, Any]] | None,
    Field(description='instead of a user\'s id, what somebody said of items: [{"itemid": 1, "value": 5}]'),
]
Size = Annotated[int, Field(ge=1, le=MAX_SIZE, description="how many items")]
Where = Annotated[
    dict[str, Any] | None,
    Field(description='attributes that items must have: {"genres": ["Comedy"], "year": {"gte": 1990}}'),
]


def server(client: Client) -> MCPServer:
    """The tools."""
    mcp = MCPServer("recsys_pipeline", instructions=INSTRUCTIONS, version=VERSION)
    tool = mcp.tool(annotations=ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False))

    @tool
    def recommend(userid: User = None, history: History = None, size: Size = 10, where: Where = None) -> dict[str, Any]:
        """Items that a user has not had and would like best, with titles, attributes and scores, best first."""
        return said(lambda: client.recommend(userid, history=history, size=size, where=where))

    @tool
    def rank(
        candidates: Annotated[list[OwnId], Field(min_length=1, max_length=1_000, description="ids of items")],
        userid: User = None,
        history: History = None,
    ) -> dict[str, Any]:
        """Given items in the order in which a user would like them."""
        return said(lambda: client.rank(candidates, userid, history=history))

    @tool
    def similar(
        itemids: Annotated[list[OwnId], Field(min_length=1, max_length=20, description="ids of items")], size: Size = 10
    ) -> dict[str, Any]:
        """Items that are most like one, or like several, and why."""
        return said(lambda: client.similar(*itemids, size=size))

    @tool
    def popular(size: Size = 10) -> dict[str, Any]:
        """Items that most people like."""
        return said(lambda: client.recommend(history=[], size=size))

    return mcp


def said(call: Callable[[], Answer]) -> dict[str, Any]:
    """Call the server, and keep what a language model needs. Raises ToolError with the server's own sentence."""
    try:
        answer = call()
    except ServerError as error:
        raise ToolError(str(error)) from error
    found = answer.model_dump(mode="json")
    return {name: found[name] for name in ("release", "reason", "unknown", "matching", "item_list") if name in found}


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(prog="python -m extras.mcp", description=__doc__.splitlines()[0])
    parser.add_argument("--url", default=settings.server.url, help="of the recommender's server; default: %(default)s")
    key = settings.server.key.get_secret_value() if settings.server.key else None
    with Client(parser.parse_args().url, key) as client:
        server(client).run("stdio")


if __name__ == "__main__":
    steps.run(main)
