"""Checks of parameters and inputs, as the layers of this package make them.

For layers of your own: parameters of one dtype that may be variables, shapes that fit,
values in their support, and errors that name argument, expectation and value.
"""

from tfp_flows._dtypes import check_dtype
from tfp_flows._parameters import (
    FINITE,
    POSITIVE,
    as_parameters,
    assert_condition,
    assert_parameters,
    broadcast_batch,
    check_broadcasts,
    check_input,
    check_shapes,
)

__all__ = [
    "FINITE",
    "POSITIVE",
    "as_parameters",
    "assert_condition",
    "assert_parameters",
    "broadcast_batch",
    "check_broadcasts",
    "check_dtype",
    "check_input",
    "check_shapes",
]
