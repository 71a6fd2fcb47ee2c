"""Run the offline steps as a user does: each in a process of its own, started in its own folder. ``make offline``.

Steps that read nothing of one another run at the same time, as many as the machine has cores: what each reads and
writes is declared in `provenance`. Of several that are ready, later steps start first, as these train. A step's output
appears when it ends; its progress and errors (stderr) appear at once, after its name.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from data_exchange_center import artifacts, plugins, provenance, steps
from data_exchange_center.settings import IN_MEMORY, Settings

ROOT = Path(__file__).resolve().parents[1]


def run_step(
    step: str, environment: dict[str, str], script: str | None = None
) -> dict[str, Any]:
    """Run one step, or ``script`` in its place. Returns its start (`time.monotonic`), times in seconds, memory in MB.

    Raises StepError when it fails.
    """
    path = ROOT / (script or step)
    begin, line = time.monotonic(), "none"
    with tempfile.TemporaryFile("w+") as printed:
        process = subprocess.Popen(
            [sys.executable, path.name],
            cwd=path.parent,
            env=environment,
            text=True,
            stdout=printed,
            stderr=subprocess.PIPE,
        )
        assert process.stderr is not None  # noqa: S101
        for line in process.stderr:
            sys.stderr.write(f"{path.stem} | {line}")
            sys.stderr.flush()
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        printed.seek(0)
        sys.stdout.write(f"\n=== {step}\n{printed.read()}--- {step}: {seconds:.0f} s\n")
        sys.stdout.flush()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise steps.StepError(
            f"{step} failed with exit code {process.returncode}; last line above: {line.strip()}"
        )
    return {
        "step": step,
        "began": begin,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
        "peak_rss_mb": round(usage.ru_maxrss / 1024),
    }


def run_steps(settings: Settings, exchange_dir: Path) -> Iterator[dict[str, Any]]:
    """Run all steps into ``exchange_dir`` with the settings' recipe and data. Yields `run_step`'s results as they end.

    The data is what RECSYS_DATA names, else the data set in the settings' own exchange folder.

    Raises StepError when a step fails, once those that run at the same time have ended.
    """
    data = settings.data
    if (
        data is None
        and exchange_dir != settings.exchange_dir
        and artifacts.DATASET.at(settings.exchange_dir).is_file()
    ):
        data = settings.offline_dir / "raw"
    environment = os.environ | {"RECSYS_EXCHANGE_DIR": str(exchange_dir.absolute())}
    environment |= {"RECSYS_RECIPE": settings.recipe_name} | (
        {"RECSYS_DATA": str(data.absolute())} if data else {}
    )
    # step -> the engine's script that runs in its place
    twins: Mapping[str, str] = (
        {} if settings.engine == IN_MEMORY else plugins.engine(settings.engine).TWINS
    )
    # each step waits for the steps whose files it reads
    order = TopologicalSorter(
        {
            step.path: {file.made_by for file in step.inputs(settings.recipe)}
            for step in provenance.STEPS
        }
    )
    order.prepare()
    places = [step.path for step in provenance.STEPS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running: set[Future[dict[str, Any]]] = set()
        try:
            while order.is_active():
                ready = sorted(order.get_ready(), key=places.index, reverse=True)
                running |= {
                    pool.submit(run_step, step, environment, twins.get(step))
                    for step in ready
                }
                ended, running = wait(running, return_when=FIRST_COMPLETED)
                for each in ended:
                    measured = each.result()
                    order.done(measured["step"])
                    yield measured
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def main(settings: Settings) -> None:
    for _ in run_steps(settings, settings.exchange_dir):
        pass


if __name__ == "__main__":
    steps.run(main, about=__doc__)
