"""Tell the chance that a share, of missing values or of alerts, differs as much where nothing has changed."""

import numpy as np
from scipy import special, stats


def p_value(reference: tuple[float, float], observed: tuple[float, float]) -> float:
    """Fisher's exact test of two shares, each (how many, of how many): twice the smaller side.

    Exact at any count, so that a feature which was never missing is found out by the first dozen. Effective counts,
    which need not be whole, are rounded.
    """
    (hits, rows), (new_hits, new_rows) = ([round(count) for count in share] for share in (reference, observed))
    both = hits + new_hits
    if both in (0, rows + new_rows):
        return 1.0
    law = rows + new_rows, both, new_rows
    fewer, more = stats.hypergeom.cdf(new_hits, *law), stats.hypergeom.sf(new_hits - 1, *law)
    return float(min(1.0, 2 * min(fewer, more)))


def critical(alpha: float, reference: tuple[float, float], observed: tuple[float, float]) -> float:
    """The difference of two such shares that chance exceeds with the probability ``alpha``, by the normal law."""
    (hits, rows), (new_hits, new_rows) = reference, observed
    share = (hits + new_hits) / (rows + new_rows)
    return float(special.ndtri(1 - alpha / 2) * np.sqrt(share * (1 - share) * (1 / rows + 1 / new_rows)))


def beyond(limit: float, observed: tuple[float, float]) -> float:
    """The chance of at least so many where the true share is no more than ``limit``."""
    hits, rows = (round(count) for count in observed)
    return float(special.bdtrc(hits - 1, rows, limit)) if hits else 1.0
