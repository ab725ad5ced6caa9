"""Placement of workloads on a device, such as `GPU:0`.

After all optimizations, the nodes of the graph that was executed must be on the device,
except those that carry arguments, constants and results. Kernels of a GPU that work on
shapes and counters in host memory, as in loops of TensorFlow, count as on the device.
"""

import sys

import tensorflow as tf

from tests.benchmarks import timing

# Nodes that may be on the host: they carry values, and compute none.
CARRIERS = {
    *("_Arg", "_Retval", "Const", "NoOp", "VarHandleOp"),
    *("_Send", "_Recv", "_HostSend", "_HostRecv"),
}


def check(device):
    """Ends the command if TensorFlow lacks a device, and names those that there are."""
    devices = tf.config.list_logical_devices()
    known = [d.name.removeprefix("/device:") for d in devices]
    if device not in known:
        build = tf.sysconfig.get_build_info()
        sys.exit(
            f"`--device` must be one of {known}; got {device}. TensorFlow was built "
            f"for CUDA {build.get('cuda_version')}, cuDNN {build.get('cudnn_version')}."
        )


def describe(device):
    """Returns a sentence on a GPU, or None."""
    if not device.startswith("GPU"):
        return None
    gpu = tf.config.list_physical_devices("GPU")[int(device.split(":")[1])]
    details = tf.config.experimental.get_device_details(gpu)
    capability = details.get("compute_capability")
    return f"{details.get('device_name')}, compute capability {capability}"


def caller(device):
    """Returns a function that calls a function and waits for its result."""

    def wait_for(function, *arguments):
        function(*arguments)
        tf.test.experimental.sync_devices()

    # On a CPU, a compiled function returns when its result is ready.
    return (lambda f, *x: f(*x)) if device.startswith("CPU") else wait_for


def check_placement(name, candidates, device):
    """Executes each candidate on a GPU once.

    Raises:
      RuntimeError: a node that computes, a variable or a result is on another device.
    """
    if device.startswith("CPU"):
        return
    for function, *arguments in candidates.values():
        for node in misplaced(nodes_of(function, arguments, device), device):
            raise RuntimeError(
                f"All nodes of `{name}` must be on {device}; got {node.op} {node.name} "
                f"on {node.device}."
            )


def nodes_of(function, arguments, device):
    """Executes a function in both modes, and returns the nodes of the executed graph.

    Raises:
      RuntimeError: a variable or a result is on another device.
    """
    from tensorflow.python.eager import context

    nodes = []
    for jit_compile in timing.MODES.values():
        compiled = timing.compiled(function, jit_compile)
        context.enable_graph_collection()
        results = compiled(*arguments)
        graphs = context.export_run_metadata().function_graphs
        context.disable_graph_collection()
        variables = compiled.get_concrete_function(*arguments).variables
        for value in [*variables, *tf.nest.flatten(results)]:
            if not _is_on(value.device, device):
                raise RuntimeError(
                    f"Variables and results must be on {device}; got shape "
                    f"{value.shape} on {value.device}."
                )
        if not jit_compile:
            partitions = [p for graph in graphs for p in graph.partition_graphs]
            nodes = [node for partition in partitions for node in partition.node]
    if not nodes:
        raise RuntimeError("TensorFlow must report the executed graph; got none.")
    return nodes


def misplaced(nodes, device):
    """Returns the nodes that compute on another device."""
    return [
        node
        for node in nodes
        if not _is_on(node.device, device) and node.op not in CARRIERS
    ]


def step_memory(compiled, arguments, device):
    """Returns the bytes of a step on a GPU, above what the device holds before it."""
    wait_for = caller(device)
    wait_for(compiled, *arguments)
    tf.config.experimental.reset_memory_stats(device)
    before = tf.config.experimental.get_memory_info(device)["current"]
    wait_for(compiled, *arguments)
    return tf.config.experimental.get_memory_info(device)["peak"] - before


def _is_on(full_name, device):
    return full_name.endswith(f"/device:{device}")
