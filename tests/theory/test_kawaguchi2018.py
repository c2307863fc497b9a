"""Local minima's values: every claim breaks with its setting; oracles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.infinite.precision import float64
from zoo.theory.claims import judge
from zoo.theory.kawaguchi2018 import CLASSICAL, LINE, PAPER, STATIONARY, VALUES
from zoo.theory.kawaguchi2018_minima import (
    ACTIVATIONS,
    Net,
    Problem,
    orthogonal_terms,
    outputs,
    value,
)
from zoo.theory.kawaguchi2018_sweeps import accepted, principal

CLAIMS = {claim.name: claim for claim in PAPER.claims}
BY_SIZE = [name for name in CLAIMS if name.startswith(("width-", "depth-"))]


def verdict(name, arrays):
    return judge(CLAIMS[name], arrays).verdict


@pytest.fixture(scope="module")
def sound():
    return STATIONARY.run(**STATIONARY.sizes["smoke"])


@pytest.fixture(scope="module")
def with_tanh_outputs():
    return STATIONARY.run(**STATIONARY.sizes["smoke"], readout="tanh")


# An end whose unit runs off to infinity may pass the filter: nearly holds.
EXACT = ["formula", "kinked-formula", "relative-formula", "decomposition", "below"]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXACT)
def test_the_formula_holds_and_needs_a_linear_last_layer(
    sound, with_tanh_outputs, name
):
    assert verdict(name, sound) == "holds"
    assert verdict(name, with_tanh_outputs) in ("violated", "inconclusive")
    means = [judge(CLAIMS[name], a).mean for a in (sound, with_tanh_outputs)]
    assert means[1] < means[0] if name == "below" else means[1] > means[0]


@pytest.mark.slow
def test_ends_of_all_kinds_are_counted(sound):
    """At kinks the gradient stays, so that they are not taken for minima."""
    share = accepted(sound).mean(axis=(0, 1, 3, 4))
    assert np.any(share > 0.1) and np.any(share < 0.9)
    kinks = ~accepted(sound)[:, :, list(ACTIVATIONS).index("relu")]
    assert np.median(sound["gradient"][:, :, 2][kinks]) > 1e-3


@pytest.fixture(scope="module")
def untrained():
    size = VALUES["synthetic"].sizes["smoke"]
    return VALUES["synthetic"].run(**size, trained=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in BY_SIZE if "width" in name])
def test_values_fall_with_width_only_where_minima_are_sought(untrained, name):
    assert verdict(name, untrained) in ("violated", "inconclusive")


@pytest.mark.slow
def test_values_rise_from_the_deep_to_the_shallow():
    size = VALUES["synthetic"].sizes["smoke"] | {"widths": (1,)}
    found = VALUES["synthetic"].run(**size)
    assert verdict("depth-synthetic", found) == "holds"
    turned = found | {"deep": found["deep"][:, ::-1]}
    depths = [name for name in BY_SIZE if "depth" in name]
    assert {verdict(name, turned) for name in depths} == {"violated"}


@pytest.mark.slow
def test_values_fall_with_width():
    size = VALUES["digits"].sizes["smoke"] | {"depths": (1,)}
    assert verdict("width-digits", VALUES["digits"].run(**size)) == "holds"


@pytest.mark.slow
def test_a_classical_model_is_matched_only_with_its_structure():
    size = CLASSICAL.sizes["smoke"]
    arrays = CLASSICAL.run(**size)
    assert {verdict(name, arrays) for name in ("linear", "basis")} == {"holds"}
    broken = CLASSICAL.run(**size | {"width": 1, "steps": 3}, skip=False)
    for name in ("linear", "basis"):
        assert verdict(name, broken) in ("violated", "inconclusive")


@pytest.mark.slow
def test_the_line_needs_random_labels():
    size = LINE.sizes["smoke"]
    assert verdict("line-start", LINE.run(**size)) == "holds"
    broken = LINE.run(**size, random=False)
    assert verdict("line-start", broken) in ("violated", "inconclusive")


@pytest.mark.slow
def test_the_line_is_a_bound_where_descents_end():
    size = LINE.sizes["smoke"]
    assert verdict("line", LINE.run(**size)) == "holds"
    assert verdict("line", LINE.run(**size | {"steps": 3})) == "violated"


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("sigma", range(len(ACTIVATIONS)))
def test_value_matches_differences_and_least_squares(sigma, skip):
    with float64():
        rng = np.random.default_rng(sigma)
        net, x = Net(3, 4, 2, 2, skip=skip), rng.standard_normal((9, 3))
        y, alive = rng.standard_normal(18), np.array([1.0, 1.0, 1.0, 0.0])
        on = Problem(jnp.asarray(x), jnp.asarray(y), jnp.asarray(alive), sigma)
        theta = np.asarray(net.start(jax.random.key(3)))
        found = value(net, jnp.asarray(theta), on)
        f = jax.jit(lambda theta: outputs(net, theta, on))
        h = 1e-6
        J = np.stack(
            [
                (np.asarray(f(theta + h * e)) - np.asarray(f(theta - h * e))) / (2 * h)
                for e in np.eye(net.size)
            ],
            axis=1,
        )
        left = y - J @ np.linalg.lstsq(J, y, rcond=1e-7)[0]
        assert np.isclose(found.induced, left @ left / (y @ y), atol=1e-8)
        r = np.asarray(f(theta)) - y
        assert np.isclose(found.loss, r @ r / (y @ y))
        assert np.isclose(1 - np.sum(found.terms), found.induced, atol=1e-9)


def test_outputs_match_numpy():
    """By hand: units that are not alive are as if they were not there."""
    with float64():
        rng = np.random.default_rng(0)
        net, x = Net(3, 4, 2), rng.standard_normal((5, 3))
        theta = rng.standard_normal(net.size)
        alive = jnp.asarray([1.0, 1.0, 0.0, 0.0])
        on = Problem(jnp.asarray(x), jnp.zeros(5), alive, 0)
        W1, W2, W3 = np.split(theta, [12, 28])
        h = np.tanh(x @ W1.reshape(4, 3)[:2].T)
        h = np.tanh(h @ W2.reshape(4, 4)[:2, :2].T)
        want = h @ W3[:2]
        np.testing.assert_allclose(outputs(net, jnp.asarray(theta), on), want)


def test_terms_are_the_drops_of_successive_least_squares():
    """Also where columns depend on earlier ones, or are 0."""
    with float64():
        rng = np.random.default_rng(1)
        J, y = rng.standard_normal((12, 6)), rng.standard_normal(12)
        J[:, 2], J[:, 4] = J[:, 0] - 2 * J[:, 1], 0.0
        norm = np.linalg.norm(J, axis=0)
        J = J / np.where(norm > 0, norm, 1)
        left = [y @ y]
        for j in range(6):
            A = J[:, : j + 1]
            r = y - A @ np.linalg.lstsq(A, y, rcond=1e-9)[0]
            left.append(r @ r)
        terms = orthogonal_terms(jnp.asarray(J), jnp.asarray(y))
        np.testing.assert_allclose(terms, -np.diff(left), atol=1e-12)
        assert terms[2] == terms[4] == 0


def test_principal_components_keep_the_products_of_low_rank_points():
    rng = np.random.default_rng(2)
    x = rng.standard_normal((30, 3)) @ rng.standard_normal((3, 8))
    z, x = principal(x, 3), x - x.mean(0)
    np.testing.assert_allclose(z @ z.T, x @ x.T * 90 / np.sum(x**2), atol=1e-9)
