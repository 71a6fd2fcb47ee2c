"""Pin the images of .env by digest: TAG becomes TAG@sha256:..., as the images' registries say today.

The engine asks, with the credentials of `docker login`; nothing is pulled. A digest that is there already is renewed.
The digest is the index's where there is one, so it holds for every architecture.
Reads   .env; the registries
Writes  .env
Run     make docker-pin, or python -m online.stack.images.pin
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from docker import DockerClient
from docker.errors import DockerException

from online.stack.images.engine import docker
from online.stack.service import ROOT, StackError, run

ENV: Final = ROOT / ".env"
TAG: Final = re.compile(r"^(?P<name>[A-Z]+)_TAG=(?P<tag>[^@\s]+)(?P<digest>@sha256:[0-9a-f]{64})?$", re.MULTILINE)

Ask = Callable[[str], str]


class NotToldError(Exception):
    """A registry did not tell a digest. The message says why."""


def registries() -> Ask:
    """What asks a registry for the digest of `image:tag`. Raises StackError where there is no engine."""
    host = docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}").strip()
    try:
        client = DockerClient(base_url=host, version="auto")
    except DockerException as error:
        raise StackError(f"Docker's engine does not answer at {host}: {error}") from error

    def ask(reference: str) -> str:
        try:
            digest: str = client.images.get_registry_data(reference).id
        except DockerException as error:
            raise NotToldError(getattr(error, "explanation", None) or error) from error
        return digest

    return ask


def references(env: str) -> dict[str, str]:
    """NAME of NAME_IMAGE and NAME_TAG -> `image:tag`. Raises StackError for a tag without its image."""
    images = dict(re.findall(r"^([A-Z]+)_IMAGE=(\S+)$", env, re.MULTILINE))
    found = {match["name"]: match["tag"] for match in TAG.finditer(env)}
    for name in found.keys() - images.keys():
        raise StackError(f".env has {name}_TAG and no {name}_IMAGE: which image is it of?")
    return {name: f"{images[name]}:{tag}" for name, tag in found.items()}


def pinned(env: str, digests: dict[str, str]) -> str:
    """The text of .env with the digests, by NAME; the other lines stay as they are."""

    def line(match: re.Match[str]) -> str:
        digest = digests.get(match["name"])
        return f"{match['name']}_TAG={match['tag']}@{digest}" if digest else match[0]

    return TAG.sub(line, env)


def main(path: Path, ask: Ask) -> list[str]:
    """Pin what can be pinned; the references whose registry did not tell. Raises StackError."""
    env = path.read_text(encoding="utf-8")
    digests: dict[str, str] = {}
    untold: list[str] = []
    for name, reference in references(env).items():
        try:
            digests[name] = ask(reference)
            print(f"{reference}: {digests[name]}")  # noqa: T201
        except NotToldError as error:
            untold.append(reference)
            print(f"{reference}: not pinned, the registry did not tell: {error}", file=sys.stderr)  # noqa: T201
    path.write_text(pinned(env, digests), encoding="utf-8")
    return untold


if __name__ == "__main__":
    run(lambda: sys.exit(1 if main(ENV, registries()) else 0), interrupted="interrupted")
