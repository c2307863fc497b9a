"""Regression problems of unlimited size, whose targets are known functions.

The target function never changes: the seed draws the points alone.
"""

import dataclasses

import numpy as np
from jaxtyping import Float, Float32
from scipy.special import erf

from zoo.data.base import Dataset, check_counts, generators, on_sphere

TEACHER_SEED = 1995  # the teacher's own weights
TEACHER_WIDTH = 32


def sphere(
    n_train: int, n_test: int, seed: int = 0, d: int = 10, k: int = 1
) -> Dataset:
    r"""Uniform points on the sphere of radius sqrt(d); cubic polynomials as targets.

        y_j = c (x_j + x_j x_{j+1} + x_j x_{j+1} x_{j+2}),      indices modulo d,
        c^-2 = 1 + d / (d + 2) + d^2 / ((d + 2) (d + 4))

    One term of each degree 1 to 3, uncorrelated on the sphere; c gives each output the
    mean 0 and the variance 1, and different outputs are uncorrelated.

    Raises:
        ValueError: d < 4 (the terms of two outputs would meet) or k not in 1 .. d.
    """
    check_counts(n_train, n_test, seed)
    if d < 4:
        raise ValueError(f"sphere needs d >= 4, got d={d}.")
    if not 1 <= k <= d:
        raise ValueError(f"sphere needs 1 <= k <= d={d}, got k={k}.")
    for_train, for_test = generators(seed)
    x_train = on_sphere(for_train.standard_normal((n_train, d)))
    x_test = on_sphere(for_test.standard_normal((n_test, d)))
    return Dataset("sphere", x_train, _cubic(x_train, k), x_test, _cubic(x_test, k))


def heavy_tailed(
    n_train: int, n_test: int, seed: int = 0, d: int = 10, k: int = 1, dof: float = 5.0
) -> Dataset:
    r"""The directions and targets of `sphere`, with radii of heavy tails.

        x = sqrt((nu - 2) / chi^2_nu) z,    z ~ N(0, 1)^d,    y(x) = y(sqrt(d) x / |x|)

    Student's t in d dimensions with nu = `dof` degrees of freedom, scaled to the
    covariance of `sphere`, the identity, so that |x|^2 = d in expectation. Its higher
    even moments are larger, and infinite from the order nu on:

        E |x|^4 = d (d + 2) (nu - 2) / (nu - 4)  (nu > 4),    d^2 on the sphere.

    A seed gives the same directions and targets as it gives `sphere`: the two differ in
    |x| alone.

    Raises:
        ValueError: dof <= 2 (no second moment), or what `sphere` refuses.
    """
    if not dof > 2:
        raise ValueError(f"heavy_tailed needs dof > 2, got dof={dof}.")
    data = sphere(n_train, n_test, seed, d, k)
    x_train, x_test = (
        _student(rng, n, d, dof)
        for rng, n in zip(generators(seed), (n_train, n_test), strict=True)
    )
    return dataclasses.replace(
        data, name="heavy_tailed", x_train=x_train, x_test=x_test
    )


def _student(
    rng: np.random.Generator, n: int, d: int, dof: float
) -> Float32[np.ndarray, "n d"]:
    """Rows of Student's t with identity covariance; z is that of `sphere`'s draw."""
    (radii,) = rng.spawn(1)  # of its own, so that points do not depend on n
    z = rng.standard_normal((n, d))
    chi = radii.chisquare(dof, size=(n, 1))
    return (z * np.sqrt((dof - 2) / chi)).astype(np.float32)


def _cubic(x: Float[np.ndarray, "e d"], k: int) -> Float32[np.ndarray, "e k"]:
    """The targets of `sphere`."""
    d = x.shape[1]
    variance = 1 + d / (d + 2) + d**2 / ((d + 2) * (d + 4))
    x = x.astype(np.float64)
    after, second = np.roll(x, -1, axis=1), np.roll(x, -2, axis=1)
    y = x * (1 + after * (1 + second)) / np.sqrt(variance)
    return y[:, :k].astype(np.float32)


def teacher(
    n_train: int, n_test: int, seed: int = 0, d: int = 10, k: int = 1
) -> Dataset:
    r"""Gaussian inputs, labelled by a fixed network with one hidden layer.

        y_j = c_j sum_i A_ji erf(h_i / sqrt 2),    h = W x / sqrt(d),    x ~ N(0, 1)^d

    with 32 hidden units and all entries of W and A drawn once from N(0, 1): the "soft
    committee machine" of Saad & Solla (1995), "On-line learning in soft committee
    machines". c_j gives each output the variance 1 over the inputs; its mean is 0, as
    erf is odd. Inputs are not scaled: |x|^2 / d has the mean 1 and the sd sqrt(2 / d).

    Raises:
        ValueError: d < 1 or k < 1.
    """
    check_counts(n_train, n_test, seed)
    if d < 1 or k < 1:
        raise ValueError(f"teacher needs d >= 1 and k >= 1, got d={d}, k={k}.")
    for_train, for_test = generators(seed)
    x_train = for_train.standard_normal((n_train, d)).astype(np.float32)
    x_test = for_test.standard_normal((n_test, d)).astype(np.float32)
    y_train, y_test = _committee(x_train, k), _committee(x_test, k)
    return Dataset("teacher", x_train, y_train, x_test, y_test)


def _committee(x: Float[np.ndarray, "e d"], k: int) -> Float32[np.ndarray, "e k"]:
    """The targets of `teacher`."""
    d = x.shape[1]
    W, A = _teacher_weights(d, k)
    return (erf(x @ W.T / np.sqrt(2 * d)) @ A.T).astype(np.float32)


def _teacher_weights(
    d: int, k: int
) -> tuple[Float[np.ndarray, "m d"], Float[np.ndarray, "k m"]]:
    """W, and A with c_j multiplied in.

    With S = W W' / d, the covariance of the hidden units' inputs, Saad & Solla (1995):

        E[g(h_i) g(h_l)] = 2/pi arcsin(S_il / sqrt((1 + S_ii) (1 + S_ll)))
    """
    rng = np.random.default_rng(TEACHER_SEED)
    W = rng.standard_normal((TEACHER_WIDTH, d))
    A = rng.standard_normal((k, TEACHER_WIDTH))
    S = W @ W.T / d
    scale = np.sqrt(1 + np.diag(S))
    covariance = 2 / np.pi * np.arcsin(S / np.outer(scale, scale))
    return W, A / np.sqrt(np.einsum("ji,il,jl->j", A, covariance, A))[:, None]
