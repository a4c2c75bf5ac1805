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
    """
    check_servable(model.manifest)
    (booster,) = model.ensemble.boosters
    described: dict[str, Any] = json.loads(booster.save_raw("json"))
    parameters = described["learner"]["learner_model_param"]
    (base,) = np.atleast_1d(json.loads(parameters["base_score"])).tolist()
    parameters["base_score"] = repr([float(expit(logit(base) + model.manifest.prior_shift))])
    shifted = xgb.Booster()
    shifted.load_model(bytearray(json.dumps(described).encode()))
    return bytes(shifted.save_raw("ubj"))
