"""usage: recsys command [argument ...]

The commands that somebody types by hand, under one name and from any folder:

  status    list the services: version, ports, uptime, readiness
  up        start the four services, or those named, and wait until they answer
  down      stop the services and the server, or those named; the data stays
  serve     start the server, or replace its workers by new ones
  logs      print the end of the logs
  releases  list the releases: live, published, or just loaded
  publish   publish the loaded and checked release: requests may name it
  activate  have a published release, new or earlier, answer by default
  doctor    report what is done, stale or down, and the command to run next
  import    propose a dataset.toml for ratings or purchases in a folder

`recsys command --help` says which arguments a command takes. Each runs what a make target runs; make help has those
that train, test and measure, too.
"""

import runpy
import sys
from typing import Final

COMMANDS: Final = {
    "status": "stack status",
    "up": "stack up",
    "down": "stack down",
    "serve": "stack serve",
    "logs": "stack logs",
    "releases": "stack.releases list",
    "publish": "stack.releases publish",
    "activate": "stack.releases activate",
    "doctor": "extras.doctor",
    "import": "extras.own_data.proposal",
}


def main() -> None:
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in {"-h", "--help"}:
        print(__doc__)  # noqa: T201
        return
    if name not in COMMANDS:
        sys.exit(f"recsys has no command {name!r}; recsys --help lists them")
    module, *fixed = COMMANDS[name].split()
    sys.argv = [f"recsys {name}", *fixed, *arguments]
    runpy.run_module(module, run_name="__main__")
