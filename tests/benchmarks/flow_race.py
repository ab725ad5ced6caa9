def _race_flows(model, options):
    """Races density, sample and training step of a flow of each library."""
    x = _normal([peers.BATCH_SIZE, peers.SIZE], 6)
    calls = {}
    for library, make in {"ours": _our_flow, "TFP": _tfp_flow}.items():
        for compiler, jit_compile in COMPILERS.items():
            # A flow for each, since they train.
            functions = _functions(*make(model))
            for quantity, function in zip(QUANTITIES, functions):
                compiled = timing.compiled(function, jit_compile)
                arguments = [] if quantity == "sample" else [x]
                calls[f"{library}, {compiler}", quantity] = functools.partial(
                    compiled, *arguments)
    with _Peers(model, options) as others:
        calls |= others.calls
        race = timing.race(calls, options.rounds, options.sample)
    names = list(dict.fromkeys(name for name, _ in calls))

    def cells(entry):
        return [
            [name, *(entry(name, q) if (name, q) in calls else "" for q in QUANTITIES)]
            for name in names
        ]

    headers = [f"`{quantity}`" for quantity in QUANTITIES]
    _table(["", *headers], cells(lambda *key: race.time(key)))
    for compiler in COMPILERS:
        _table([f"over ours, {compiler}", *headers], cells(
            lambda name, q: race.ratio((name, q), (f"ours, {compiler}", q))))


def _functions(distribution, variables, update):
    """Returns functions: log density, sample, and training step."""

    def step(x):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(distribution.log_prob(x))
        update(tape.gradient(loss, variables))
        return loss

    def sample():
        return distribution.sample(peers.BATCH_SIZE, seed=[0, 1])

    return distribution.log_prob, sample, step


class _Adam:
    """Adam of Kingma and Ba (2015), the same for all flows in TensorFlow.

    Args:
      variables: list of variables.
      masks: dictionary of arrays by index, which the new values are multiplied by.
    """

    def __init__(self, variables, masks=None):
        self._variables, self._masks = variables, masks or {}
        self._moments = [
            [tf.Variable(tf.zeros_like(v)) for v in variables] for _ in range(2)
        ]
        self._step = tf.Variable(0.0)

    def __call__(self, gradients):
        step = self._step.assign_add(1.0)
        rate = 1e-5 * tf.sqrt(1.0 - 0.999**step) / (1.0 - 0.9**step)
        for i, (variable, g, m, v) in enumerate(
            zip(self._variables, gradients, *self._moments)
        ):
            mean = m.assign_add(0.1 * (g - m))
            square = v.assign_add(0.001 * (g**2 - v))
            change = rate * mean / (tf.sqrt(square) + 1e-8)
            if i in self._masks:
                variable.assign((variable - change) * self._masks[i])
            else:
                variable.assign_sub(change)


class _Peers:
    """Processes of `peers.py`, one for each library; they wait for their turns."""

    def __init__(self, model, options):
        self._processes = {}
        self.calls = {}
        if options.peers_python is None:
            print("No peers: `--peers-python` names no interpreter.\n")
            return
        environment = dict(os.environ, OMP_NUM_THREADS=str(peers.THREADS))
        for library in options.peers.split(","):
            errors = tempfile.TemporaryFile("w+")  # a pipe that nobody reads would fill
            process = subprocess.Popen(
                [options.peers_python, "-m", "tests.benchmarks.peers", model, library],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors, text=True, env=environment)
            line = process.stdout.readline()
            if not line:  # it has said why, and ended
                process.communicate()
                errors.seek(0)
                reason = errors.read().strip().split("\n")[-1]
                print(f"{library} takes no part: {reason}\n")
                continue
            self._processes[library] = process
            for quantity in json.loads(line):
                self.calls[library, quantity] = functools.partial(
                    _ask, process, quantity)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self._processes.values():
            process.communicate()


def _ask(process, quantity):
    process.stdin.write(f"{quantity}\n")
    process.stdin.flush()
    if process.stdout.readline() != "done\n":
        raise RuntimeError(f"A peer ended in its {quantity}: {process.args}.")


