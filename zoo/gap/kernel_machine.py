"""What a kernel says of itself, of the labels, and of points that it has not seen.

    S(K, K') = 1 - <K, K'> / (|K| |K'|)                      kernel distance, in [0, 2],
    A(K)     = <K, Y Y^T> / (|K| |Y Y^T|)                    alignment with the labels,
    f        = K(., X) (K(X, X) + a 1)^+ Y                   kernel machine from f = 0,
    f        = f_t + K(., X) (K(X, X) + a 1)^+ (Y - f_t(X))  the same, onwards from f_t,

with Frobenius products and norms, X the n train points and Y their targets [n, k]; all
k outputs share the kernel. S and A do not change if a kernel is multiplied by a number,
and with a = ridge * trace(K(X, X)) / n neither do the machines. With no ridge ^+ is the
pseudo-inverse (the interpolant of least norm, which is where gradient descent on a
linear model ends), less the eigenvalues that are rounding of a float32 kernel.

Everything here is NumPy in float64, over any leading axes. S is as in Fort et al. 2020
(reviews and restatements of it; the paper was not read in full), A as in Cristianini et
al. 2001, centred as in Cortes, Mohri & Rostamizadeh 2012.
"""

from typing import NamedTuple

import numpy as np

from zoo.data import Dataset

# Chords sqrt(2 S) below this share are rounding of float32 kernels, as elsewhere here.
ROUNDING = 1e-5
SMALLEST = 0.5 * ROUNDING**2  # kernel distance of such a chord


class Spectrum(NamedTuple):
    """Of train kernels [..., n, n]; eigenvalues ascend.

    Attributes:
        values: [..., n].
        vectors: [..., n, n].
    """

    values: np.ndarray
    vectors: np.ndarray


def norm(kernel: np.ndarray) -> np.ndarray:
    """Frobenius norm over the last two axes."""
    return np.asarray(np.sqrt(np.sum(np.square(kernel, dtype=float), axis=(-2, -1))))


def chord(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a/|a| - b/|b|| = sqrt(2 S), without the cancellation of 1 - cos."""
    unit_a = a / norm(a)[..., None, None]
    return norm(unit_a - b / norm(b)[..., None, None])


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """S(a, b) over the last two axes."""
    return np.asarray(0.5 * chord(a, b) ** 2)


def angle(distance: np.ndarray) -> np.ndarray:
    """The angle between two kernels, radians, from their distance S.

    >>> angle(np.array([0.0, 1.0])).round(4).tolist()
    [0.0, 1.5708]
    """
    return np.asarray(2.0 * np.arcsin(np.minimum(np.sqrt(0.5 * distance), 1.0)))


def largest_distance(drift: np.ndarray) -> np.ndarray:
    """The most that S can be, given the drift r = |K - K_0| / |K_0|.

    1 - sqrt(1 - r^2) for r < 1, since the sine of their angle is at most r (derived);
    it is reached where K - K_0 is orthogonal to K, and is r^2 / 2 of a small drift.

    >>> largest_distance(np.array([0.0, 0.6])).round(12).tolist()
    [0.0, 0.2]
    """
    return np.asarray(1.0 - np.sqrt(1.0 - np.minimum(drift, 1.0) ** 2))


def alignment(kernel: np.ndarray, y: np.ndarray, centred: bool) -> np.ndarray:
    """A of train kernels [..., n, n] with targets [n, k].

    Args:
        kernel: K.
        y: Y.
        centred: first takes the mean of features and targets over points away, H K H
            and H Y with H = 1 - 11^T / n. NaN where nothing is left.
    """
    y = np.asarray(y, np.float64)
    kernel = np.asarray(kernel, np.float64)
    if centred:
        y = y - y.mean(0)
        kernel = kernel - kernel.mean(-1, keepdims=True)
        kernel = kernel - kernel.mean(-2, keepdims=True)
    labels = y @ y.T
    scale = norm(kernel) * norm(labels)
    product = np.sum(kernel * labels, axis=(-2, -1))
    return np.where(scale > 0, product / np.where(scale > 0, scale, 1.0), np.nan)


def spectrum(train: np.ndarray) -> Spectrum:
    """Eigenvalues and eigenvectors of train kernels [..., n, n], made symmetric."""
    train = np.asarray(train, np.float64)
    found = np.linalg.eigh((train + np.swapaxes(train, -1, -2)) / 2)
    return Spectrum(found.eigenvalues, found.eigenvectors)


def effective_rank(values: np.ndarray) -> np.ndarray:
    """(sum l)^2 / sum l^2 of eigenvalues [..., n]: n of the identity, 1 of rank one."""
    return np.asarray(np.sum(values, -1) ** 2 / np.sum(values**2, -1))


def top_share(values: np.ndarray, k: int) -> np.ndarray:
    """Share of the k largest of the ascending eigenvalues [..., n] in the trace."""
    return np.asarray(np.sum(values[..., -k:], -1) / np.sum(values, -1))


def resolved(values: np.ndarray) -> np.ndarray:
    """Which of the ascending eigenvalues [..., n] are above float32 rounding.

    It is n eps of the largest one, with eps = 1.2e-7.
    """
    floor = values.shape[-1] * np.finfo(np.float32).eps
    return values > floor * values[..., -1:]


def machine(
    theta: np.ndarray,
    y: np.ndarray,
    ridge: float = 0.0,
    start: np.ndarray | None = None,
    found: Spectrum | None = None,
) -> np.ndarray:
    """The kernel machine on all N points, [..., N, k].

    Args:
        theta: kernel of all points, train points first, with these, [..., N, n].
        y: targets [n, k].
        ridge: a over the mean eigenvalue of the train kernel; 0 is the pseudo-inverse.
        start: outputs from which it is trained onwards, [..., N, k]; None is 0.
        found: `spectrum` of the train kernels, if it is at hand.
    """
    n = theta.shape[-1]
    values, vectors = found or spectrum(theta[..., :n, :])
    kept = resolved(values) if ridge == 0 else np.ones_like(values, bool)
    shifted = values + ridge * np.mean(values, -1, keepdims=True)
    inverse = np.divide(1.0, shifted, np.zeros_like(values), where=kept)
    residual = y if start is None else y - start[..., :n, :].astype(np.float64)
    modes = np.swapaxes(vectors, -1, -2) @ residual
    moved = theta.astype(np.float64) @ (vectors @ (inverse[..., None] * modes))
    return moved if start is None else start + moved


def scores(f: np.ndarray, data: Dataset) -> dict[str, np.ndarray]:
    """On the test points, from outputs on all points [..., N, k].

    `loss` is 1/(2 n) sum_i |f(x_i) - y_i|^2 over them, and `accuracy`, of classes, the
    share whose largest output is the label's.
    """
    tested = f[..., len(data.y_train) :, :].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        apart = np.sum((tested - data.y_test) ** 2, axis=-1)
    found = {"loss": np.asarray(0.5 * np.mean(apart, axis=-1))}
    if data.classes:
        right = np.argmax(tested, -1) == np.argmax(data.y_test, -1)
        found["accuracy"] = np.asarray(np.mean(right, axis=-1))
    return found
