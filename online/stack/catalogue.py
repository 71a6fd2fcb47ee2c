"""The services of the stack, in the order in which they are started."""

from __future__ import annotations

from typing import Final

from online.stack.elasticsearch.service import ELASTICSEARCH
from online.stack.feast.service import FEAST
from online.stack.redis.service import REDIS
from online.stack.server import SERVER
from online.stack.service import Service, StackError
from online.stack.triton.service import TRITON

SERVICES: Final = (REDIS, ELASTICSEARCH, FEAST, TRITON)
PROGRAMS: Final = (*SERVICES, SERVER)  # what runs under the supervisor; the server is started by `serve`


def by_name(name: str) -> Service:
    """Raises StackError for a name that no service has."""
    for service in PROGRAMS:
        if service.name == name:
            return service
    raise StackError(f"no service is called {name!r}; there are: {', '.join(s.name for s in PROGRAMS)}")
