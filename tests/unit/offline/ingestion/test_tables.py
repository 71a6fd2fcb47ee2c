"""Rows of files whose bytes are damaged."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_exchange_center.steps import StepError
from offline.ingestion.tables import ParquetRows


def test_a_damaged_page_of_a_parquet_file_is_one_sentence() -> None:
    file = BytesIO()
    numbers = pa.table({"at": np.random.default_rng(0).integers(0, 1 << 40, 10_000)})
    pq.write_table(numbers, file, compression="zstd", use_dictionary=False)
    content = bytearray(file.getvalue())
    content[1_000:30_000] = b"?" * 29_000
    rows = ParquetRows("made.parquet", lambda: BytesIO(bytes(content)))
    assert rows.header() == ["at"]
    with pytest.raises(StepError, match=r"made\.parquet cannot be read \(.*a Parquet file is expected"):
        list(rows.batches(["at"]))
