"""Amortised posteriors as the papers' formulas have them, layer by layer, in PyTorch.

A stand-in for libraries and for the code of van den Berg et al. (2018): constraints
within each layer, batched products for each image, Bjorck's iteration for all layers at
once, up to 100 times, with a look at the residual each time. "sample" draws from each
of `BATCH_SIZE` posteriors with the density, "step" takes the gradients of the
divergence from a standard normal as well.
"""

import functools

SIZE, BATCH_SIZE, NUM_COLUMNS, NUM_REFLECTIONS, HIDDEN_UNITS = 64, 100, 32, 8, 320
KINDS = ["planar", "radial", "orthogonal", "householder", "triangular", "iaf"]
NUMBERS_OF_LAYERS = [4, 16]


def calls(compile, threads):
    """Returns calls by "KIND K sample" and "KIND K step".

    Args:
      compile: whether PyTorch compiles them.
      threads: how many to use.
    """
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    size, count = SIZE, BATCH_SIZE
    softplus = torch.nn.functional.softplus

    def planar(z, u, w, b):
        inner = (w * u).sum(-1, keepdim=True)
        norm2 = (w**2).sum(-1, keepdim=True)
        u = u + (softplus(inner) - 1.0 - inner) * w / norm2
        h = torch.tanh((w * z).sum(-1, keepdim=True) + b)
        psi_u = (1.0 - h**2) * (w * u).sum(-1, keepdim=True)
        return z + u * h, torch.log(torch.abs(1.0 + psi_u[..., 0]))

    def radial(z, center, alpha, beta):
        alpha, beta = softplus(alpha), softplus(beta)
        beta = beta - alpha
        r = (z - center).norm(dim=-1, keepdim=True)
        h = 1.0 / (alpha + r)
        log_det = (size - 1) * torch.log1p(beta * h) + torch.log1p(
            beta * h - beta * r * h**2)
        return z + beta * h * (z - center), log_det[..., 0]

    def sylvester(z, q, r, r_tilde, b):
        diagonal = torch.diagonal(r, dim1=-2, dim2=-1).tanh()
        other = torch.diagonal(r_tilde, dim1=-2, dim2=-1).tanh()
        r = torch.triu(r, 1) + torch.diag_embed(diagonal)
        r_tilde = torch.triu(r_tilde, 1) + torch.diag_embed(other)
        inner = torch.bmm(z[:, None], torch.bmm(q, r_tilde.mT))[:, 0] + b
        h = torch.tanh(inner)
        step = torch.bmm(h[:, None], torch.bmm(q, r).mT)[:, 0]
        psi = 1.0 + (1.0 - h**2) * diagonal * other
        return z + step, torch.log(torch.abs(psi)).sum(-1)

    def bjorck(q):
        q = q / q.norm(dim=(-2, -1), keepdim=True)
        eye = torch.eye(q.shape[-1])
        for _ in range(100):
            product = torch.matmul(q.mT, q)
            if float((product - eye).detach().norm(dim=(-2, -1)).max()) < 1e-6:
                break
            q = q @ (eye + 0.5 * (eye - product))
        return q

    def reflect(v):
        v = v / v.norm(dim=-1, keepdim=True)
        q = torch.eye(size).expand(v.shape[0], size, size)
        for i in range(v.shape[1]):
            each = v[:, i, :, None]
            q = q - 2.0 * torch.bmm(torch.bmm(q, each), each.mT)
        return q[..., :NUM_COLUMNS]

    class Made(torch.nn.Module):
        def __init__(self):
            super().__init__()
            hidden = HIDDEN_UNITS
            degrees = torch.arange(hidden) % (size - 1)
            index = torch.arange(size)
            self.into = torch.nn.Linear(size, hidden)
            self.context = torch.nn.Linear(size, hidden)
            self.out = torch.nn.Linear(hidden, 2 * size)
            self.into_mask = (degrees[:, None] >= index).float()
            self.out_mask = (index.repeat(2)[:, None] > degrees).float()

        def forward(self, z, context):
            linear = torch.nn.functional.linear
            h = linear(z, self.into.weight * self.into_mask, self.into.bias)
            h = torch.relu(h + self.context(context))
            gate, value = linear(
                h, self.out.weight * self.out_mask, self.out.bias).chunk(2, dim=-1)
            gate = torch.sigmoid(gate + 2.0)
            return gate * z + (1.0 - gate) * value, torch.log(gate).sum(-1)

    columns = [NUM_COLUMNS, NUM_COLUMNS]
    shapes = {
        "planar": [[size], [size], [1]],
        "radial": [[size], [1], [1]],
        "orthogonal": [[size, NUM_COLUMNS], columns, columns, [NUM_COLUMNS]],
        "householder": [[NUM_REFLECTIONS, size], columns, columns, [NUM_COLUMNS]],
        "triangular": [columns, columns, [NUM_COLUMNS]],
        "iaf": [],
    }
    found = {}
    for kind in KINDS:
        for number in NUMBERS_OF_LAYERS:
            nets = torch.nn.ModuleList(
                Made() for _ in range(number if kind == "iaf" else 0))
            parameters = [
                (0.3 * torch.randn(count, size)).requires_grad_() for _ in range(2)]
            layers = [
                (0.3 * torch.randn(number, count, *shape)).requires_grad_()
                for shape in shapes[kind]]
            if kind == "iaf":
                layers = [(0.3 * torch.randn(count, size)).requires_grad_()]

            def draw(
                kind=kind, number=number, nets=nets, first=parameters, rest=layers
            ):
                noise = torch.randn(count, size)
                loc, scale = first[0], softplus(first[1])
                z = loc + scale * noise
                log_prob = -(0.5 * noise**2 + torch.log(scale)).sum(-1)
                values = list(rest)
                if kind == "orthogonal":
                    values[0] = bjorck(values[0])
                if kind == "householder":
                    values[0] = [reflect(v) for v in values[0]]
                if kind == "triangular":
                    eye = torch.eye(size)[:, :NUM_COLUMNS]
                    values = [[
                        (eye.flip(0) if i % 2 else eye).expand(count, -1, -1)
                        for i in range(number)], *values]
                for i in range(number):
                    if kind == "iaf":
                        z, log_det = nets[i](z, values[0])
                        z = z.flip(-1)
                    else:
                        layer = dict(planar=planar, radial=radial).get(kind, sylvester)
                        z, log_det = layer(z, *(value[i] for value in values))
                    log_prob = log_prob - log_det
                return z, log_prob

            def divergence(draw):
                z, log_prob = draw()
                return (log_prob + 0.5 * (z**2).sum(-1)).mean()

            forward = torch.compile(draw) if compile else draw
            loss = functools.partial(divergence, draw)
            loss = torch.compile(loss) if compile else loss
            leaves = [*parameters, *layers, *nets.parameters()]

            def sample(forward=forward):
                with torch.no_grad():
                    forward()

            def step(loss=loss, leaves=leaves):
                torch.autograd.grad(loss(), leaves)

            found[f"{kind} {number} sample"] = sample
            found[f"{kind} {number} step"] = step
    return found
