"""Deep hashing on features: losses, heads, and methods that fit a hash function by gradient descent.

PyTorch learns; what comes out is a `HashFunction` that NumPy runs, so nothing on the
serving path imports this package.
"""
