"""From a few labelled pictures to labels of all the others, by their codes alone."""

from grainhash.classify.calibration import Calibration, calibration_error
from grainhash.classify.linear import Linear
from grainhash.classify.novelty import Novelty
from grainhash.classify.result import Classification, ClassifyMethod, Evaluation, OfClass, Prediction
from grainhash.classify.run import ClassifySettings, classify
from grainhash.classify.sources import labels_by_key, labels_by_table
from grainhash.classify.vote import Vote

__all__ = [
    "Calibration",
    "Classification",
    "ClassifyMethod",
    "ClassifySettings",
    "Evaluation",
    "Linear",
    "Novelty",
    "OfClass",
    "Prediction",
    "Vote",
    "calibration_error",
    "classify",
    "labels_by_key",
    "labels_by_table",
]
