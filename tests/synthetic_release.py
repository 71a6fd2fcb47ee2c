"""A whole set of artifacts, small and made up, that any release can be built from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch

from data_exchange_center import artifacts, provenance
from data_exchange_center.columns import Columns, Split, clicks, genre_flag, impressions
from data_exchange_center.features import movielens_spec
from data_exchange_center.recipes import SOURCE
from offline.torchfm.models import DeepFM, DeepFMConfig, weights_to_bytes

GENRES = ("Action", "Adventure", "Children's", "Film-Noir")
AGES, OCCUPATIONS = (18, 25, 45), ("artist", "writer")
DIM = 6
WINDOW = SOURCE.data.window


def write_artifacts(
    folder: Path, *, seed: int = 0, users: int = 60, items: int = 320, genres: tuple[str, ...] = GENRES
) -> None:
    """Write every part of a release below ``folder``, consistent with one another. Same arguments, same bytes."""
    random = np.random.default_rng(seed)
    userids, itemids = np.arange(1, users + 1), np.sort(random.choice(np.arange(1, items * 2), items, replace=False))
    codes = {item: sorted(random.choice(len(genres), random.integers(1, 3), replace=False) + 1) for item in itemids}
    ratings = _ratings(random, userids, itemids)
    served = ratings[ratings[Columns.SPLIT] != Split.ONLINE]
    trained = sorted(set(served[Columns.ITEM]) - {itemids[-1]})  # the last item has no vector
    profiles = {
        Columns.GENDER: random.choice(["F", "M"], users),
        Columns.AGE: random.choice(AGES, users),
        Columns.OCCUPATION: random.choice(OCCUPATIONS, users),
    }
    statistics = _statistics(served, userids, codes, genres)
    spec = movielens_spec(
        users=userids.tolist()[:-1],  # the last user is unknown to the model
        items=[int(item) for item in trained],
        genders=("F", "M"),
        ages=AGES,
        occupations=OCCUPATIONS,
        genres=genres,
        window=WINDOW,
    )
    artifacts.DATASET.write(folder, {"name": "synthetic", "origin": f"seed {seed}", "counts": {"users": users}})
    artifacts.RATINGS.write(folder, ratings)
    artifacts.ITEMS.write(
        folder,
        pd.DataFrame(
            {
                Columns.ITEM: itemids,
                Columns.TITLE: [f"Film {item} (1999)" for item in itemids],
                Columns.GENRES: [[genres[code - 1] for code in codes[item]] for item in itemids],
            }
        ),
    )
    artifacts.GENRES.write(folder, {"genres": list(genres)})
    artifacts.ITEM_TERMS.write(
        folder, pd.DataFrame({Columns.ITEM: itemids, Columns.GENRES: [codes[item] for item in itemids]})
    )
    preferred = [[code for code, n in enumerate(row[len(genres) :], 1) if n >= 3] for row in statistics]
    artifacts.USER_PREFERENCES.write(folder, pd.DataFrame({Columns.USER: userids, Columns.GENRES: preferred}))
    seen = served.groupby(Columns.USER)[Columns.ITEM].apply(lambda column: sorted(column.tolist()))
    artifacts.USER_SEEN.write(folder, pd.DataFrame({Columns.USER: userids, Columns.SEEN: [seen[u] for u in userids]}))
    popular = served.groupby(Columns.ITEM)[Columns.LABEL].sum().sort_values(ascending=False, kind="stable")
    artifacts.POPULAR.write(
        folder, pd.DataFrame({Columns.ITEM: popular.index, Columns.SCORE: popular.to_numpy() / users})
    )
    _write_vectors(folder, random, userids, trained)
    artifacts.FEATURE_SPEC.write(folder, spec.model_dump(mode="json"))
    columns = [column(genre) for column in (impressions, clicks) for genre in genres]
    artifacts.USER_FEATURES.write(
        folder,
        pd.DataFrame({Columns.USER: userids, **profiles}).join(pd.DataFrame(statistics, columns=columns)),
    )
    flags = {genre_flag(genre): [int(code in codes[item]) for item in itemids] for code, genre in enumerate(genres, 1)}
    artifacts.ITEM_FEATURES.write(folder, pd.DataFrame({Columns.ITEM: itemids, **flags}))
    config = DeepFMConfig.of(spec, SOURCE.deepfm)
    torch.manual_seed(seed)
    artifacts.RANK_WEIGHTS.write(folder, weights_to_bytes(_lively(DeepFM(config))))
    artifacts.RANK_REPORT.write(folder, {"model": config.model_dump(mode="json"), "auc": {"test": 0.5}})
    write_inputs(folder)


def write_inputs(folder: Path) -> None:
    """Say in every report that its step was run on what lies in ``folder`` now."""
    terms = (artifacts.RATINGS, artifacts.GENRES, artifacts.ITEM_TERMS)
    read: dict[str, tuple[artifacts.Table | artifacts.Document, ...]] = {
        artifacts.TERMS_REPORT.path: (artifacts.RATINGS, artifacts.ITEMS),
        artifacts.TERM_RECALL_REPORT.path: terms,
        artifacts.FM_REPORT.path: (artifacts.RATINGS,),
        artifacts.FEATURES_REPORT.path: terms,
        artifacts.RANK_REPORT.path: (artifacts.RATINGS, artifacts.FEATURE_SPEC),
    }
    for report in provenance.REPORTS:
        content = report.read(folder) if report.at(folder).is_file() else {}
        report.write(folder, {**content, **provenance.inputs_of(folder, *read[report.path])})


def _ratings(random: np.random.Generator, userids: np.ndarray, itemids: np.ndarray) -> pd.DataFrame:
    rows = []
    for user in userids:
        n = int(random.integers(20, 40))
        rated, stars = random.choice(itemids, n, replace=False), random.integers(1, 6, n)
        times = np.sort(random.integers(1_000_000_000, 1_000_100_000, n))
        kept = n - 10
        splits = [Split.TRAIN if k < 0.8 * kept else Split.TEST if k < kept else Split.ONLINE for k in range(n)]
        rows.append(
            pd.DataFrame(
                {
                    Columns.USER: user,
                    Columns.ITEM: rated,
                    Columns.RATING: stars,
                    Columns.TIMESTAMP: times,
                    Columns.LABEL: (stars > 3).astype(int),
                    Columns.SPLIT: splits,
                }
            )
        )
    return pd.concat(rows, ignore_index=True)


def _statistics(
    served: pd.DataFrame, userids: np.ndarray, codes: dict[int, list[int]], genres: tuple[str, ...]
) -> np.ndarray:
    """(users, 2 genres): impressions, then clicks, over each user's newest ratings."""
    counts = np.zeros((len(userids), 2 * len(genres)), dtype=int)
    for row, user in enumerate(userids):
        for _, rating in served[served[Columns.USER] == user].tail(WINDOW).iterrows():
            for code in codes[rating[Columns.ITEM]]:
                counts[row, code - 1] += 1
                counts[row, len(genres) + code - 1] += rating[Columns.LABEL]
    return counts


def _write_vectors(folder: Path, random: np.random.Generator, userids: np.ndarray, trained: list[int]) -> None:
    factors = random.normal(size=(len(trained), DIM - 1))
    lengths = np.linalg.norm(factors, axis=1)
    filled = np.hstack([factors, np.sqrt(lengths.max() ** 2 - lengths**2)[:, None]])
    artifacts.ITEM_VECTORS.write(folder, pd.DataFrame({Columns.ITEM: trained, Columns.VECTOR: list(filled)}))
    users = np.hstack([random.normal(size=(len(userids), DIM - 1)), np.zeros((len(userids), 1))])
    artifacts.USER_VECTORS.write(folder, pd.DataFrame({Columns.USER: userids, Columns.VECTOR: list(users)}))


def _lively(model: DeepFM) -> DeepFM:
    """Weights large enough that every input column moves the score."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
    return model
