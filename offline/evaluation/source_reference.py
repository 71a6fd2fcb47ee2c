"""The source's recipe on the same data, for comparison: its steps are run once, and what they made is kept."""

from __future__ import annotations

import argparse
import logging

from data_exchange_center import artifacts
from data_exchange_center.artifact_kinds import ArtifactError
from data_exchange_center.recipes import SOURCE
from data_exchange_center.release_parts import release_of_artifacts
from data_exchange_center.settings import Settings
from offline.step_runner import run_steps

log = logging.getLogger(__name__)

FOLDER = "source_recipe"  # in the exchange folder's offline/


def source_artifacts(settings: Settings) -> Settings:
    """Settings of an exchange folder where the steps have run with the source's recipe.

    They are run, for some minutes, when they have not been, or on other data or with another recipe of that name;
    after a change of their code remove the folder.
    """
    source = settings.model_copy(update={"recipe_name": SOURCE.name, "data": None})
    kept = source.model_copy(update={"exchange_dir": settings.offline_dir / FOLDER})
    if _current(kept, settings):
        log.info("the source's artifacts are those in %s", kept.exchange_dir)
        return kept
    for step in run_steps(source, kept.exchange_dir):
        log.info("%s: %.1f s", step["step"], step["seconds"])
    return kept


def _current(kept: Settings, settings: Settings) -> bool:
    """Whether one run of the source's recipe, on the data of ``settings``, made what is kept."""
    try:
        release_of_artifacts(kept)
    except ArtifactError:
        return False
    one, other = (artifacts.DATASET.read(each.exchange_dir) for each in (kept, settings))
    return bool(one["sha256"] == other["sha256"])


def asked_for(description: str | None) -> bool:
    """Whether the command line of an evaluation asks for the source's recipe beside the one that is measured."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with-source", action="store_true", help="measure the source's recipe too")
    given: bool = parser.parse_args().with_source
    return given
