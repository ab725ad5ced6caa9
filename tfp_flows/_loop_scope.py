"""Whether ops are traced into the body of a loop, where XLA compiles some worse."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Iterator

_depth = contextvars.ContextVar("loop_depth", default=0)


def in_loop() -> bool:
    """Returns whether the caller is within `body_of_loop`."""
    return _depth.get() > 0


@contextlib.contextmanager
def body_of_loop() -> Iterator[None]:
    """Marks the ops that are traced within as the body of a loop."""
    token = _depth.set(_depth.get() + 1)
    try:
        yield
    finally:
        _depth.reset(token)
