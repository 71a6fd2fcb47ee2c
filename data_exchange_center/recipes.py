"""Recipes: named configurations of a recommender, its models and their hyperparameters.

A recipe is settings, not code: the same steps, sync and server read it, and neither PyTorch nor `offline` is installed
with the server. So the settings of all models are here; what a model does with them is in its file in `offline/models`.
Each part of a recipe names its ``kind``: one of `KINDS`, or another package's, by an entry point of ``recsys.models``.
``source`` has the shapes and hyperparameters of the project that this one is faithful to; ``default`` is the best one.
"""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PositiveInt,
    SerializeAsAny,
    ValidationError,
    field_validator,
)

from data_exchange_center import plugins

NAME: Final = r"\w[\w.-]*"  # pattern of the name of a recipe or a data set, which is part of paths and keys

# Requirements of a data set: events that are not liked; items with a categorical or multi-valued attribute.
Need = Literal["dislikes", "terms"]


class Frozen(BaseModel):
    """Base of configurations, which travel with a release: never changed; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def first_problem(error: ValidationError) -> str:
    """The first field that is wrong, and what is wrong with it."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}"


class TrainRecipe(Frozen):
    """One training run of a model of rated pairs."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    schedule: Literal["constant", "one_cycle"] = "constant"
    seed: int = 0


# --- Recall channels


class ChannelRecipe(Frozen):
    """Settings of a recall channel. A kind of channel is a subclass with a ``kind``."""

    # of another package's kind: "module:function" `fit(recipe, past, inputs, data)`, see `offline.models.kinds`
    trained_by: ClassVar[str]
    # "module:class" of a `channels.Channel` that has the kind as its form; None: one of those in `channels`
    served_as: ClassVar[str | None] = None
    needs: ClassVar[frozenset[Need]] = frozenset()  # of the data set

    kind: str
    name: str
    fusion_weight: float = 1.0  # of the channel's reciprocal ranks in the fusion


class VectorRecipe(ChannelRecipe):
    """A channel that is searched in the index: by vector, and by terms where they have a weight."""

    term_weight: float = 0.0  # > 0: an item with one of the user's preferred genres earns this in the same search
    vector_weight: float = 1.0  # of an item's inner product with the user's vector


class FMRecipe(VectorRecipe):
    """Factorization machine on user and item, trained on rated pairs: one stored vector a user."""

    needs: ClassVar[frozenset[Need]] = frozenset({"dislikes"})

    kind: Literal["fm"] = "fm"
    name: str = "fm"
    dim: int = 16
    train: TrainRecipe


class TowerRecipe(VectorRecipe):
    """Two towers, trained by a softmax over items; user vector: profile, weighted sums over the history, a layer.

    Trained at request points, moments in a user's past when a request could have come: see `offline/data/sequences.py`.
    """

    kind: Literal["tower"] = "tower"
    name: str = "tower"
    dim: int = 64
    fields: int = 2  # history fields, each with item rows of its own
    hidden: int = 512  # units of a layer that is added to the sums; 0: none
    # initial item rows; followers: factors of what follows what
    start: Literal["random", "followers"] = "followers"
    dropout: float = 0.3  # of events
    epochs: int = 3
    batch_size: int = 512  # request points
    learning_rate: float = 5e-3
    weight_decay: float = 0.01
    stride: int = 5  # events between request points
    horizon: int = 7  # events after a request whose liked items are its targets
    user_balance: float = 0.3  # a target weighs (events of its user) ** -this: 0 trains for the most active users
    request_balance: float = 0.5  # ... times (targets of its request) ** -this
    sampled_beyond: int = 20_000  # items: where there are more, a batch's softmax is over a sample of them
    sampled_items: int = 4096  # of a sample, on average
    seed: int = 0


class EaseRecipe(VectorRecipe):
    """Linear item-item model in low rank, solved; the user vector is a weighted sum over the history.

    Within a session the newest events weigh most; after a break all likes weigh the same, the long-term taste.
    """

    kind: Literal["ease"] = "ease"
    name: str = "ease"
    dim: int = 64
    l2: float = 1000.0
    power: float = 0.75  # within a session an event's weight is (lag + 1) ** -power
    taste: int = 500  # newest events whose likes are the taste of a user who comes back
    # items: where there are more, no matrix of items x items is made
    low_rank_beyond: int = 10_000
    eigenvectors: int = 256  # of the co-occurrence matrix, which stand for it then
    seed: int = 0


# --- Rankers


class RankerRecipe(Frozen):
    """Settings of a ranker. A kind of ranker is a subclass of `PairsRecipe` or `ListsRecipe` with a ``kind``."""

    # of another package's kind: "module:class" of its network, a subclass of `offline.models.kinds.Ranker`
    trained_by: ClassVar[str]
    examples: ClassVar[Literal["pairs", "lists"]]  # of its training
    needs: ClassVar[frozenset[Need]] = frozenset()  # of the data set

    kind: str


class PairsRecipe(RankerRecipe):
    """A ranker trained on rated pairs: one row a rating, liked or not."""

    examples: ClassVar[Literal["pairs", "lists"]] = "pairs"
    needs: ClassVar[frozenset[Need]] = frozenset({"dislikes"})


class ListsRecipe(RankerRecipe):
    """A ranker trained on the lists that recall makes, by a softmax over each list."""

    examples: ClassVar[Literal["pairs", "lists"]] = "lists"

    # columns of other packages, besides those of `offline.data.statistics`: names in `plugins.STATISTICS`
    statistics: tuple[str, ...] = Field(default=(), exclude_if=lambda names: not names)
    history: PositiveInt = 40  # newest events that the network reads
    past: float = 0.6  # share of each user's events that the recall behind the training lists is fitted on
    stride: int = 5  # events between request points, which all come after that share
    horizon: int = 10  # events after a request that say what was liked
    # requests; of more, so many are drawn: their lists are held in memory
    most: int = 250_000
    epochs: int = 6
    batch_size: int = 128  # lists
    # candidates of a list in a batch: negative sampling, other ones each time
    sampled: int = 32
    learning_rate: float = 5e-3
    weight_decay: float = 0.01
    seed: int = 0


class DeepFMRecipe(PairsRecipe):
    """Sparse FM with two embedding widths plus an MLP over the dense features."""

    needs: ClassVar[frozenset[Need]] = frozenset({"dislikes", "terms"})

    kind: Literal["deepfm"] = "deepfm"
    id_dim: int = 16  # of user and item
    side_dim: int = 2  # all other sparse features
    hidden: tuple[int, ...] = (64, 32)
    dropout: float = 0.0  # of the MLP; made no difference on validation
    train: TrainRecipe


class ListRankerRecipe(ListsRecipe):
    """Affinities to the history, statistics and recall's own scores, through a small MLP."""

    kind: Literal["list"] = "list"
    kernels: int = 4  # learned weightings of the history for each similarity
    transitions_dim: int = 64  # rank of what-follows-what, one of the similarities; 128 gave the same on validation
    hidden: tuple[int, ...] = (64, 32)
    dropout: float = 0.0
    # target type of the data set -> weight in the score; empty: the weights of the data set
    objectives: Mapping[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = (
        Field(default={}, exclude_if=lambda objectives: not objectives)
    )
    # (column, weight), added to the trained network's score, in inference only, for a user who returns after a break
    returning: tuple[tuple[str, float], ...] = (
        ("fused_log_rank", -0.25),
        ("item_likes", 0.5),
        ("ease_z_score", 0.2),
    )


# --- A recipe, and how one is read from JSON: by its kinds

Part = TypeVar("Part", ChannelRecipe, RankerRecipe)

# The kinds of this project; other packages bring theirs by entry points
KINDS: Final[dict[str, type[ChannelRecipe | RankerRecipe]]] = {
    "fm": FMRecipe,
    "tower": TowerRecipe,
    "ease": EaseRecipe,
    "deepfm": DeepFMRecipe,
    "list": ListRankerRecipe,
}


def recipe_class(kind: object, part: type[Part]) -> type[Part]:
    """The settings' class of a kind of channel or ranker. Raises ValueError, listing the known kinds, for another."""
    others: Mapping[str, Any] = plugins.find(plugins.MODELS)
    if kind not in {*KINDS, *others}:
        raise ValueError(
            f"no model is of kind {kind!r}; there are: {', '.join(sorted({*KINDS, *others}))}. A package "
            f'brings one by an entry point in its pyproject.toml: [project.entry-points."{plugins.MODELS}"].'
        )
    found: Any = KINDS.get(str(kind)) or others[str(kind)].load()
    if not issubclass(found, part):
        raise ValueError(
            f"{kind!r} is no {'channel' if part is ChannelRecipe else 'ranker'}"
        )
    settings: type[Part] = found
    return settings


def _channel(value: Any) -> Any:
    return (
        recipe_class(value.get("kind"), ChannelRecipe).model_validate(value)
        if isinstance(value, Mapping)
        else value
    )


class _NotHere(RankerRecipe):
    """Settings of a ranker whose package, or torch, is not installed: the server needs only its kind."""

    model_config = ConfigDict(frozen=True, extra="allow")


def _ranker(value: Any) -> Any:
    try:
        known = isinstance(value, Mapping)
        return (
            recipe_class(value.get("kind"), RankerRecipe).model_validate(value)
            if known
            else value
        )
    except ModuleNotFoundError:
        return _NotHere.model_validate(value)


AnyChannelRecipe = Annotated[SerializeAsAny[ChannelRecipe], BeforeValidator(_channel)]
AnyRankerRecipe = Annotated[SerializeAsAny[RankerRecipe], BeforeValidator(_ranker)]


class DataRecipe(Frozen):
    """Split and window. The thresholds of a like and of the holdout are the data set's own (`Dataset`)."""

    train_share: float = 0.8  # of what is not held out, the first rows of every user
    validation_share: float = 0.1  # of the training rows, the last rows of every user; models are chosen on them
    # interactions behind a user's genre statistics, in training and in serving
    window: int = 10
    # clicks within the window that make a genre a preferred one
    clicks_for_preference: int = 3
    history: int = 100  # newest interactions of a user that recall looks at


# How vectors are searched: exactly, all of them, or approximately, along a graph. Among a few thousand items a graph
# saves no time, and it is a poor one where popularity is a dimension and all vectors are equally long: EASE's channel
# loses more than a quarter of its 256 candidates (docs/decisions.md).
# Quantized, a vector takes a byte (int8) or a bit (bbq) a dimension in memory; the best are scored again by the floats.
VectorIndex = Literal["flat", "hnsw", "int8_flat", "int8_hnsw", "bbq_flat", "bbq_hnsw"]
_TAKEN: Final = ("fused", "popular")  # names of other lists


class RecallRecipe(Frozen):
    """The channels, and how the server searches Elasticsearch for them."""

    channels: tuple[AnyChannelRecipe, ...]
    candidates: int = 200  # of each channel, and of all of them after fusion
    num_candidates: int = 1000  # neighbours that a vector search brings, per shard; genres add to the scores of these
    index: VectorIndex = "flat"

    @property
    def vector_channels(self) -> tuple[VectorRecipe, ...]:
        """The channels that have vectors in the index; the others score the items themselves."""
        return tuple(
            channel for channel in self.channels if isinstance(channel, VectorRecipe)
        )

    @field_validator("channels")
    @classmethod
    def _named_apart(
        cls, channels: tuple[AnyChannelRecipe, ...]
    ) -> tuple[AnyChannelRecipe, ...]:
        """Reject repeated or malformed names: they are part of columns, fields and keys."""
        for name, times in Counter(channel.name for channel in channels).items():
            if (
                times > 1
                or name in _TAKEN
                or not re.fullmatch(r"[a-z][a-z0-9_]*", name)
            ):
                raise ValueError(
                    f"channel name {name!r}: each has its own, of small letters, digits and _, other than "
                    f"{' and '.join(map(repr, _TAKEN))}"
                )
        return channels


class Recipe(Frozen):
    """Configuration of a whole recommender."""

    name: str = Field(max_length=100, pattern=rf"^{NAME}$")
    data: DataRecipe = DataRecipe()
    recall: RecallRecipe
    ranker: AnyRankerRecipe

    @property
    def needs(self) -> frozenset[Need]:
        """Properties that a data set must have for the recipe to be trained on it."""
        return self.ranker.needs.union(
            *(channel.needs for channel in self.recall.channels)
        )


SOURCE_FM = FMRecipe(
    term_weight=1.0,
    train=TrainRecipe(
        epochs=10, batch_size=4096, learning_rate=0.003, weight_decay=1e-5
    ),
)
SOURCE_DEEPFM = DeepFMRecipe(
    train=TrainRecipe(
        epochs=10,
        batch_size=4096,
        learning_rate=0.01,
        weight_decay=1e-5,
        schedule="one_cycle",
    )
)
SOURCE = Recipe(
    name="source", recall=RecallRecipe(channels=(SOURCE_FM,)), ranker=SOURCE_DEEPFM
)
# Its numbers against other values: `make tune`.
DEFAULT = Recipe(
    name="default",
    # More candidates than the 200 that can be shown: the ranker brings up some of those that fusion put just below.
    recall=RecallRecipe(
        channels=(TowerRecipe(fusion_weight=4.0), EaseRecipe()),
        candidates=256,
        num_candidates=256,
    ),
    ranker=ListRankerRecipe(),
)

RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in (SOURCE, DEFAULT)}


def recipe_called(name: str) -> Recipe:
    """One of `RECIPES` or of a plugin, or one in a JSON file. Raises ValueError, in a sentence, when there is none."""
    if not name.endswith(".json"):
        if name in RECIPES:
            return RECIPES[name]
        others = plugins.find(plugins.RECIPES)
        if name not in others:
            known = ", ".join(sorted({*RECIPES, *others}))
            raise ValueError(
                f"no recipe is called {name!r}; there are: {known}; or name a .json file that holds one"
            )
        found: Recipe = others[name].load()
        return found
    try:
        return Recipe.model_validate_json(Path(name).read_bytes())
    except OSError as error:
        raise ValueError(f"recipe {name} cannot be read ({error.strerror})") from error
    except ValidationError as error:
        raise ValueError(f"{name} is no recipe ({first_problem(error)})") from error
