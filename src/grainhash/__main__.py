"""`python -m grainhash` is `grainhash`."""

from grainhash.cli import main

main()
