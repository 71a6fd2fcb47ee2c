"""Step 5 by several workers: the first runs the step, the others help it fit the training channels.

Reads, writes: as offline/rank/s1_feature_engi.py; checkpoints in offline/checkpoints-s1_feature_engi while it runs
Run:    cd past_one_machine/workers && RECSYS_TRAINING__WORKERS=2 python s1_feature_engi.py; on several machines
        torchrun ... s1_feature_engi.py
"""

from __future__ import annotations

from data_exchange_center import provenance
from data_exchange_center.settings import Settings
from offline.data.lists import ranker_of_lists
from past_one_machine.workers.group import Workers, fit_together, read_own_inputs, run


def train_with_the_first(settings: Settings, workers: Workers) -> None:
    """Train the channels that the first worker fits together with the others; the part of every other worker."""
    if settings.recipe.ranker.examples == "lists":
        provenance.made_from(settings.exchange_dir, settings.recipe, provenance.FEATURES)  # refuses as the first does
        inputs = read_own_inputs(settings, workers)
        fit_together(inputs.data.earlier(ranker_of_lists(settings.recipe).past), inputs, settings.recipe)


if __name__ == "__main__":
    run("offline/rank/s1_feature_engi.py", train_with_the_first, about=__doc__)
