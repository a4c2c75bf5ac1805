"""Import XGBoost without scikit-learn, whose wrappers nobody here uses: they cost a process 3 s and 130 MB."""

import sys

_hidden = "sklearn" not in sys.modules
if _hidden:
    # An import of None is refused like that of a package which is not there; XGBoost then does without.
    sys.modules["sklearn"] = None  # type: ignore[assignment]
try:
    import xgboost
finally:
    if _hidden:
        del sys.modules["sklearn"]

__all__ = ["xgboost"]
