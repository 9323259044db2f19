"""Judging codes: exact metrics, named protocols, diagnostics and reports.

from grainhash.evaluation import PROTOCOLS, evaluate, mean_average_precision
"""

from grainhash.evaluation.diagnostics import CodeDiagnostics, diagnose
from grainhash.evaluation.distances import Asymmetric, Cosine, Hamming
from grainhash.evaluation.judge import Evaluation, judge, mean_average_precision
from grainhash.evaluation.plots import write_pngs
from grainhash.evaluation.protocols import PROTOCOLS, Protocol, Split, protocol
from grainhash.evaluation.run import Comparison, evaluate, evaluate_codes

__all__ = [
    "PROTOCOLS",
    "Asymmetric",
    "CodeDiagnostics",
    "Comparison",
    "Cosine",
    "Evaluation",
    "Hamming",
    "Protocol",
    "Split",
    "diagnose",
    "evaluate",
    "evaluate_codes",
    "judge",
    "mean_average_precision",
    "protocol",
    "write_pngs",
]
