"""What is told of weights in a file that do not fit."""

import numpy as np


def save_number(parts, store):
    """Saves how many parts there are, which save their own variables."""
    store["parts"] = np.array(len(parts))


def check_number(owner, parts, store):
    """Raises `ValueError` if a file has more parts than a layer or model."""
    number = int(store["parts"][()]) if "parts" in store.keys() else 0
    complain(
        owner,
        store,
        None
        if number <= len(parts)
        else (
            f"Weights for `{owner.name}` must be of {len(parts)} parts; "
            f"got {number} in the file."
        ),
    )


def complain(layer, store, message):
    """Raises `ValueError` if there is a message.

    Keras goes on after an error, and looks for the weights of the layer in another
    place of the file, where there are none. Then the first error is the one to tell.
    """
    first = vars(layer).get("_complaint")
    if first is not None and not list(store.keys()):
        message = first
    vars(layer)["_complaint"] = message
    if message is not None:
        raise ValueError(message)
