"""Replace this process by the program that a file describes, so that supervisord's configuration can be a static file.

Nothing that a command line or a variable may hold (blanks, quotation marks, per cent signs) has to be escaped for it.
Run     python launch.py supervisor/redis.json
"""

import json
import os
import sys
from collections.abc import Mapping


def environment(
    inherited: Mapping[str, str], described: dict[str, str]
) -> dict[str, str]:
    """A program's variables: of the inherited ones no settings, as those of the shell that started it may be others."""
    return {
        name: value
        for name, value in inherited.items()
        if not name.startswith("RECSYS_")
    } | described


if __name__ == "__main__":
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123 (each import delays a start)
        program = json.load(file)
    os.chdir(program["directory"])
    if "socket" in program and os.path.exists(program["socket"]):  # noqa: PTH110 (left by a killed process, in the way)
        os.unlink(program["socket"])  # noqa: PTH108
    os.execvpe(  # noqa: S606
        program["command"][0],
        program["command"],
        environment(os.environ, program["environment"]),
    )
