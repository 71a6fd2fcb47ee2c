"""Every command of the READMEs that is not marked otherwise is run, literally, on the demo's stack."""

import subprocess
from dataclasses import replace

import pytest

from data_exchange_center.settings import Settings
from tests import readmes
from tests.e2e.pipeline import Pipeline


def run(pipeline: Pipeline, command: str) -> subprocess.CompletedProcess[str]:
    """In the repository's root, in the activated environment, against the demo's ports."""
    # the ports that the READMEs name, whatever the environment says
    default = Settings.model_construct()
    for service in ("server", "feast"):
        theirs, ours = (
            getattr(default, service).port,
            getattr(pipeline.settings, service).port,
        )
        command = command.replace(f"127.0.0.1:{theirs}/", f"127.0.0.1:{ours}/")
        command = command.replace(f"localhost:{theirs}/", f"localhost:{ours}/")
    activated = replace(pipeline, env=pipeline.activated())
    return activated.run(
        "bash",
        "-euo",
        "pipefail",
        "-c",
        command.replace("curl ", "curl -sS --fail "),
        seconds=300,
    )


@pytest.mark.parametrize(
    "command",
    readmes.to_run(),
    ids=lambda command: f"{command.readme}: {command.text}"[:90],
)
def test_a_command_of_the_readmes_works(
    pipeline: Pipeline, command: readmes.Command
) -> None:
    done = run(pipeline, command.text)
    assert done.returncode == 0, done.stdout
    assert done.stdout.strip()
    assert "Traceback" not in done.stdout


def test_the_demo_runs_the_steps_that_the_readmes_show(pipeline: Pipeline) -> None:
    shown = [
        c
        for readme in readmes.readmes()
        for c in readmes.commands(readme)
        if c.run_by == "pipeline"
    ]
    steps = [step for command in shown for step in command.steps]
    assert "make demo" in {command.text for command in shown}
    assert len(steps) >= 12
    assert [step for step in steps if f"=== {step}" not in pipeline.output] == []
