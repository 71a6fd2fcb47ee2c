"""Step 6 by several workers: the first runs the step, the others train a ranker of lists with it.

Reads, writes: as offline/rank/s2_model_train.py; checkpoints in offline/checkpoints-s2_model_train while it runs
Run:    cd past_one_machine/workers && RECSYS_TRAINING__WORKERS=2 python s2_model_train.py; on several machines
        torchrun ... s2_model_train.py
"""

from __future__ import annotations

from data_exchange_center import provenance
from data_exchange_center.settings import Settings
from offline.models.kinds import fit_ranker
from offline.rank import s2_model_train
from past_one_machine.workers.group import Workers, run


def train_with_the_first(settings: Settings, workers: Workers) -> None:
    """The part of a worker that is not the first."""
    if settings.recipe.ranker.examples == "lists":
        provenance.made_from(settings.exchange_dir, settings.recipe, provenance.RANKER)  # refuses as the first does
        fit_ranker(settings.recipe.ranker, s2_model_train.recalled_lists(settings, share=workers.reads_lists))


if __name__ == "__main__":
    run("offline/rank/s2_model_train.py", train_with_the_first)
