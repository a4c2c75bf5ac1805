"""Make of a model the one file that SageMaker's XGBoost container loads, so that it answers with our scores."""

import json
from typing import Any

import numpy as np
from scipy.special import expit, logit

from models.boosting import xgboost as xgb
from models.endpoint import check_servable
from models.model import Model


def container_model(model: Model) -> bytes:
    """The booster in UBJ with the prior shift of the manifest in its base score.

    Added to the container's answer instead, which is a float32 probability, the shift would multiply its rounding: a
    score near 1 was off by 1e-6. Raises ConfigurationError as ``check_servable``.

    The base score is written as a plain number: XGBoost before 3.1, which AWS's images hold, takes the list of one that
    later ones write for 0.5 without a word, and every newer one reads both.
    """
    check_servable(model.manifest)
    (booster,) = model.ensemble.boosters
    described: dict[str, Any] = json.loads(booster.save_raw("json"))
    parameters = described["learner"]["learner_model_param"]
    (base,) = np.atleast_1d(json.loads(parameters["base_score"])).tolist()
    parameters["base_score"] = repr([float(expit(logit(base) + model.manifest.prior_shift))])
    shifted = xgb.Booster()
    shifted.load_model(bytearray(json.dumps(described).encode()))
    written = json.loads(shifted.save_config())["learner"]["learner_model_param"]["base_score"]
    content = bytes(shifted.save_raw("ubj"))
    listed, plain = (b"base_score" + _text(each) for each in (written, written.strip("[]")))
    assert content.count(listed) == 1
    return content.replace(listed, plain)


def _text(text: str) -> bytes:
    """A string of UBJSON as XGBoost writes it."""
    return b"SL" + len(text).to_bytes(8) + text.encode()
