"""Times the works of the benchmarks on a GPU, and checks that nothing runs on the host.

    python -m tests.benchmarks.gpu --json FILE
    python -m tests.benchmarks.gpu --only maf,glow --rounds 5
    python -m tests.benchmarks.gpu --device CPU:0 --only prelu,real_nvp --rounds 3

prints the tables of `python -m tests.benchmarks` for float32, for float32 with products
in TF32, and for the works with networks once more with these in bfloat16 and float16;
it needs no more than TensorFlow with a GPU. The last line rehearses it without one.

First each function of ours runs once as a graph. The nodes of the graph that was run,
after all optimizations, must be on the device, but for those that carry arguments,
constants and results; if any other is not, the script names it and ends with status 1.
Kernels for a GPU that work on shapes and counters in the memory of the host, as
TensorFlow's own loops have, count as on the device. Functions compiled by XLA must
have their results on it. What a format changes is told from the log determinants
of `forward`, against those of float32 without TF32.

Each call waits for its result: a time holds what it takes to launch the kernels. TFP
and the floor compute in float32 in all tables but that of TF32.
"""

import argparse
import contextlib
import functools
import json
import sys
from unittest import mock

import numpy as np
import tensorflow as tf
from tensorflow.python.eager import context

from tests.benchmarks import outcomes, report, timing, works
from tfp_flows import networks

# Dtype of the products of networks, None for that of the weights, and whether products
# of float32 may round to TF32.
ARITHMETIC = {
    "float32": (None, False),
    "TF32": (None, True),
    "bfloat16": (tf.bfloat16, False),
    "float16": (tf.float16, False),
}
NETWORKS = [
    *(networks.MADE, networks.MLP, networks.ResidualMLP),
    *(networks.ConvNet, networks.ResidualConvNet),
]
# What a graph may have on the host: it carries values, and computes none.
CARRIERS = {
    *("_Arg", "_Retval", "Const", "NoOp", "VarHandleOp"),
    *("_Send", "_Recv", "_HostSend", "_HostRecv"),
}


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="GPU:0", help="where all shall run")
    parser.add_argument(
        "--only", default=",".join(works.WORKS), help="works, with commas between"
    )
    parser.add_argument(
        "--arithmetic", default=",".join(ARITHMETIC), help="those to time, likewise"
    )
    parser.add_argument(
        "--rounds", type=int, default=9, help="samples of each time; 0 for none"
    )
    parser.add_argument(
        "--sample", type=float, default=0.01, help="least seconds of a sample"
    )
    parser.add_argument("--json", help="file for what was measured")
    parser.set_defaults(peers_python=None)
    options = parser.parse_args(arguments)
    only, kinds = options.only.split(","), options.arithmetic.split(",")
    for option, given, known in [
        ("only", only, works.WORKS),
        ("arithmetic", kinds, ARITHMETIC),
    ]:
        if set(given) - set(known):
            parser.error(
                f"--{option} must hold names out of {list(known)}; got {given}"
            )
    devices = [
        d.name.removeprefix("/device:") for d in tf.config.list_logical_devices()
    ]
    if options.device not in devices:
        sys.exit(
            f"There is no device {options.device}: TensorFlow sees {devices}, and was "
            f"built for {_libraries()}. `--device CPU:0` rehearses without a GPU."
        )
    tf.get_logger().setLevel("ERROR")  # it warns of one function compiled twice
    print(*facts(options.device), sep="\n\n", end="\n\n")
    with tf.device(options.device):
        inspect(only, kinds, options.device)
        if options.rounds:
            measure(only, kinds, options)


def facts(device):
    """Returns sentences on the machine and on the versions."""
    lines = report.facts()
    if device.startswith("GPU"):
        number = int(device.split(":")[1])
        details = tf.config.experimental.get_device_details(
            tf.config.list_physical_devices("GPU")[number]
        )
        lines.insert(
            0,
            f"{details.get('device_name')}, compute capability "
            f"{details.get('compute_capability')}, {_libraries()}",
        )
    return lines


def _libraries():
    build = tf.sysconfig.get_build_info()
    return f"CUDA {build.get('cuda_version')}, cuDNN {build.get('cudnn_version')}"


@contextlib.contextmanager
def computing_in(kind):
    """Lets networks that are made within have an arithmetic; yields a list of them."""
    dtype, tf32 = ARITHMETIC[kind]
    made = []

    def adjusted(construct):
        @functools.wraps(construct)
        def constructed(self, *args, **kwargs):
            construct(self, *args, **{**kwargs, "compute_dtype": dtype})
            made.append(self)

        return constructed

    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    try:
        with contextlib.ExitStack() as stack:
            for network in NETWORKS:
                construct = adjusted(network.__init__)
                stack.enter_context(mock.patch.object(network, "__init__", construct))
            yield made
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def inspect(names, kinds, device):
    """Prints where the graphs of the works ran, and what formats change.

    Raises:
      SystemExit: a node that computes ran on another device.
    """
    placed, errors, strangers = [], [], []
    for name in names:
        exact = None
        for kind in dict.fromkeys(["float32", *kinds]):
            with computing_in(kind) as made:
                candidates = works.WORKS[name].ours()
                if ARITHMETIC[kind][0] is not None and not made:
                    continue
                print(f"{name}, {kind} ...", file=sys.stderr, flush=True)
                found = log_dets(candidates)  # before a step changes the weights
                if kind != "TF32":  # its graphs are those of float32
                    nodes = [
                        node
                        for function, *given in candidates.values()
                        for node in nodes_of(function, given, device)
                    ]
                    placed.append([f"`{name}`", kind, *count(nodes, device)])
                    strangers += [
                        f"`{name}`, {kind}: {node.op} {node.name} ran on {node.device}"
                        for node in misplaced(nodes, device)
                    ]
            if kind == "float32":
                exact = found
            elif found is not None:
                errors.append([f"`{name}`", kind, *_distances(found, exact)])
    print("### Placement\n")
    report.table(
        ["work", "", "nodes on the device", "carriers elsewhere", "others elsewhere"],
        placed,
    )
    if errors:
        print("### Log determinants against float32\n")
        report.table(
            ["work", "", "error, root of mean square", "largest", "of numbers about"],
            errors,
        )
    if strangers:
        sys.exit("\n".join(strangers))


def nodes_of(function, arguments, device):
    """Runs a function in both modes, and returns the nodes of the graph that was run.

    Raises:
      RuntimeError: a variable or a result is elsewhere, or no graph is to be seen.
    """
    collected = {}
    for mode, jit_compile in report.COMPILERS.items():
        compiled = timing.compiled(function, jit_compile)
        context.enable_graph_collection()  # of graphs as they are run
        results = compiled(*arguments)
        collected[mode] = context.export_run_metadata().function_graphs
        context.disable_graph_collection()
        variables = compiled.get_concrete_function(*arguments).variables
        for value in [*variables, *tf.nest.flatten(results)]:
            if not _is_on(value.device, device):
                raise RuntimeError(
                    f"Variables and results must be on {device}; got one of shape "
                    f"{value.shape} on {value.device}."
                )
    if not collected["graph"]:
        raise RuntimeError("TensorFlow must tell of the graph that it ran; got none.")
    return [
        node
        for graphs in collected["graph"]
        for graph in graphs.partition_graphs
        for node in graph.node
    ]


def misplaced(nodes, device):
    """Returns those that compute on another device."""
    return [
        node
        for node in nodes
        if not _is_on(node.device, device) and node.op not in CARRIERS
    ]


def count(nodes, device):
    """Returns how many are on the device, and carriers and others that are not."""
    here = sum(_is_on(node.device, device) for node in nodes)
    others = len(misplaced(nodes, device))
    return here, len(nodes) - here - others, others


def _is_on(full_name, device):
    return full_name.endswith(f"/device:{device}")


def log_dets(candidates):
    """Returns the log determinants of `forward` as an array, None if there are none."""
    if "forward" not in candidates:
        return None
    function, *arguments = candidates["forward"]
    _, log_det = timing.compiled(function, jit_compile=False)(*arguments)
    return log_det.numpy()


def _distances(found, exact):
    errors = np.abs(found - exact)
    size = np.sqrt(np.mean(exact**2))
    root = np.sqrt(np.mean(errors**2))
    return f"{root:.2g}", f"{np.max(errors):.2g}", f"{size:.3g}"


def measure(names, kinds, options):
    """Times the works, and prints the tables of each arithmetic."""
    found = {"facts": facts(options.device), "works": {}}
    for kind in kinds:
        found["works"][kind] = {}
        for name in names:
            with computing_in(kind):
                outcome = _outcome(name, kind, options)
            if outcome is not None:
                found["works"][kind][name] = outcome
                if options.json:
                    with open(options.json, "w") as file:
                        json.dump(found, file)
        print(f"## {kind}\n")
        outcomes.print_all(found["works"][kind])


def _outcome(name, kind, options):
    """Returns what came out, or None if the work has no network for this format."""
    work = works.WORKS[name]
    if ARITHMETIC[kind][0] is not None:
        with computing_in(kind) as made:
            work.ours()
        if not made:
            return None
    outcome = outcomes.measure(name, options, call=wait_for, memory=False)
    outcome["absent"] = []  # other libraries are not asked
    if work.memory and options.device.startswith("GPU"):
        for compiler, jit_compile in report.COMPILERS.items():
            outcome["memory"][f"ours, {compiler}"] = step_memory(
                work, jit_compile, options.device
            )
    return outcome


def wait_for(function, *arguments):
    """Calls a function, and waits until all devices have done their work."""
    function(*arguments)
    tf.test.experimental.sync_devices()


def step_memory(work, jit_compile, device):
    """Returns the bytes of a training step beyond what the device holds before."""
    function, *arguments = work.ours()["step"]
    compiled = timing.compiled(function, jit_compile)
    wait_for(compiled, *arguments)
    tf.config.experimental.reset_memory_stats(device)
    before = tf.config.experimental.get_memory_info(device)["current"]
    wait_for(compiled, *arguments)
    return tf.config.experimental.get_memory_info(device)["peak"] - before


if __name__ == "__main__":
    main()
