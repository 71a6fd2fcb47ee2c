"""Twins of the offline steps that compute on Spark: other scripts that read and write the same files.

RECSYS_ENGINE=spark chooses them; `make spark` installs what they need. Nothing here imports Spark before a twin runs.
"""

from typing import Final

TWINS: Final = {  # step -> the script that is run in its place
    "offline/preprocess/s1_data_split.py": "past_one_machine/spark/s1_data_split.py",
    "offline/preprocess/s2_term_trans.py": "past_one_machine/spark/s2_term_trans.py",
    "offline/recall/s1_term_recall.py": "past_one_machine/spark/s1_term_recall.py",
}
