from __future__ import annotations

import numpy as np
import pandas as pd

from offline.training.rows import codes_of


def test_an_id_outside_the_vocabulary_is_unknown() -> None:
    codes = codes_of(pd.Series([9, 1, 4, 5]), np.array([1, 4, 9], dtype=np.int32))
    assert codes.tolist() == [3, 1, 2, 0]
