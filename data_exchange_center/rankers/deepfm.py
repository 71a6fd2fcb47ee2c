"""Ranker: DeepFM in the source's variant."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from data_exchange_center.dataset import Dataset
from data_exchange_center.features import FeatureSpec
from data_exchange_center.frozen import Need, TrainRecipe
from data_exchange_center.rankers.contract import Config, FittedRanker, PairsRecipe

if TYPE_CHECKING:
    from torch import nn

    from offline.training.examples import PairExamples


class DeepFMRecipe(PairsRecipe):
    """Sparse FM with two embedding widths plus an MLP over the dense features."""

    needs: ClassVar[frozenset[Need]] = frozenset({"dislikes", "terms"})
    kind: Literal["deepfm"] = "deepfm"
    id_dim: int = 16  # userid, itemid
    side_dim: int = 2  # all other sparse features
    hidden: tuple[int, ...] = (64, 32)
    dropout: float = 0.0  # of the MLP; made no difference on validation
    train: TrainRecipe

    def configure(self, spec: FeatureSpec, dataset: Dataset, trained: Config) -> Config:
        from offline.models.deepfm import DeepFMConfig

        return DeepFMConfig.of(spec, self).model_dump(mode="json")

    @classmethod
    def build(cls, config: Config) -> nn.Module:
        from offline.models.deepfm import DeepFM, DeepFMConfig

        return DeepFM(DeepFMConfig.model_validate(config))

    def fit(self, examples: PairExamples) -> FittedRanker:
        from offline.training.fit import fit

        config = self.configure(examples.spec, examples.dataset, {})
        fitted = fit(lambda: self.build(config), examples.data, self.train, "DeepFM")
        return FittedRanker(fitted.model, config, fitted.report())
