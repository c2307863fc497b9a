"""Formulas as typed on a terminal, with `_{...}` and `^{...}` for what is set apart.

The one rule for figures and tables: a subscript is a word, an asterisk or braces after
a symbol; a superscript is a number, a word, braces or parentheses.
"""

import re

# Longer words that carry subscripts; any other, as in leaky_relu, is part of a name.
SYMBOLS = frozenset(
    "alpha beta gamma delta epsilon eta theta kappa lambda mu nu xi rho sigma tau phi "
    "chi psi omega Gamma Delta Theta Lambda Sigma Phi Psi Omega lam Lam argmin argmax "
    "min max sup inf sum grad softplus".split()
)
SUBSCRIPT = re.compile(r"([A-Za-z]+)?_(?:\{([^{}]*)\}|([A-Za-z0-9]+|\*))")
SUPERSCRIPT = re.compile(r"\^(?:\{([^{}]*)\}|\(([^()]*)\)|(-?[\w./]*\w|[*+](?![\w(])))")


def marked(text: str) -> str:
    """Text whose sub- and superscripts are in braces.

    Parentheses of one letter are an index and stay, those of more are grouping.

    >>> marked("lambda_min(t)^1/2, |w_0 - w_*|^2, max_{k, m} h_{l-1}")
    'lambda_{min}(t)^{1/2}, |w_{0} - w_{*}|^{2}, max_{k, m} h_{l-1}'
    >>> marked("leaky_relu, fashion_mnist: s^(2l) chi_1^(l/2), f^(2)")
    'leaky_relu, fashion_mnist: s^{2l} chi_{1}^{l/2}, f^{(2)}'
    """
    return SUPERSCRIPT.sub(_raised, SUBSCRIPT.sub(_lowered, text))


def _lowered(found: re.Match) -> str:
    base, braced, word = found.groups()
    if base and len(base) > 2 and base not in SYMBOLS:
        return found[0]
    return f"{base or ''}_{{{word if braced is None else braced}}}"


def _raised(found: re.Match) -> str:
    braced, grouped, word = found.groups()
    if grouped is not None:
        return f"^{{{grouped if len(grouped) > 1 else found[2].join('()')}}}"
    return f"^{{{word if braced is None else braced}}}"
