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
from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_jsonable_python

from data_exchange_center import VERSION, steps
from data_exchange_center.dataset import OwnId
from data_exchange_center.settings import Settings
from extras.client import Client, Recommended, ServerError, Similar
from online.recommend.types import MAX_SIZE

INSTRUCTIONS = (
    "Recommendations for the users of one catalogue. Ids are the data set's own: numbers are numbers. For a user "
    "without an id give a history. An answer's reason says why it is not personal."
)

Result = TypeVar("Result", bound=Recommended | Similar)
Values = Annotated[list[str | float], Field(min_length=1)]


class Event(BaseModel):
    """What a user did with an item."""

    model_config = ConfigDict(strict=True, extra="forbid")

    itemid: OwnId
    value: float | None = Field(
        default=None, description="the rating, if the event is one"
    )
    type: str | None = Field(
        default=None, description="of the event; left out: the type that rates"
    )


class Condition(BaseModel):
    """What an attribute has to be: all that is given here."""

    model_config = ConfigDict(strict=True, extra="forbid")

    any: Values | None = Field(default=None, description="at least one of these values")
    all: Values | None = Field(default=None, description="each of these values")
    none: Values | None = Field(default=None, description="none of these values")
    gte: float | None = Field(default=None, description="a number from this on")
    lte: float | None = Field(default=None, description="a number up to this")


User = Annotated[
    OwnId | None,
    Field(description="the user's id; left out for a user who is not stored"),
]
History = Annotated[
    list[Event] | None,
    Field(
        description='instead of a user\'s id, ratings and other events: [{"itemid": 1, "value": 5}]'
    ),
]
Size = Annotated[int, Field(ge=1, le=MAX_SIZE, description="how many items")]
Where = Annotated[
    dict[str, Values | Condition] | None,
    Field(
        description='attributes that items must have: {"genres": ["Comedy"], "year": {"gte": 1990}}'
    ),
]
Words = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=200,
        description="words of their titles or attributes: animated films for children",
    ),
]


class StrictTool(Tool):
    """A tool that takes no other arguments than its own, of no other types, and names the wrong one in a sentence."""

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Tool:
        hints = ToolAnnotations(
            read_only_hint=True, idempotent_hint=True, open_world_hint=False
        )
        tool = cls.from_function(function, annotations=hints)
        loose = tool.fn_metadata.arg_model
        config = {
            "model_config": ConfigDict(strict=True, extra="forbid"),
            "__module__": __name__,
        }
        tool.fn_metadata.arg_model = type(loose.__name__, (loose,), config)
        tool.parameters = tool.fn_metadata.arg_model.model_json_schema(by_alias=True)
        return tool

    async def run(self, arguments: dict[str, Any], *more: Any, **named: Any) -> Any:
        try:
            self.fn_metadata.validate_arguments(arguments)
        except ValidationError as error:
            first = error.errors(
                include_url=False, include_context=False, include_input=False
            )[0]
            name, known = (
                ".".join(map(str, first["loc"])),
                ", ".join(self.fn_metadata.arg_model.model_fields),
            )
            known = f"; the arguments are: {known}" if len(first["loc"]) == 1 else ""
            raise ToolError(f"{name}: {first['msg']}{known}.") from error
        return await super().run(arguments, *more, **named)


def server(client: Client) -> MCPServer:
    """The tools."""

    def recommend(
        userid: User = None,
        history: History = None,
        size: Size = 10,
        where: Where = None,
        query: Words = None,
    ) -> dict[str, Any]:
        """Items that a user has not had and would like best, with titles, attributes and scores, best first."""
        wanted = {
            "history": plain(history),
            "size": size,
            "where": plain(where),
            "query": query,
        }
        return result(lambda: client.recommend(userid, **wanted))

    def rank(
        candidates: Annotated[
            list[OwnId],
            Field(min_length=1, max_length=1_000, description="ids of items"),
        ],
        userid: User = None,
        history: History = None,
    ) -> dict[str, Any]:
        """Given items in the order in which a user would like them."""
        return result(lambda: client.rank(candidates, userid, history=plain(history)))

    def similar(
        itemids: Annotated[
            list[OwnId], Field(min_length=1, max_length=20, description="ids of items")
        ],
        size: Size = 10,
    ) -> dict[str, Any]:
        """Items that are most like one, or like several, and why."""
        return result(lambda: client.similar(*itemids, size=size))

    def popular(size: Size = 10) -> dict[str, Any]:
        """Items that most people like."""
        found = result(lambda: client.recommend(history=[], size=size))
        return found | {"reason": "The most popular items."}

    tools: list[Tool] = [
        StrictTool.of(each) for each in (recommend, rank, similar, popular)
    ]
    return MCPServer(
        "recsys_pipeline", instructions=INSTRUCTIONS, version=VERSION, tools=tools
    )


def plain(given: Any) -> Any:
    """Arguments as JSON, without fields that were not given; None where there are none."""
    return None if given is None else to_jsonable_python(given, exclude_none=True)


def result(call: Callable[[], Result]) -> dict[str, Any]:
    """Call the server, and keep what a language model needs. Raises ToolError with the server's own sentence."""
    try:
        answer = call()
    except ServerError as error:
        raise ToolError(str(error)) from error
    found = answer.model_dump(mode="json")
    return {
        name: found[name]
        for name in ("release", "reason", "unknown", "matching", "item_list")
        if name in found
    }


def main(settings: Settings) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m extras.mcp", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--url",
        default=settings.server.url,
        help="of the recommender's server; default: %(default)s",
    )
    with Client.of(settings.server, parser.parse_args().url) as client:
        server(client).run("stdio")


if __name__ == "__main__":
    steps.run(main)
