"""Every file that crosses a step: where it lies, what is in it and which step makes it."""

from __future__ import annotations

import pyarrow as pa

from data_exchange_center.artifact_kinds import Artifact, Binary, Document, Table
from data_exchange_center.columns import Columns

_S0 = "offline/preprocess/s0_get_data.py"
_S1_SPLIT = "offline/preprocess/s1_data_split.py"
_S2_TERMS = "offline/preprocess/s2_term_trans.py"
_S1_TERM_RECALL = "offline/recall/s1_term_recall.py"
_S2_VECTOR_RECALL = "offline/recall/s2_vector_recall.py"
_S1_FEATURES = "offline/rank/s1_feature_engi.py"
_S2_MODEL = "offline/rank/s2_model_train.py"

_ids = pa.list_(pa.int32())
_vector = pa.list_(pa.float32())

DATASET = Document(
    "offline/raw/dataset.json",
    _S0,
    "The Dataset that lies here: name, origin, sha256 of its tables; kinds of ids, levels, attributes, holdout.",
)
# The data set in standard form: what step 0 makes of any source, and step 1 (or its twin on Spark) begins with.
RAW_INTERACTIONS = Table(
    "offline/raw/interactions.parquet",
    _S0,
    "Every event of the data set itself, sorted by user and time; of the same time in the order of the source, which "
    "may be finer than the seconds kept here: so the order of the rows counts. Ratings are codes of `Dataset.levels`, "
    "1 where events have no value.",
    {
        Columns.USER: pa.int32(),
        Columns.ITEM: pa.int32(),
        Columns.RATING: pa.int8(),
        Columns.TIMESTAMP: pa.int64(),
    },
)
RAW_USERS = Table(
    "offline/raw/users.parquet",
    _S0,
    "Every user of the data set itself, by number: own id and profile, as in `USERS`.",
    {Columns.USER: pa.int32(), Columns.OWN_ID: pa.string()},
    open_ended=(pa.string(), pa.int32()),
)
RAW_ITEMS = Table(
    "offline/raw/items.parquet",
    _S0,
    "Every item, by number: own id, title, terms and numbers, as in `ITEMS`.",
    {
        Columns.ITEM: pa.int32(),
        Columns.OWN_ID: pa.string(),
        Columns.TITLE: pa.string(),
        Columns.GENRES: pa.list_(pa.string()),
    },
    open_ended=(pa.float64(),),
)
RAW = (RAW_INTERACTIONS, RAW_USERS, RAW_ITEMS)
EVENTS = Table(
    "offline/events.parquet",
    _S0,
    "What servers were told (`events.Event`) and `make events` has brought: own ids as text, place in the log; without "
    "an eventid, that a user was forgotten. Empty where it is not trained on.",
    {
        "eventid": pa.string(),
        "userid": pa.string(),
        "itemid": pa.string(),
        "type": pa.string(),
        "value": pa.float64(),
        "timestamp": pa.int64(),
        "recommendation": pa.string(),
        "acknowledged_ms": pa.int64(),
        "sequence": pa.int64(),
    },
)
RATINGS = Table(
    "offline/ratings.parquet",
    _S1_SPLIT,
    "Every rating, labelled and split, sorted by user and time (ties in file order).",
    {
        Columns.USER: pa.int32(),
        Columns.ITEM: pa.int32(),
        Columns.RATING: pa.int8(),
        Columns.TIMESTAMP: pa.int64(),
        Columns.LABEL: pa.int8(),
        Columns.SPLIT: pa.string(),
    },
)
USERS = Table(
    "offline/users.parquet",
    _S1_SPLIT,
    "Every user's own id and profile, a column for each of `Dataset.profile`.",
    {Columns.USER: pa.int32(), Columns.OWN_ID: pa.string()},
    open_ended=(pa.string(), pa.int32()),
)
ITEMS = Table(
    "offline/items.parquet",
    _S1_SPLIT,
    "Every item's own id, title (the own id where it has none) and terms; a column for each of `Dataset.numbers`.",
    {
        Columns.ITEM: pa.int32(),
        Columns.OWN_ID: pa.string(),
        Columns.TITLE: pa.string(),
        Columns.GENRES: pa.list_(pa.string()),
    },
    open_ended=(pa.float64(),),
)
SPLIT_REPORT = Document("offline/split_report.json", _S1_SPLIT, "What the split was made from (sha256).")
GENRES = Document(
    "offline/genres.json",
    _S2_TERMS,
    "Genre names in code order; code = position + 1.",
)
TERMS_REPORT = Document("offline/terms_report.json", _S2_TERMS, "What the terms were counted from (sha256).")
IMPRESSION_TERMS = Table(
    "offline/impression_terms.parquet",
    _S2_TERMS,
    "One row a train or test rating, in the order of ratings.parquet: the user's genre impressions and clicks over the "
    "last interactions strictly before it.",
    {Columns.USER: pa.int32(), Columns.ITEM: pa.int32()},
    open_ended=(pa.int8(),),
)
USER_TERMS = Table(
    "offline/user_terms.parquet",
    _S2_TERMS,
    "Every user's newest genre impressions and clicks, as they are served.",
    {Columns.USER: pa.int32()},
    open_ended=(pa.int8(),),
)
ITEM_TERMS = Table(
    "offline/item_terms.parquet",
    _S2_TERMS,
    "Every item's genre codes.",
    {Columns.ITEM: pa.int32(), Columns.GENRES: _ids},
)
USER_PREFERENCES = Table(
    "offline/user_preferences.parquet",
    _S1_TERM_RECALL,
    "Each user's preferred genres as codes, most clicked first; empty where no genre was clicked often enough.",
    {Columns.USER: pa.int32(), Columns.GENRES: _ids},
)
USER_SEEN = Table(
    "offline/user_seen.parquet",
    _S1_TERM_RECALL,
    "The items each user has rated (train and test rows), which are never recommended again.",
    {Columns.USER: pa.int32(), Columns.SEEN: _ids},
)
USER_STATE = Table(
    "offline/user_state.parquet",
    _S1_TERM_RECALL,
    "Every user's profile codes, as the channels read them, and events, newest first (train and test rows).",
    {
        Columns.USER: pa.int32(),
        Columns.PROFILE: _ids,
        Columns.ITEMS: _ids,
        Columns.RATINGS: pa.list_(pa.int8()),
        Columns.TIMES: pa.list_(pa.int64()),
    },
)
POPULAR = Table(
    "offline/popular.parquet",
    _S1_TERM_RECALL,
    "Items by the share of users who clicked them, best first: what cold-start users are served.",
    {Columns.ITEM: pa.int32(), Columns.SCORE: pa.float32()},
)
TERM_RECALL_REPORT = Document(
    "offline/term_recall_report.json", _S1_TERM_RECALL, "What term recall would have recalled."
)
USER_VECTORS = Table(
    "offline/user_vectors.parquet",
    _S2_VECTOR_RECALL,
    "The user vectors that are stored: a column `vector_of(channel)` for every channel that learns one for each user; "
    "their inner product with an item vector is the model's ranking.",
    {Columns.USER: pa.int32()},
    open_ended=(_vector,),
)
ITEM_VECTORS = Table(
    "offline/item_vectors.parquet",
    _S2_VECTOR_RECALL,
    "A column `vector_of(channel)` for every channel, its vectors all of the same length; null for an item that the "
    "channel was never trained on.",
    {Columns.ITEM: pa.int32()},
    open_ended=(_vector,),
    rows_together=1 << 16,
)
CHANNELS = Binary(
    "offline/channels.npz",
    _S2_VECTOR_RECALL,
    "ChannelSet: the channels whose user vectors are made of the history when a request is answered; may hold none.",
)
RECALL_REPORT = Document(
    "offline/recall_report.json", _S2_VECTOR_RECALL, "By channel name: configuration, curves, metrics."
)
FEATURE_SPEC = Document(
    "offline/feature_spec.json",
    _S1_FEATURES,
    "The FeatureSpec of the ranking model.",
)
SAMPLES = Table(
    "offline/samples.parquet",
    _S1_FEATURES,
    "One row a train or test rating: label, split and the encoded input columns.",
    {Columns.LABEL: pa.int8(), Columns.SPLIT: pa.string()},
    open_ended=(pa.float32(),),
    examples="pairs",
)
TEACHER_CHANNELS = Binary(
    "offline/teacher_channels.npz",
    _S1_FEATURES,
    "ChannelSet: the channels, fitted on the first part of each user's past, that made the training lists.",
    examples="lists",
)
LISTS = Table(
    "offline/lists.parquet",
    _S1_FEATURES,
    "What the ranker is trained on: lists of the teacher channels at later moments, with the history before and what "
    "was liked after, by item code. Features are the bytes of halves, candidate after candidate.",
    {
        Columns.USER: pa.int32(),
        "times": pa.int64(),
        "lengths": pa.int32(),
        "statistics": pa.list_(pa.int64()),
        "events": _ids,
        "ratings": pa.list_(pa.int8()),
        "ages": _ids,
        "candidates": _ids,
        "liked": pa.list_(pa.bool_()),
        "disliked": pa.list_(pa.bool_()),
        "features": pa.binary(),
    },
    examples="lists",
    rows_together=4096,  # some 20 MB
)
USER_FEATURES = Table(
    "offline/user_features.parquet",
    _S1_FEATURES,
    "Every user's newest raw feature values: profile (strings or whole numbers) and statistics.",
    {Columns.USER: pa.int32()},
    open_ended=(pa.string(), pa.int64()),
)
ITEM_FEATURES = Table(
    "offline/item_features.parquet",
    _S1_FEATURES,
    "Every item's raw feature values: genre flags or statistics.",
    {Columns.ITEM: pa.int32()},
    open_ended=(pa.int64(),),
)
FEATURES_REPORT = Document("offline/features_report.json", _S1_FEATURES, "What the features were made from (sha256).")
RANK_WEIGHTS = Binary("offline/ranker.pt", _S2_MODEL, "State dict of the ranking model.")
RANK_REPORT = Document("offline/ranker_report.json", _S2_MODEL, "The ranking model: configuration, curves, metrics.")

ARTIFACTS: tuple[Artifact, ...] = tuple(value for value in list(globals().values()) if isinstance(value, Artifact))

# What goes live. The release's id is made of their bytes.
RELEASE_PARTS: tuple[Artifact, ...] = (
    USERS,
    ITEMS,
    GENRES,
    ITEM_TERMS,
    USER_PREFERENCES,
    USER_SEEN,
    POPULAR,
    USER_VECTORS,
    ITEM_VECTORS,
    CHANNELS,
    USER_STATE,
    FEATURE_SPEC,
    USER_FEATURES,
    ITEM_FEATURES,
    RANK_WEIGHTS,
)
