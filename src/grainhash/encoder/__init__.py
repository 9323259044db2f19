"""Pictures to codes: granules are cut, a network sees each, a hash function turns features to bits."""

from grainhash.encoder.encoder import Encoder

__all__ = ["Encoder"]
