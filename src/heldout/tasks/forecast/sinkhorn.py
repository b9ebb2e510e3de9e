"""Entropic optimal transport: Sinkhorn's iterations, which Newton's steps end where they are slow."""

from __future__ import annotations

import warnings

import numpy as np

TOLERANCE = 1e-4
"""Share of the mass that may lie where the marginals do not want it."""

MAX_ITERATIONS = 5000

_AIM = 1e-9  # share of the mass that a balanced plan is solved to
_ROUGH = 1e-3  # share of the mass to which single precision goes
_FIRST = 10  # iterations before the first step of Newton
_NEAR = 0.3  # share of the mass below which a step of Newton is tried
_STEPS = (1.0, 0.25, 0.06)
_LITTLE = 0.9  # of what is off: a step of Newton that leaves more did not help
_WAIT = 20  # iterations after such a step; twice as many each time
_MOST_PRODUCTS = 200  # in one step of Newton
_LONGEST = 10.0  # powers of e by which a step of Newton changes a factor
_LARGE = 1e10  # factors beyond this move into the potentials
_SMALLEST = 1e-8  # share of a cell in single precision
_STEEPEST = 1e4  # range of the cost over eps in single precision
_CHECKED_EVERY = 50  # iterations with a free marginal
_DEAD = 300.0
"""Powers of e by which a cell can have fewer descendants than another cell."""


def shares(weights: np.ndarray) -> np.ndarray:
    """Weights that sum to 1."""
    return np.asarray(weights / weights.sum())


def sinkhorn(cost: np.ndarray, a: np.ndarray, eps: float, rho: float) -> tuple[np.ndarray, float, float, int]:
    """Plan (n0 × n1) between the marginal ``a`` and the even marginal, its errors, and the number of iterations.

    With a finite ``rho`` the first marginal is free at rho times its Kullback-Leibler divergence from ``a``.
    """
    b = np.full(cost.shape[1], 1 / cost.shape[1])
    # POT warns about what the errors show. Factors of a plan that is far from converged can overflow.
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        plan, wanted, n_iterations = _balanced(cost, a, b, eps) if np.isinf(rho) else _unbalanced(cost, a, b, eps, rho)
    rows = plan.sum(axis=1)
    if not (rows > 0).all():
        msg = "The plan of some cells underflows. Raise epsilon, or give growth that differs less."
        raise ValueError(msg)
    return plan, _off(rows, wanted), _off(plan.sum(axis=0), b), n_iterations


def _off(got: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(got - wanted).sum())


def _balanced(cost: np.ndarray, a: np.ndarray, b: np.ndarray, eps: float) -> tuple[np.ndarray, np.ndarray, int]:
    """Plan, its intended first marginal, and number of iterations.

    The first potentials leave a 1 in each row and column of the kernel: from zeros, a row far from all others
    underflows. The first iterations are in single precision, which is twice as fast. They end far from its limit.
    """
    f = cost.min(axis=1)
    g = (cost - f[:, None]).min(axis=0)
    n_iterations = 0
    if a.min() > _SMALLEST and np.ptp(cost) < _STEEPEST * eps:
        rough = _Scaling(cost.astype(np.float32), a, b, eps, f, g)
        rough.solve(_ROUGH)
        f, g, n_iterations = *rough.potentials(), rough.n_iterations
    scaling = _Scaling(cost, a, b, eps, f, g, n_iterations)
    scaling.solve(_AIM)
    return scaling.plan(), a, scaling.n_iterations


class _Scaling:
    """Factors ``u`` of the rows and ``v`` of the columns of a kernel, which give it the marginals ``a`` and ``b``.

    Rows always have their marginal. An iteration of Sinkhorn gives the columns theirs, and then the rows again. Where
    mass flows slowly between groups of cells, it takes thousands of these. A step of Newton solves for all columns at
    once, by conjugate gradients, whose products cost as much as an iteration each. Factors move into the potentials
    before they overflow, as in ``sinkhorn_stabilized`` of POT, whose import takes seconds.

    Parameters
    ----------
    cost
        Cost (n0 × n1), whose type decides the precision.
    a, b
        Marginals, (n0,) and (n1,).
    eps
        Strength of the entropy.
    f, g
        Potentials to start from, (n0,) and (n1,).
    n_iterations
        Iterations so far.
    """

    def __init__(
        self,
        cost: np.ndarray,
        a: np.ndarray,
        b: np.ndarray,
        eps: float,
        f: np.ndarray,
        g: np.ndarray,
        n_iterations: int = 0,
    ) -> None:
        self.cost, self.eps, self.f, self.g = cost, eps, f, g
        self.a, self.b = a.astype(cost.dtype), b.astype(cost.dtype)
        self.n_iterations = n_iterations
        self._new_kernel()

    def _new_kernel(self) -> None:
        self.kernel = _kernel(self.cost, self.f, self.g, self.eps)
        self._rough = self.kernel.astype(np.float32, copy=False)
        self.v = np.ones_like(self.b)
        self.u = self._rows(self.v)

    def _rows(self, v: np.ndarray) -> np.ndarray:
        """Factors of the rows for factors of the columns."""
        return np.asarray(self.a / (self.kernel @ v))

    def potentials(self) -> tuple[np.ndarray, np.ndarray]:
        """Potentials that include the factors, float64."""
        u, v = self.u.astype(np.float64), self.v.astype(np.float64)
        return self.f + self.eps * np.log(u), self.g + self.eps * np.log(v)

    def plan(self) -> np.ndarray:
        """The plan, in the memory of the kernel."""
        self.kernel *= self.u[:, None]
        self.kernel *= self.v
        return self.kernel

    def solve(self, aim: float) -> None:
        """Iterate until at most this share of the mass is in the wrong columns.

        Single precision gives up where a step of Newton does not help.
        """
        wait, next_wait = max(0, _FIRST - self.n_iterations), _WAIT
        while self.n_iterations < MAX_ITERATIONS:
            sums = self.u @ self.kernel
            columns = self.v * sums
            off = _off(columns, self.b)
            if off <= aim or not np.isfinite(off):
                return
            if wait <= 0 and off < _NEAR:
                after = self._newton(columns, off)
                if after > _LITTLE * off:
                    if self.kernel.dtype == np.float32 or after <= TOLERANCE:
                        return
                    self._rough = self.kernel
                    wait, next_wait = next_wait, 2 * next_wait
            else:
                self.v = self.b / sums
                self.u = self._rows(self.v)
                self.n_iterations += 1
                wait -= 1
            if not (max(self.u.max(), self.v.max()) < _LARGE and min(self.u.min(), self.v.min()) > 1 / _LARGE):
                self.f, self.g = self.potentials()
                self._new_kernel()

    def _newton(self, columns: np.ndarray, off: float) -> float:
        """Take a step towards the right columns, if it brings them nearer. Return what is off afterwards."""
        self.n_iterations += 1
        direction = self._direction(columns, max(min(0.1, off), 1e-4))
        for step in _STEPS:
            v = self.v * np.exp((step * direction).clip(-_LONGEST, _LONGEST))
            u = self._rows(v)
            after = _off(v * (u @ self.kernel), self.b)
            if after < off:
                self.u, self.v = u, v
                return after
        return off

    def _direction(self, columns: np.ndarray, tolerance: float) -> np.ndarray:
        """Change of the logarithms of ``v`` that corrects the columns, if rows follow, to first order.

        If plan P has row sums a and column sums c, this is the x with (diag(c) - P' diag(1 / a) P) x = b - c. Single
        precision is enough, because the columns are summed again after each step.
        """
        error = self.b - columns
        scale = np.abs(error).sum()
        kernel = self._rough
        left, v, c, residual = (x.astype(kernel.dtype) for x in (self.u**2 / self.a, self.v, columns, error / scale))
        found = np.zeros_like(residual)
        along = residual / c
        gradient = residual @ along
        for _ in range(_MOST_PRODUCTS):
            product = c * along - v * ((left * (kernel @ (v * along))) @ kernel)
            curvature = along @ product
            if not curvature > 0:
                break
            found += gradient / curvature * along
            residual -= gradient / curvature * product
            if np.abs(residual).sum() <= tolerance:
                break
            scaled = residual / c
            before, gradient = gradient, residual @ scaled
            along = scaled + gradient / before * along
        return np.asarray(found.astype(self.v.dtype) * scale)


def _kernel(cost: np.ndarray, f: np.ndarray, g: np.ndarray, eps: float) -> np.ndarray:
    """exp((f + g - cost) / eps), in one matrix of the type of the cost."""
    plan = cost * np.asarray(-1 / eps, dtype=cost.dtype)
    plan += (f / eps).astype(cost.dtype)[:, None]
    plan += (g / eps).astype(cost.dtype)
    if plan.dtype == np.float32:
        np.maximum(plan, -60.0, out=plan)  # factors stay finite
    return np.asarray(np.exp(plan, out=plan))


def _unbalanced(
    cost: np.ndarray, a: np.ndarray, b: np.ndarray, eps: float, rho: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Plan, first marginal that the next iteration would give it, and number of iterations.

    POT runs for few iterations at a time, each time at a cost less the potentials so far, which keeps small ``eps``
    from underflowing. The problem stays the same if the free marginal p pays for the potentials f of its cells: rho
    KL(p | a) + p·f is, up to a constant, rho KL(p | a exp(-f / rho)). Its factor is free, as the mass is that of ``b``.
    """
    import ot  # imports torch

    power = rho / (rho + eps)
    g, n_iterations = (cost - cost.min(axis=1, keepdims=True)).min(axis=0), 0
    while n_iterations < MAX_ITERATIONS:
        n_steps = min(_CHECKED_EVERY, MAX_ITERATIONS - n_iterations)
        left = cost - g
        least = left.min(axis=1)
        f = least - eps * np.minimum((least - least.min()) / (rho + eps), _DEAD)  # about what it becomes
        left -= f[:, None]
        plan, log = ot.unbalanced.sinkhorn_unbalanced(
            np.maximum(_softmax(np.log(a) - f / rho), np.exp(-_DEAD)),
            b,
            left,
            eps,
            (rho, np.inf),
            c=np.broadcast_to(1.0, cost.shape),  # the entropy of the plan itself, as without ``unbalanced``
            numItermax=n_steps,
            stopThr=0,
            log=True,
        )
        g, n_iterations = g + eps * log["logv"], n_iterations + n_steps
        marginal = plan.sum(axis=1)
        wanted = np.log(a) - (f + eps * log["logu"]) / rho
        after = _softmax((1 - power) * np.log(marginal) + power * wanted)
        if _off(marginal, after) <= TOLERANCE:
            break
    return plan, after, n_iterations


def _softmax(logarithms: np.ndarray) -> np.ndarray:
    return shares(np.exp(logarithms - logarithms.max()))
