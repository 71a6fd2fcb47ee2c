"""The file of a release's recall channels: .npz, without pickle. Written after training, read when a release is loaded.

A release names each channel's class by its ``form``: one of `FORMS`, or the kind of a model that is served by a class
of its own (`ChannelRecipe.served_as`).
"""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from data_exchange_center import plugins
from data_exchange_center.channels import (
    Arrays,
    Channel,
    ChannelSet,
    HistorySum,
    StoredVectors,
)

FORMS: Final[Mapping[str, type[Channel]]] = {
    served.form: served for served in (HistorySum, StoredVectors)
}


def pack_channels(channels: ChannelSet) -> bytes:
    """Serialize channels."""
    arrays = {
        "itemids": channels.item_numbers,
        "names": np.array([each.name for each in channels.channels], np.str_),
        "forms": np.array([each.form for each in channels.channels], np.str_),
    }
    for channel in channels.channels:
        for key, array in channel_arrays(channel).items():
            arrays[f"{channel.name}.{key}"] = array
    buffer = io.BytesIO()
    # np.savez's headers depend on the version of Python
    with zipfile.ZipFile(buffer, "w") as file:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getbuffer())
    return buffer.getvalue()


def channel_arrays(channel: Channel) -> dict[str, NDArray[Any]]:
    """All fields of a channel but the name. A tuple of arrays is ``key.0``, ``key.1``, ..."""
    arrays = {}
    for each in fields(channel):
        value = getattr(channel, each.name)
        if isinstance(value, tuple):
            for n, part in enumerate(value):
                arrays[f"{each.name}.{n}"] = np.asarray(part)
        elif each.name != "name":
            arrays[each.name] = np.asarray(value)
    return arrays


def unpack_channels(raw: bytes) -> ChannelSet:
    """Inverse of `pack_channels`. Raises ValueError when ``raw`` is no such file, or a form has no plugin."""
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as stored:
            arrays = dict(stored)
        forms = dict(
            zip(arrays["names"].tolist(), arrays["forms"].tolist(), strict=True)
        )
        channels = tuple(_read(name, form, arrays) for name, form in forms.items())
        return ChannelSet(arrays["itemids"], channels)
    except (KeyError, OSError, TypeError, ValueError, EOFError) as error:
        raise ValueError(f"these are no channels ({error})") from error


def _read(name: str, form: str, arrays: Arrays) -> Channel:
    """Make a channel of its arrays; single numbers are numbers again. Raises TypeError when one is absent."""
    values: dict[str, Any] = {}
    for key, array in arrays.items():
        if key.startswith(f"{name}."):
            field_name, _, position = key[len(name) + 1 :].partition(".")
            if position:
                values[field_name] = (*values.get(field_name, ()), array)
            else:
                values[field_name] = array if array.ndim else array.item()
    served = FORMS.get(form) or plugins.part(
        plugins.load(plugins.MODELS, form), "served_as"
    )
    channel: Channel = served(name=name, **values)
    return channel
