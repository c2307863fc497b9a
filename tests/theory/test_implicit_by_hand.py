"""Implicit networks: what each claim is judged by, recomputed in NumPy.

Draws are the file's own, from the same keys; all else is written out again.
"""

import jax
import numpy as np
import pytest
from scipy import integrate, special

from zoo.infinite.precision import float64
from zoo.theory import (
    feng2020,
    find_papers,
    gao2022,
    gao2023,
    kawaguchi2021,
    ling2022_measure,
    winston2020,
)


def samples(paper, name, arrays):
    """What a claim is judged by."""
    (found,) = find_papers(paper)
    (claim,) = (claim for claim in found.claims if claim.name == name)
    return claim.samples(arrays)


def keys(seed, salt, parts):
    return jax.random.split(jax.random.fold_in(jax.random.key(seed), salt), parts)


def sphere(key, n):
    x = np.asarray(jax.random.normal(key, (n, n)), float)
    return x * n**0.5 / np.linalg.norm(x, axis=1, keepdims=True)


def signs(key, n):
    return np.asarray(jax.random.rademacher(key, (n,)), float)


def settle(A, u, rounds=200):
    """The z of z = relu(A z + u), column by column."""
    z = np.zeros_like(u)
    for _ in range(rounds):
        z = np.maximum(A @ z + u, 0)
    return z


def adjoint(A, z, g):
    """dPhi/du of z = relu(A z + u), from g = dPhi/dz: the implicit derivative."""
    columns = []
    for on, down in zip((z > 0).T, g.T, strict=True):
        columns.append(on * np.linalg.solve(np.eye(len(A)) - A.T * on, down))
    return np.stack(columns, axis=1)


def ling_state(p, x, y):
    z = settle(p["W"], p["U"] @ x.T)
    r = p["a"] @ z - y
    q = adjoint(p["W"], z, np.outer(p["a"], r))
    down = {"W": q @ z.T, "U": q @ x, "a": z @ r}
    return r, down, np.linalg.norm(p["W"], 2), np.linalg.eigvalsh(z.T @ z)[0]


def gao_state(p, x, y):
    m, d = p["U"].shape
    v = p["U"] @ x.T / d**0.5
    A = gao2022.GAMMA / m * p["W"]
    z = settle(A, np.maximum(v, 0))
    r = p["a"] @ z / m**0.5 - y
    q = adjoint(A, z, np.outer(p["a"], r) / m**0.5)
    down = {"W": gao2022.GAMMA / m * q @ z.T, "U": q * (v > 0) @ x / d**0.5}
    down["a"] = z @ r / m**0.5
    return r, down, np.linalg.norm(A, 2), np.linalg.eigvalsh(z.T @ z / m)[0]


def training_by_hand(state, params, x, y, eta, steps, times):
    """The claims' quantities over the steps in `times`."""
    phi, slope, norm, low = [], [], [], []
    for _ in range(steps + 1):
        r, down, size, smallest = state(params, x, y)
        phi.append(0.5 * r @ r)
        slope.append(sum(np.sum(g**2) for g in down.values()))
        norm.append(size)
        low.append(smallest)
        params = {k: params[k] - eta * down[k] for k in params}
    phi, slope, norm, low = (np.take(a, times) for a in (phi, slope, norm, low))
    bound = (1 - eta * low[0] / 2) ** times * phi[0]
    return {
        "posed": norm.max(),
        "kept": low.min() / low[0],
        "rate": (phi / bound)[1:].max(),
        "gradient": (2 * low * phi / slope).max(),
    }


SETTINGS = {  # width, points, and the rate in units of the paper's
    "ling2022": (12, 4, 1.0),
    "gao2022": (16, 4, 3.0),
}


@pytest.mark.parametrize("paper", SETTINGS)
def test_descent_of_implicit_networks_by_hand(paper):
    m, n, share = SETTINGS[paper]
    steps, size = 9, {"seeds": 2, "steps": 9, "share": share}
    if paper == "ling2022":
        arrays = ling2022_measure.measure_training((m,), n=n, **size)
        state, eta = ling_state, share / (n * m)
        draw = lambda key: ling2022_measure.draw(key, m, n, 2.0)  # noqa: E731
    else:
        arrays = gao2022.measure_training((n,), ratio=m // n, **size)
        state, eta = gao_state, share / n
        draw = lambda key: gao2022.draw(key, m, n)  # noqa: E731
    each = []
    for seed in range(2):
        for_x, for_y, for_w = keys(seed, m, 3)
        start = {k: np.asarray(v, float) for k, v in draw(for_w).items()}
        x, y = sphere(for_x, n), signs(for_y, n)
        each.append(training_by_hand(state, start, x, y, eta, steps, arrays["times"]))
    names = set(each[0]) - ({"gradient"} if paper == "gao2022" else set())
    for name in names:
        got, expected = samples(paper, name, arrays), [one[name] for one in each]
        np.testing.assert_allclose(got, expected, rtol=5e-4, err_msg=name)


def test_scales_of_the_draws():
    """Variances of many entries, within five standard errors."""
    p = ling2022_measure.draw(jax.random.key(3), 200, 300, 2.0)
    sizes = {"W": 2 * 0.08 / 200, "U": 2 / 300, "a": 1 / 200}
    for name, variance in sizes.items():
        ratio = np.mean(np.asarray(p[name]) ** 2) / variance
        assert abs(ratio - 1) < 5 * (2 / p[name].size) ** 0.5
    p = gao2022.draw(jax.random.key(3), 200, 300)
    for name, array in p.items():
        ratio = np.mean(np.asarray(array) ** 2)
        assert abs(ratio - 1) < 5 * (2 / array.size) ** 0.5, name


def test_norm_and_limit_of_equilibria_by_hand():
    """|W| / (2 sqrt2 s), and lambda_0 / (m lambda*) with K from its fixed point."""
    m, n, s2 = 12, 4, 0.08
    norm = samples("ling2022", "norm", ling2022_measure.measure_depth(m, 2, n, 2))
    gram = ling2022_measure.measure_gram((m,), 2, n)
    for seed in range(2):
        for_x, for_w = keys(seed, m, 2)
        with float64():
            W = np.asarray(ling2022_measure.draw(for_w, m, n, 2.0)["W"])
        expected = np.linalg.norm(W, 2) / (2 * 2**0.5 * s2**0.5)
        np.testing.assert_allclose(norm[seed], expected, rtol=1e-6)
        p, x = ling2022_measure.draw(for_w, m, n, 2.0), sphere(for_x, n)
        z = settle(*(np.asarray(a, float) for a in (p["W"], p["U"] @ x.T)))
        c = cos = x @ x.T / n
        for _ in range(200):
            clipped = np.clip(c, -1, 1)
            Q = np.sqrt(1 - clipped**2) + (np.pi - np.arccos(clipped)) * clipped
            c = s2 * Q / np.pi + (1 - s2) * cos
        K = Q / np.pi / (1 - s2)
        expected = np.linalg.eigvalsh(z.T @ z)[0] / (m * np.linalg.eigvalsh(K)[0])
        got = samples("ling2022", "smallest", gram)[seed]
        np.testing.assert_allclose(got, expected, rtol=1e-3)
        off = np.linalg.norm(z.T @ z / m - K) / np.linalg.norm(K)
        np.testing.assert_allclose(gram["error"][seed, 0], off, rtol=1e-4)


def test_iteration_and_slope_of_monotone_operators_by_hand():
    m, n, steps = 8, 2, 60
    arrays = winston2020.measure_roots(m, 2, n, steps)
    for seed in range(2):
        with float64():
            for_w, for_u, for_z = keys(seed, m, 3)
            A, B = (np.asarray(winston2020.draw(for_w, m, 1)[k]) for k in "AB")
            u, other = np.asarray(jax.random.normal(for_u, (2, m, n)))
            far = 10 * np.asarray(jax.random.normal(for_z, (m, n)))
        W = -A.T @ A / 3 / m + (B - B.T) / (3 * m) ** 0.5  # mu = 1
        L = np.linalg.norm(np.eye(m) - W, 2)

        def run(z, u, W=W, L=L):
            out = [z]
            for _ in range(2 * steps):
                z = np.maximum(z + (W @ z + u - z) / L**2, 0)
                out.append(z)
            return np.array(out)

        path, times = run(np.zeros((m, n)), u), arrays["steps"]
        gone = np.linalg.norm(path - path[-1], axis=(1, 2)) / np.linalg.norm(path[-1])
        bound = (1 - 1 / L**2) ** (np.arange(len(path)) / 2)
        expected = (gone / np.maximum(bound, 1e-12))[times[1:]].max()
        got = samples("winston2020", "iteration", arrays)[seed]
        np.testing.assert_allclose(got, expected, rtol=1e-6)
        np.testing.assert_allclose(arrays["bound"][seed], bound[times], rtol=1e-9)
        slope = np.linalg.norm(path[-1] - run(far, other)[-1]) / np.linalg.norm(
            u - other
        )
        got = samples("winston2020", "lipschitz", arrays)[seed]
        np.testing.assert_allclose(got, slope, rtol=1e-6)


def test_preconditioner_along_a_flow_of_our_own():
    """D = J J^T of W = B U^-1, J by differences; the flow by LSODA."""
    m, k, n, g, span = 3, 2, 8, 0.9, 0.3
    arrays = kawaguchi2021.measure_flow(((m, k, n, g),), 1, span)
    with float64():
        shapes = ((m, m), (k, m), (n, m), (n, k))
        drawn = zip(keys(0, m, 4), shapes, strict=True)
        A, B, x, y = (np.asarray(jax.random.normal(key, s)) for key, s in drawn)
    kappa = 2 * np.linalg.svd(x)[1][-1] ** 2
    unit = m * (1 + g) ** 2
    times = span * unit / (2 * kappa) * np.append(0.0, np.geomspace(0.01, 1, 12))

    def jacobian(p):
        def of(p):
            A, B = p[: m * m].reshape(m, m), p[m * m :].reshape(k, m)
            S = np.exp(A) / np.exp(A).sum(axis=0)
            return (B @ np.linalg.inv(np.eye(m) - g * S)).ravel()

        sides = [(of(p + h) - of(p - h)) / 2e-5 for h in 1e-5 * np.eye(len(p))]
        return of(p).reshape(k, m), np.array(sides).T

    def slope(t, p):
        W, J = jacobian(p)
        return -J.T @ (2 * (W @ x.T - y.T) @ x).ravel()

    start, low, excess = np.concatenate([A.ravel(), B.ravel() * m**-0.5]), [], []
    flow = integrate.solve_ivp(
        slope, (0, times[-1]), start, "LSODA", times, rtol=1e-6, atol=1e-8
    )
    best = np.sum((x @ np.linalg.lstsq(x, y, rcond=None)[0] - y) ** 2)
    for p in flow.y.T:
        W, J = jacobian(p)
        low.append(np.linalg.eigvalsh(J @ J.T)[0])
        excess.append(np.sum((x @ W.T - y) ** 2) - best)
    excess = np.array(excess) / excess[0]
    lowest = np.minimum.accumulate(low)
    expected = {
        "preconditioner": max(1 / unit / np.array(low)),
        "rate": (excess / np.exp(-2 * kappa * lowest * times))[1:].max(),
        "uniform": (excess / np.exp(-2 * kappa * times / unit))[1:].max(),
    }
    for name, value in expected.items():
        got = samples("kawaguchi2021", name, arrays)
        np.testing.assert_allclose(got, [value], rtol=2e-3, err_msg=name)


def test_diagonal_of_the_kernel_is_the_gradients_square():
    """|df(x)|^2 over 1 + 1 / (1 - s^2), backpropagation through 8 tied layers."""
    m, n, s, d = 16, 2, 0.6, 5
    arrays = feng2020.measure_kernel((m,), 2, n)
    for seed in range(2):
        shapes = ((m, m), (m, d), (m,))
        drawn = zip(keys(seed, m, 3), shapes, strict=True)
        W, U, v = (np.asarray(jax.random.normal(k, s), float) for k, s in drawn)
        squares = []
        for x in feng2020.points(n):
            assert np.isclose(x @ x, d)
            z, past = np.zeros(m), []
            for _ in range(8):
                h = s / m**0.5 * W @ z + ((1 - s**2) / d) ** 0.5 * U @ x
                past.append((z, h))
                z = 2**0.5 * np.maximum(h, 0)
            of_W, of_U, g = np.zeros((m, m)), np.zeros((m, d)), v / m**0.5
            for before, h in past[::-1]:
                b = g * 2**0.5 * (h > 0)
                of_W += s / m**0.5 * np.outer(b, before)
                of_U += ((1 - s**2) / d) ** 0.5 * np.outer(b, x)
                g = s / m**0.5 * W.T @ b
            squares.append(np.sum(of_W**2) + np.sum(of_U**2) + z @ z / m)
        expected = np.mean(squares) / (1 + 1 / (1 - s**2))
        got = samples("feng2020", "mean", arrays)[seed]
        np.testing.assert_allclose(got, expected, rtol=1e-4)


def test_outputs_and_their_distance_from_a_gaussian_by_hand():
    """V h* . c over (c^T Sigma* c)^1/2 of drawn networks, and Kolmogorov's distance."""
    m, n, count, s = 8, 2, 5, 0.6
    arrays = gao2023.measure_outputs(m, 1, count, n)
    x = gao2023.points(n)
    nodes, weights = np.polynomial.hermite_e.hermegauss(50)
    weights = weights / weights.sum()
    cos = S = x @ x.T / 10
    for _ in range(60):
        sigma = np.zeros_like(S)
        for i, j in np.ndindex(S.shape):
            a, c = S[i, i] ** 0.5, S[i, j] / S[i, i] ** 0.5
            rest = np.sqrt(max(S[j, j] - c**2, 0.0))
            inner = np.tanh(c * nodes[:, None] + rest * nodes) @ weights
            sigma[i, j] = weights @ (np.tanh(a * nodes) * inner)
        S = s**2 * sigma + cos
    for_c, for_nets = keys(0, m, 2)
    c, outputs = np.asarray(jax.random.normal(for_c, (n,)), float), []
    for key in jax.random.split(for_nets, count):
        for_V, for_rest = jax.random.split(key)
        for_W, for_U = jax.random.split(for_rest)
        W, U, V = (
            np.asarray(jax.random.normal(k, shape), float)
            for k, shape in ((for_W, (m, m)), (for_U, (m, 10)), (for_V, (m,)))
        )
        h = np.zeros((m, n))
        for _ in range(300):
            h = np.tanh(s / m**0.5 * W @ h + U @ x.T / 10**0.5)
        outputs.append(V @ h @ c / m**0.5 / (c @ sigma @ c) ** 0.5)
    np.testing.assert_allclose(arrays["outputs"][0], outputs, rtol=1e-4, atol=1e-5)
    below = special.ndtr(np.sort(outputs))
    steps = np.arange(count)
    sup = max((below - steps / count).max(), ((steps + 1) / count - below).max())
    factor = count**0.5 + 0.12 + 0.11 / count**0.5  # sqrt(N), by Stephens 1970
    got = samples("gao2023", "gaussian", arrays)
    np.testing.assert_allclose(got, [factor * sup], rtol=1e-4)
