"""Training by several workers, on CPUs or GPUs: twins of steps that train, started by `make offline` or by torchrun.

RECSYS_TRAINING__* chooses them.
"""

from typing import Final

TWINS: Final = {  # step -> the script that runs in its place
    "offline/recall/s2_vector_recall.py": "past_one_machine/workers/s2_vector_recall.py",
    "offline/rank/s1_feature_engi.py": "past_one_machine/workers/s1_feature_engi.py",
    "offline/rank/s2_model_train.py": "past_one_machine/workers/s2_model_train.py",
}
