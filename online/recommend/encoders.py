"""The user vectors of channels with an encoder: a model in Triton makes them, before recall."""

from dataclasses import replace

from data_exchange_center import wire
from data_exchange_center.candidates import StoredUser
from data_exchange_center.channels import ChannelSet
from data_exchange_center.features import Float32
from data_exchange_center.manifest import Manifest
from online.clients.base import NEVER, Client, Deadline
from online.clients.triton import EncoderQuery
from online.recommend.outcomes import UNUSABLE, unusable


def encoded(
    encoder: Client[EncoderQuery, Float32],
    manifest: Manifest,
    channels: ChannelSet,
    user: StoredUser,
    timestamp: int,
    deadline: Deadline = NEVER,
    *,
    strict: bool = True,
) -> StoredUser:
    """The user, with the vector of each channel whose encoder knows an event of the history.

    Raises ServiceError, StoredError for a state that is unusable.
    """
    try:
        inputs = channels.encoder_inputs(user.history, user.profile, timestamp)
    except UNUSABLE as error:
        raise unusable(user, error) from error
    vectors = dict(user.vectors)
    for channel, tensors in inputs.items():
        model = wire.encoder_model(channel, manifest.release)
        query = EncoderQuery(tensors, model, manifest.vector_dims[channel])
        vectors[channel] = encoder.call(query, deadline, strict=strict)
    return replace(user, vectors=vectors)
