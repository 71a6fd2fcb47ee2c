"""Step 4 by several workers: the first runs the step, the others train with it the channels that are trained together.

Reads, writes: as offline/recall/s2_vector_recall.py; checkpoints in offline/checkpoints-s2_vector_recall while it runs
Run:    cd past_one_machine/workers && RECSYS_TRAINING__WORKERS=2 python s2_vector_recall.py; on several machines
        torchrun ... s2_vector_recall.py
"""

from __future__ import annotations

from data_exchange_center import provenance
from data_exchange_center.settings import Settings
from past_one_machine.workers.group import Workers, fit_together, read_own_inputs, run


def train_with_the_first(settings: Settings, workers: Workers) -> None:
    """Train the shared channels together with the first worker; the part of every other worker."""
    provenance.made_from(settings.exchange_dir, settings.recipe, provenance.VECTOR_RECALL)  # refuses as the first does
    inputs = read_own_inputs(settings, workers)
    fit_together(inputs.data, inputs, settings.recipe)


if __name__ == "__main__":
    run("offline/recall/s2_vector_recall.py", train_with_the_first, about=__doc__)
