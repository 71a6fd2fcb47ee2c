"""Objectives of a request: how much each target type counts in the score, for this answer alone.

The list ranker gives an output for each target type of the data set, in one call. Their weighted mean is the score: by
the weights of the release, or by those that a request sends.
"""

from data_exchange_center.manifest import Manifest
from online.recommend.outcomes import BadRequestError
from online.recommend.types import Request


def objective_weights(request: Request, manifest: Manifest) -> tuple[float, ...] | None:
    """The request's weights of the model's outputs; None where it sends none. Raises BadRequestError."""
    if not request.objectives:
        return None
    names = list(manifest.objectives)
    if not names:
        raise BadRequestError(
            "objectives",
            "objectives: this release has none: its data set names no types of events ([types] in dataset.toml), or "
            "its ranker is not of kind list.",
        )
    unknown = sorted(request.objectives.keys() - set(names))
    if unknown:
        raise BadRequestError(
            "objectives",
            f"objectives: {unknown[0]!r} must be one of: {', '.join(names)}.",
        )
    weights = tuple(request.objectives.get(name, 0.0) for name in names)
    if not sum(weights):
        raise BadRequestError("objectives", "objectives: one must be above 0.")
    return weights
