"""Layers by the formulas of their papers in PyTorch, for all points or for each."""

import torch
from torch.nn import functional


def planar(z, u, w, b):
    """Equation 10 of Rezende and Mohamed (2015), with appendix A.1."""
    inner = _inner(w, u)
    norm2 = _inner(w, w)
    u = u + ((functional.softplus(inner) - 1.0 - inner) / norm2)[..., None] * w
    h = torch.tanh(_inner(w, z) + b)
    log_det = torch.log1p((1.0 - h**2) * _inner(w, u))
    return z + u * h[..., None], log_det


def radial(z, center, alpha, beta):
    """Equation 14 of Rezende and Mohamed (2015), with appendix A.2."""
    alpha, beta = functional.softplus(alpha), functional.softplus(beta)
    beta = beta - alpha
    offset = z - center
    r = offset.norm(dim=-1)
    h = 1.0 / (alpha + r)
    log_det = (z.shape[-1] - 1) * torch.log1p(beta * h) + torch.log1p(
        beta * h - beta * r * h**2
    )
    return z + (beta * h)[..., None] * offset, log_det


def radial_inverse(y, center, alpha, beta):
    """Its inverse: the norm `r` solves a quadratic equation."""
    alpha, beta = functional.softplus(alpha), functional.softplus(beta)
    beta = beta - alpha
    offset = y - center
    norm = offset.norm(dim=-1)
    b = alpha + beta - norm
    root = torch.sqrt(b**2 + 4.0 * alpha * norm)
    r = torch.where(b > 0.0, 2.0 * alpha * norm / (b + root), 0.5 * (root - b))
    h = 1.0 / (alpha + r)
    log_det = (y.shape[-1] - 1) * torch.log1p(beta * h) + torch.log1p(
        beta * h - beta * r * h**2
    )
    return center + offset / (1.0 + beta * h)[..., None], -log_det


def sylvester(z, q, r, r_tilde, b):
    """Equation 13 of van den Berg et al. (2018), on diagonals within (-1, 1)."""
    diagonal = torch.diagonal(r, dim1=-2, dim2=-1).tanh()
    other = torch.diagonal(r_tilde, dim1=-2, dim2=-1).tanh()
    r = torch.triu(r, 1) + torch.diag_embed(diagonal)
    r_tilde = torch.triu(r_tilde, 1) + torch.diag_embed(other)
    if q.dim() == 2:
        h = torch.tanh(z @ (q @ r_tilde.mT) + b)
        step = h @ (q @ r).mT
    else:  # for each point
        h = torch.tanh(torch.bmm(z[:, None], torch.bmm(q, r_tilde.mT))[:, 0] + b)
        step = torch.bmm(h[:, None], torch.bmm(q, r).mT)[:, 0]
    psi = 1.0 + (1.0 - h**2) * diagonal * other
    return z + step, torch.log(torch.abs(psi)).sum(-1)


def _inner(w, z):
    return z @ w if w.dim() == 1 else (w * z).sum(-1)
