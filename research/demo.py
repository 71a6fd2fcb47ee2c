"""Time `make demo` on a fresh clone, with everything to install and again, and keep one of its answers.

What is measured is the committed state of this checkout: it is cloned into a folder that is removed afterwards. The
default ports must be free, or others named by the settings.

Reads   RECSYS_DATA, like the demo itself
Writes  pic/figures/demo.json, of other data than MovieLens-1M with its name
Run     make bench-demo; make bench-demo RECSYS_DATA=ta-feng
"""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from data_exchange_center import artifacts
from data_exchange_center.http import local_session
from data_exchange_center.settings import Settings
from data_exchange_center.steps import run
from offline.movielens import ML_1M
from research import figures
from research.figures import FIGURES, ROOT

log = logging.getLogger(__name__)

OUTPUT = FIGURES / "demo.json"
# what the Makefile prints after each part
TIMED = re.compile(r"^--- (?P<what>.+): (?P<seconds>\d+) s$", re.MULTILINE)
REQUEST = re.compile(r"^Ask it yourself:  curl -d '(.+)' http", re.MULTILINE)
PARTS = ("offline", "sync", "server")


def demo(checkout: Path) -> tuple[dict[str, int], str]:
    """Run `make demo`. Returns seconds of each part, each step and all, and the output. Exits with that if it fails."""
    started = time.perf_counter()
    env = {
        **os.environ,
        "PIP_NO_CACHE_DIR": "1",
        "UV_NO_CACHE": "1",
    }  # as on a machine that has nothing yet
    env.pop("RECSYS_SERVICES_DIR", None)
    command = ["make", "demo"]
    done = subprocess.run(
        command,
        cwd=checkout,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        sys.exit(f"make demo failed:\n{done.stdout[-3000:]}")
    took = {
        found["what"]: int(found["seconds"]) for found in TIMED.finditer(done.stdout)
    }
    return took | {"all": round(time.perf_counter() - started)}, done.stdout


def parts(took: dict[str, int]) -> dict[str, int]:
    """The parts of a run in order; what is not in one of them is installation."""
    setup = took["all"] - sum(took[part] for part in PARTS)
    return {"setup": setup, **{part: took[part] for part in PARTS}, "all": took["all"]}


def answer_lines(answer: dict[str, Any]) -> list[str]:
    """An answer with two items, as JSON in four lines.

    MovieLens's content is left out: the data set may not be redistributed.
    """
    hidden = {"title": "…", "genres": ["…"], "year": "…"}
    first, second = (
        json.dumps(item | hidden, ensure_ascii=False)
        for item in answer["item_list"][:2]
    )
    took = json.dumps(answer["took_ms"])
    others = {
        name: value
        for name, value in answer.items()
        if name not in ("item_list", "took_ms")
    }
    opening = json.dumps(others, ensure_ascii=False).removesuffix("}")
    return [
        f"{opening},",
        f' "item_list": [{first},',
        f"  {second}, …],",
        f' "took_ms": {took}}}',
    ]


def measure(checkout: Path, url: str) -> dict[str, Any]:
    """Both runs, the sync steps, and, of MovieLens-1M, the answer to the request that the demo's output ends with."""
    log.info("make demo on a fresh clone")
    first, _ = demo(checkout)
    log.info("%s; make demo again", first)
    again, printed = demo(checkout)
    log.info("%s", again)
    with local_session() as session:
        (body,) = map(json.loads, REQUEST.findall(printed))
        answer = session.post(f"{url}/ml/rec", json=body, timeout=30)
    answer.raise_for_status()
    dataset = artifacts.DATASET.read(checkout / "data_exchange_center")["name"]
    return {
        "command": "make bench-demo"
        + (f" RECSYS_DATA={dataset}" if dataset != ML_1M else ""),
        "dataset": dataset,
        "first": parts(first),
        "again": parts(again),
        "sync_steps": {
            f"`{step}`": s
            for step, s in first.items()
            if step.startswith("offline_to_online/")
        },
        **({"answer": answer_lines(answer.json())} if dataset == ML_1M else {}),
    }


def main(settings: Settings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "recsys_pipeline"
        subprocess.run(
            ["git", "clone", "--quiet", str(ROOT), str(checkout)], check=True
        )
        try:
            found = measure(checkout, settings.server.url)
        finally:
            subprocess.run(["make", "down"], cwd=checkout, check=False)
    path = (
        OUTPUT
        if found["dataset"] == ML_1M
        else OUTPUT.with_stem(f"demo_{found['dataset']}")
    )
    figures.write(path, found)
    figures.show({name: found[name] for name in ("first", "again")})


if __name__ == "__main__":
    run(main)
