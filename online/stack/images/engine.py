"""Ask Docker. What is asked here changes nothing: containers are thrown away after one command."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from online.stack.service import ROOT, StackError

COMPOSE_FILES: Final = {
    "built": "docker-compose.yml:docker-compose.build.yml",
    "official": "docker-compose.yml",
}
_ADVICE: Final = ("Run 'docker", "See 'docker")
INVENTORY: Final = Path(__file__).with_name("inventory.py")


@dataclass(frozen=True)
class Image:
    """What a service of the compose file runs."""

    service: str
    name: str  # with tag, as Docker knows it
    built: bool  # here, by docker-compose*.yml


def compose_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """With COMPOSE_FILE as ``images`` says, like docker.sh. Raises StackError for another word."""
    way = environment.get("images") or "built"
    if way not in COMPOSE_FILES:
        raise StackError(f"images is {way!r}: it can be built or official.")
    return {**environment, "COMPOSE_FILE": COMPOSE_FILES[way]}


def docker(*words: str, given: str | None = None) -> str:
    """What a docker command printed. Raises StackError with the last line of what it complained."""
    try:
        done = subprocess.run(
            ["docker", *words],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=compose_environment(os.environ),
        )
    except FileNotFoundError as error:
        raise StackError("docker is not installed, or not on PATH.") from error
    if done.returncode:
        complaint = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith(_ADVICE)]
        raise StackError(f"docker {words[0]}: {(complaint or [f'exit code {done.returncode}'])[-1]}")
    return done.stdout


def images() -> tuple[Image, ...]:
    """Every image of the compose files, once. Raises StackError."""
    services = json.loads(docker("compose", "--profile", "steps", "config", "--format", "json"))["services"]
    names = {service["image"]: name for name, service in services.items() if name != "prepare"}  # it has the server's
    return tuple(Image(service, name, "build" in services[service]) for name, service in names.items())


def is_present(image: Image) -> bool:
    try:  # `image ls` finds no tag with a digest
        docker("image", "inspect", image.name)
    except StackError as error:
        if "no such image" in str(error).lower():
            return False
        raise
    return True


def images_here() -> tuple[Image, ...]:
    """Every image of the compose files. Raises StackError naming those that the engine lacks."""
    found = images()
    missing = [image.name for image in found if not is_present(image)]
    if missing:
        raise StackError(f"the engine lacks {', '.join(missing)}: make docker-up brings or builds them.")
    return found


def inventory(image: Image) -> dict[str, Any]:
    """What inventory.py says within the image. Raises StackError."""
    script = INVENTORY.read_text(encoding="utf-8")
    words = ("--rm", "--interactive", "--network", "none", "--entrypoint", "python", image.name, "-")
    held: dict[str, Any] = json.loads(docker("run", *words, given=script))
    return held
