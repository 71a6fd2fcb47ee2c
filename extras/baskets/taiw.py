"""Ta Feng as the authors of TAIW (Romanov et al. 2023) filter it: RECSYS_DATA=ta-feng-taiw.

Users with at least `USER_DAYS` days of purchases and items bought at least `ITEM_ROWS` times, both counted in the whole
log; of these no user of a single day, and none whose purchases a day are two standard deviations above the mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data_exchange_center.files import written_in_place
from extras.baskets import ta_feng

NAME: Final = "ta-feng-taiw"
USER_DAYS: Final = 5
ITEM_ROWS: Final = 10
DAY_S: Final = 86_400


def filtered(log: pd.DataFrame) -> NDArray[np.bool_]:
    """(rows,) which purchases are kept. ``log``: columns user, item, day (number of the day)."""
    days = log.groupby("user")["day"].transform("nunique")
    rows = log.groupby("item")["day"].transform("size")
    kept = (days >= USER_DAYS) & (rows >= ITEM_ROWS)
    of_user = log[kept].groupby("user")["day"].agg(["min", "max", "size"])
    several = of_user["max"] > of_user["min"]
    by_day: pd.Series[float] = of_user["size"] / np.ceil(
        1e-10 + of_user["max"] - of_user["min"]
    )
    usual = by_day < by_day.mean() + 2 * by_day.std(ddof=0)
    found: NDArray[np.bool_] = (
        kept & log["user"].isin(of_user.index[several & usual])
    ).to_numpy()
    return found


def fetch(folder: Path) -> tuple[Path, str]:
    """Fetch Ta Feng and filter it into ``folder``/ta-feng-taiw. Returns that folder and where the log is from."""
    from extras.own_data.declaration import (
        DECLARATION,
    )  # step 0 imports this module, with or without that extra

    source, origin = ta_feng.fetch(folder)
    table = pd.read_csv(source / ta_feng.LOG, dtype=str, keep_default_na=False)
    day = pd.to_datetime(table["TRANSACTION_DT"], format="%m/%d/%Y").astype(
        "int64"
    ) // (DAY_S * 1_000_000_000)
    log = pd.DataFrame(
        {"user": table["CUSTOMER_ID"], "item": table["PRODUCT_ID"], "day": day}
    )
    target = folder / NAME
    with written_in_place(target / ta_feng.LOG) as temporary:
        table[filtered(log)].to_csv(temporary, index=False)
    declared = ta_feng.DECLARED.read_text(encoding="utf-8").replace(
        'name = "ta-feng"', f'name = "{NAME}"'
    )
    (target / DECLARATION).write_text(declared, encoding="utf-8")
    return target, f"{origin}, filtered as TAIW's authors do"
