"""Residual stacks whose branch has no weights behind its activation, or shared ones."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from zoo.infinite.neural_tangents import Kernel
from zoo.layers.base import Finite, Layer, Residual, Serial
from zoo.layers.duals import ACTIVATIONS
from zoo.layers.equilibrium import apply_unseen
from zoo.layers.flow import integrate
from zoo.layers.linear import Affine
from zoo.layers.nonlinear import Nonlinear, elementwise, spread, variances

Means = tuple[jax.Array, jax.Array]


@dataclasses.dataclass(frozen=True)
class ActivatedResiduals(Layer):
    r"""A stack that adds activations.

        h_1 = first phi(u),    h_{l+1} = h_l + scale phi(u_l)

    for the input u and affine maps u_l = A_l(h_l) with weights of their own. Units
    have a mean, mu_l(x) = E h_l(x), so that of two points it is not the activations
    alone that enter the covariance K_l = E h_l h_l'. With (v, v') ~ N(0, cov(u_l)) and
    nu_l = E phi(v),

        mu_{l+1} = mu_l + scale nu_l,
        K_{l+1} = K_l + scale (mu_l nu_l' + nu_l mu_l') + scale^2 E phi(v) phi(v'),
        Theta_{l+1} = Theta_l + scale^2 Theta(u_l) E phi'(v) phi'(v'),

    for a unit of h_l is independent of the same unit of u_l; Theta(u_l) is K_l +
    Theta_l in the NTK parameterization. Derived; held to networks of finite width.

    Args:
        affine: A_l; as wide as the input.
        activation: a name in `ACTIVATIONS`.
        depth: number of branches.
        scale: factor of a branch.
        first: factor of the first activation.
    """

    affine: Affine
    activation: str
    depth: int
    scale: float
    first: float

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The affine map and the activation of a branch."""
        return (self.affine, Nonlinear(self.activation))

    @property
    def smooth(self) -> bool:
        """Whether its activation is."""
        return ACTIVATIONS[self.activation].smooth

    def finite(self, scope: nn.Module, x: Float[Array, "n ..."]) -> jax.Array:
        """Applies the stack to a batch of pre-activations."""
        phi = ACTIVATIONS[self.activation].fn
        h = self.first * phi(x)
        for place in range(self.depth):
            u = Finite(self.affine, name=f"{self.affine.label}_{place}")(h)
            h = h + self.scale * phi(u)
        return h

    def limit(self, k: Kernel) -> Kernel:
        """The recursion above, with the means of both sets of points beside it."""
        phi = Nonlinear(self.activation)
        first, second = self._means(k)
        mu = (self.first * first, self.first * second)
        k = Nonlinear(self.activation, scale=self.first).limit(k)
        for _ in range(self.depth):
            u = self.affine.limit(k)
            u = u.reverse() if u.is_reversed != k.is_reversed else u
            nu = self._means(u)
            k = _add(k, elementwise(u, phi.dual), mu, nu, self.scale)
            mu = (mu[0] + self.scale * nu[0], mu[1] + self.scale * nu[1])
        return k

    def _means(self, u: Kernel) -> Means:
        """E phi(v) at the points of both sets, [n, positions ...]."""
        moment = ACTIVATIONS[self.activation].first_moment
        first = moment(variances(u.cov1, u.diagonal_spatial))
        if u.cov2 is None:
            return first, first
        return first, moment(variances(u.cov2, u.diagonal_spatial))


def _add(k: Kernel, branch: Kernel, mu: Means, nu: Means, scale: float) -> Kernel:
    """The kernel of h + scale * phi, for units of means mu and nu."""

    def total(name: str, i: int, j: int) -> jax.Array:
        cov, new = getattr(k, name), getattr(branch, name)
        (a, b), (c, d) = (
            [spread(means[s], s_is_first, k.diagonal_spatial) for means in (mu, nu)]
            for s, s_is_first in ((i, True), (j, False))
        )
        if name == "nngp":  # [n1, n2, ...], where cov1 and cov2 pair equal points
            a, b, c, d = a[:, None], b[:, None], c[None], d[None]
        return cov + scale * (a * d + b * c) + scale**2 * new

    return k.replace(
        nngp=total("nngp", 0, 1),
        ntk=k.ntk + scale**2 * branch.ntk,
        cov1=total("cov1", 0, 0),
        cov2=None if k.cov2 is None else total("cov2", 1, 1),
    )


@dataclasses.dataclass(frozen=True)
class FixedFeatureResiduals(Layer):
    r"""Steps along fixed features: h_{l+1} = h_l + scale W_l psi(h_l), l < depth.

    psi is one layer with parameters of its own, shared by all steps; W_l are zero at
    initialization, so that h_l = h_0 there, and the limit is that of independent psi.

    Args:
        features: psi, frozen.
        step: W_l, with `zero=True` and as wide as the input.
        depth: number of steps.
        scale: factor of a step.
        flow_steps: 0, or those of a method of order 5 for the flow dh/dt = scale W_l
            psi(h) over unit time, which then takes the place of a step.
    """

    features: Layer
    step: Affine
    depth: int
    scale: float
    flow_steps: int = 0

    def __post_init__(self):
        if not self.step.zero:
            raise ValueError(f"FixedFeatureResiduals needs step.zero, got {self.step}.")

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The features and a step."""
        return (self.features, self.step)

    def finite(self, scope: nn.Module, x: Float[Array, "n ..."]) -> jax.Array:
        """Takes the steps."""
        psi = Finite(self.features, name="features")
        flows = self.flow_steps and not scope.is_initializing()
        for place in range(self.depth):
            name = f"{self.step.label}_{place}"
            if flows:
                x = integrate(self._velocity(scope, name), x, 1.0, self.flow_steps)
            else:
                x = x + self.scale * Finite(self.step, name=name)(psi(x))
        return x

    def _velocity(self, scope: nn.Module, name: str) -> Callable:
        weights = scope.variables["params"]

        def velocity(h: jax.Array) -> jax.Array:
            psi = apply_unseen(self.features, weights["features"], h)
            return self.scale * apply_unseen(self.step, weights[name], psi)

        return velocity

    def limit(self, k: Kernel) -> Kernel:
        """Every step adds its weights' own NTK."""
        step = Residual(Serial(self.features, self.step), self.scale)
        for _ in range(self.depth):
            k = step.limit(k)
        return k
