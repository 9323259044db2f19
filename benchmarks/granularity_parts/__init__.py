"""What benchmarks/granularity.py is made of."""
