"""Whether what is traced goes into the body of a loop, for those who care."""

import contextlib
import contextvars

_depth = contextvars.ContextVar("depth_of_loops", default=0)


def in_loop():
    """Returns whether the caller is within `body_of_loop`."""
    return _depth.get() > 0


@contextlib.contextmanager
def body_of_loop():
    """Marks what is traced as the body of a loop."""
    token = _depth.set(_depth.get() + 1)
    try:
        yield
    finally:
        _depth.reset(token)
