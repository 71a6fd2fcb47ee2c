"""Artifacts: the files that steps exchange, with the path, schema and step of each; Parquet, JSON and binary.

``write`` checks and renames into place, so a file is either whole or absent; ``read`` checks again, and a missing
file says which step to run. The same input gives the same bytes. First the kinds of files, then the files.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from data_exchange_center import errors, files
from data_exchange_center.columns import Columns

Content = TypeVar("Content")
Condition = tuple[str, str, Any]  # column, comparison, value: ("userid", ">=", 7)


class ArtifactError(errors.RecsysError):
    """A file between two steps is missing or is not what it should be. The message says what to do."""


@dataclass(frozen=True)
class _File:
    path: str  # below the exchange folder
    made_by: str  # path of the step
    # only for rankers that are trained on these
    examples: str | None = field(default=None, kw_only=True)

    def at(self, exchange_dir: Path) -> Path:
        return exchange_dir / self.path

    def require(self, exchange_dir: Path) -> Path:
        """The file's path. Raises ArtifactError, naming the step that makes it, when it is not there."""
        path = self.at(exchange_dir)
        if not path.exists():
            raise ArtifactError(
                f"{path} is missing. It is made by {self.made_by}: run that step first."
            )
        return path

    def wrong(self, exchange_dir: Path, what: str) -> ArtifactError:
        """The error for an invalid file. ``what``: what is wrong, to follow the path in the message."""
        return ArtifactError(
            f"{self.at(exchange_dir)}: {what}. It is made by {self.made_by}: run that step again."
        )


@dataclass(frozen=True)
class Table(_File):
    """A Parquet file with fixed columns, or a folder of part files, as an engine for larger data (Spark) writes.

    ``columns``: name -> Arrow type; other columns are allowed only with a type in ``open_ended``.
    ``rows_together``: rows of a row group, the least that a reader of some rows must read.
    """

    columns: Mapping[str, pa.DataType] = field(default_factory=dict)
    open_ended: tuple[pa.DataType, ...] = ()
    rows_together: int = 1 << 20

    def write(
        self, exchange_dir: Path, frame: pd.DataFrame | pa.Table | pa.RecordBatchReader
    ) -> Path:
        """Write ``frame``; a RecordBatchReader may hold more rows than fit into memory.

        Raises ArtifactError when the columns are not those declared.
        """
        if isinstance(frame, pd.DataFrame):
            found = {str(name): self._type(column) for name, column in frame.items()}
            frame = pa.Table.from_pandas(
                frame, self._schema(found, exchange_dir), preserve_index=False
            )
        schema = self._schema(
            dict(zip(frame.schema.names, frame.schema.types, strict=True)), exchange_dir
        )
        path = self.at(exchange_dir)
        groups: Iterable[pa.Table] = [frame]
        if isinstance(frame, pa.RecordBatchReader):
            groups = (pa.Table.from_batches([batch]) for batch in frame)
        with (
            files.written_in_place(path) as temporary,
            pq.ParquetWriter(temporary, schema, compression="zstd") as file,
        ):
            for group in groups:
                file.write_table(group.cast(schema), row_group_size=self.rows_together)
        return path

    def read(
        self,
        exchange_dir: Path,
        columns: list[str] | None = None,
        only: Sequence[Condition] | None = None,
    ) -> pd.DataFrame:
        """Read the table into pandas, where a column of lists is one of objects. Arguments as in `read_arrow`."""
        frame: pd.DataFrame = self.read_arrow(exchange_dir, columns, only).to_pandas()
        return frame

    def read_arrow(
        self,
        exchange_dir: Path,
        columns: list[str] | None = None,
        only: Sequence[Condition] | None = None,
    ) -> pa.Table:
        """Read the table, or some columns and rows. Raises ArtifactError when it is missing or not as declared.

        Args:
            only: conditions on the rows; row groups whose statistics rule them out are skipped.
        """
        try:
            parts = files.parts_of(self.require(exchange_dir))
            self.expect_columns(parts, exchange_dir)
            return pa.concat_tables(
                pq.read_table(part, columns=columns, filters=only) for part in parts
            )
        except (pa.ArrowException, OSError) as error:
            raise self.wrong(exchange_dir, f"cannot be read ({error})") from error

    def expect_columns(self, parts: Sequence[Path], exchange_dir: Path) -> None:
        """Raise ArtifactError unless there are parts, each with the columns that are declared."""
        if not parts:
            raise self.wrong(exchange_dir, "holds no part")
        for part in parts:
            # an engine may add: not null
            fields = {field.name: field.type for field in pq.read_schema(part)}
            schema = pa.schema(list(fields.items()))
            if schema != self._schema(fields, exchange_dir):
                raise self.wrong(
                    exchange_dir,
                    f"its columns are not as expected: {schema.to_string()}",
                )

    def _type(self, column: pd.Series) -> pa.DataType | None:
        """The type of a column that is not declared by name: strings where the table may hold some."""
        strings = pd.api.types.is_object_dtype(column) or pd.api.types.is_string_dtype(
            column
        )
        if strings and pa.string() in self.open_ended:
            return pa.string()
        return next((each for each in self.open_ended if each != pa.string()), None)

    def _schema(
        self, found: Mapping[str, pa.DataType | None], exchange_dir: Path
    ) -> pa.Schema:
        """The declared types of columns in the order of ``found``; of others the type that is found."""
        absent = [name for name in self.columns if name not in found]
        surplus = [
            name
            for name, kind in found.items()
            if name not in self.columns and kind not in self.open_ended
        ]
        if absent or surplus:
            raise self.wrong(
                exchange_dir, f"columns {absent} are absent and {surplus} unexpected"
            )
        return pa.schema(
            [(name, self.columns.get(name, kind)) for name, kind in found.items()]
        )


@dataclass(frozen=True)
class Document(_File):
    """A JSON file."""

    def write(self, exchange_dir: Path, content: Mapping[str, Any]) -> None:
        files.write_json(self.at(exchange_dir), content)

    def read(self, exchange_dir: Path) -> dict[str, Any]:
        try:
            content = json.loads(self.require(exchange_dir).read_text(encoding="utf-8"))
        except ValueError as error:
            raise self.wrong(exchange_dir, f"is not JSON ({error})") from error
        if not isinstance(content, dict):
            raise self.wrong(exchange_dir, "does not hold a JSON object")
        return content


@dataclass(frozen=True)
class Binary(_File):
    """A file of bytes with a format of its own: weights, arrays."""

    def write(self, exchange_dir: Path, content: bytes) -> None:
        with files.written_in_place(self.at(exchange_dir)) as temporary:
            temporary.write_bytes(content)

    def read(self, exchange_dir: Path) -> bytes:
        return self.require(exchange_dir).read_bytes()

    def read_as(
        self, exchange_dir: Path, unpack: Callable[[bytes], Content]
    ) -> Content:
        """Read the bytes by ``unpack``, whose ValueError becomes an ArtifactError."""
        try:
            return unpack(self.read(exchange_dir))
        except ValueError as error:
            raise self.wrong(exchange_dir, f"cannot be read ({error})") from error


Artifact: TypeAlias = Table | Document | Binary


_S0 = "offline/preprocess/s0_get_data.py"
_S1_SPLIT = "offline/preprocess/s1_data_split.py"
_S2_TERMS = "offline/preprocess/s2_term_trans.py"
_S1_TERM_RECALL = "offline/recall/s1_term_recall.py"
_S2_VECTOR_RECALL = "offline/recall/s2_vector_recall.py"
_S1_FEATURES = "offline/rank/s1_feature_engi.py"
_S2_MODEL = "offline/rank/s2_model_train.py"

_user, _item = {Columns.USER: pa.int32()}, {Columns.ITEM: pa.int32()}
_ids, _times, _vector = (
    pa.list_(pa.int32()),
    pa.list_(pa.int64()),
    pa.list_(pa.float32()),
)
_event = {**_user, **_item, Columns.RATING: pa.int8(), Columns.TIMESTAMP: pa.int64()}
_own_user = {**_user, Columns.OWN_ID: pa.string()}
_own_item = {
    **_item,
    Columns.OWN_ID: pa.string(),
    Columns.TITLE: pa.string(),
    Columns.GENRES: pa.list_(pa.string()),
}
_profile, _numbers = (pa.string(), pa.int32()), (pa.float64(),)

# --- Step 0: the data set in standard form, as step 1 (or its twin on Spark) reads it
# The Dataset that lies here: name, origin, sha256 of its tables; kinds of ids, levels, attributes, holdout
DATASET = Document("offline/raw/dataset.json", _S0)
# Every event of the data set itself, sorted by user and time. Ties keep the order of the source, whose times may be
# finer than the seconds kept here: so the order of the rows counts. Ratings are codes of `Dataset.levels`, 1 where
# events have no value
RAW_INTERACTIONS = Table("offline/raw/interactions.parquet", _S0, _event)
# Every user of the data set itself, by number: own id and profile, as in `USERS`
RAW_USERS = Table("offline/raw/users.parquet", _S0, _own_user, _profile)
# Every item, by number: own id, title, terms and numbers, as in `ITEMS`
RAW_ITEMS = Table("offline/raw/items.parquet", _S0, _own_item, _numbers)
RAW = (RAW_INTERACTIONS, RAW_USERS, RAW_ITEMS)
# Feedback (`events.Event`) fetched by `make events`: own ids as text, position in the log; a row without an eventid
# says that the user was forgotten. Empty where feedback is not trained on
EVENTS = Table(
    "offline/events.parquet",
    _S0,
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

# --- Step 1: labels and split
# Every rating, labelled and split, sorted by user and time (ties in file order)
RATINGS = Table(
    "offline/ratings.parquet",
    _S1_SPLIT,
    {**_event, Columns.LABEL: pa.int8(), Columns.SPLIT: pa.string()},
)
# Every user's own id and profile, a column for each of `Dataset.profile`
USERS = Table("offline/users.parquet", _S1_SPLIT, _own_user, _profile)
# Every item's own id, title (the own id where it has none) and terms; a column for each of `Dataset.numbers`
ITEMS = Table("offline/items.parquet", _S1_SPLIT, _own_item, _numbers)
# Inputs of the split (sha256)
SPLIT_REPORT = Document("offline/split_report.json", _S1_SPLIT)

# --- Step 2: genre statistics
# Genre names in code order; code = position + 1
GENRES = Document("offline/genres.json", _S2_TERMS)
# Inputs of the genre statistics (sha256)
TERMS_REPORT = Document("offline/terms_report.json", _S2_TERMS)
# One row for each rating that is not held out, in the order of ratings.parquet: the user's genre impressions and clicks
# over the last interactions strictly before it
IMPRESSION_TERMS = Table(
    "offline/impression_terms.parquet",
    _S2_TERMS,
    {**_user, **_item},
    (pa.int8(),),
    examples="pairs",
)
# Every user's newest genre impressions and clicks, as they are served
USER_TERMS = Table("offline/user_terms.parquet", _S2_TERMS, _user, (pa.int8(),))
# Every item's genre codes
ITEM_TERMS = Table(
    "offline/item_terms.parquet", _S2_TERMS, {**_item, Columns.GENRES: _ids}
)

# --- Step 3: state of each user, popular items
# Each user's preferred genres as codes, most clicked first; empty where no genre was clicked often enough
USER_PREFERENCES = Table(
    "offline/user_preferences.parquet", _S1_TERM_RECALL, {**_user, Columns.GENRES: _ids}
)
# The items each user has rated without the held-out ones, which are never recommended again
USER_SEEN = Table(
    "offline/user_seen.parquet", _S1_TERM_RECALL, {**_user, Columns.SEEN: _ids}
)
# Every user's profile codes, as the channels read them, and events but the held-out ones, newest first
USER_STATE = Table(
    "offline/user_state.parquet",
    _S1_TERM_RECALL,
    {
        **_user,
        Columns.PROFILE: _ids,
        Columns.ITEMS: _ids,
        Columns.RATINGS: pa.list_(pa.int8()),
        Columns.TIMES: _times,
    },
)
# Items by the share of users who clicked them, best first: what cold-start users are served
POPULAR = Table(
    "offline/popular.parquet", _S1_TERM_RECALL, {**_item, Columns.SCORE: pa.float32()}
)
# Share of users with preferred genres
TERM_RECALL_REPORT = Document("offline/term_recall_report.json", _S1_TERM_RECALL)

# --- Step 4: recall channels
# The user vectors that are stored: a column `vector_of(channel)` for every channel that learns one for each user; their
# inner product with an item vector is the model's ranking
USER_VECTORS = Table(
    "offline/user_vectors.parquet", _S2_VECTOR_RECALL, _user, (_vector,)
)
# A column `vector_of(channel)` for every channel, its vectors all of the same length; null for an item that the channel
# was never trained on
ITEM_VECTORS = Table(
    "offline/item_vectors.parquet",
    _S2_VECTOR_RECALL,
    _item,
    (_vector,),
    rows_together=1 << 16,
)
# ChannelSet: the channels that compute a user's vector, or scores, when a request is answered; may hold none
CHANNELS = Binary("offline/channels.npz", _S2_VECTOR_RECALL)
# By channel name: configuration, curves, metrics
RECALL_REPORT = Document("offline/recall_report.json", _S2_VECTOR_RECALL)

# --- Step 5: features, and what the ranker is trained on
# The FeatureSpec of the ranking model
FEATURE_SPEC = Document("offline/feature_spec.json", _S1_FEATURES)
# One row for each rating that is not held out: label, split and the encoded input columns
SAMPLES = Table(
    "offline/samples.parquet",
    _S1_FEATURES,
    {Columns.LABEL: pa.int8(), Columns.SPLIT: pa.string()},
    (pa.float32(),),
    examples="pairs",
)
# ChannelSet: the channels, fitted on the first part of each user's past, that made the training lists
TRAINING_CHANNELS = Binary(
    "offline/training_channels.npz", _S1_FEATURES, examples="lists"
)
# Training examples of the list ranker: lists of the training channels at later moments, with the history before and the
# likes after, by item code. ``features``: bytes of float16, candidate after candidate
LISTS = Table(
    "offline/lists.parquet",
    _S1_FEATURES,
    {
        **_user,
        "times": pa.int64(),
        "lengths": pa.int32(),
        "statistics": _times,
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
# Every user's newest raw feature values: profile (strings or whole numbers) and statistics
USER_FEATURES = Table(
    "offline/user_features.parquet", _S1_FEATURES, _user, (pa.string(), pa.int64())
)
# Every item's raw feature values: genre flags or statistics
ITEM_FEATURES = Table(
    "offline/item_features.parquet", _S1_FEATURES, _item, (pa.int64(),)
)
# Inputs of the features (sha256)
FEATURES_REPORT = Document("offline/features_report.json", _S1_FEATURES)

# --- Step 6: the ranker
# State dict of the ranking model
RANK_WEIGHTS = Binary("offline/ranker.pt", _S2_MODEL)
# The ranking model: configuration, curves, metrics
RANK_REPORT = Document("offline/ranker_report.json", _S2_MODEL)

ARTIFACTS: tuple[Artifact, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Artifact)
)

# Parts of a release; its id is a hash of their bytes.
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
