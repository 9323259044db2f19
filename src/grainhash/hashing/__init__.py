"""Features to bits: the hash function that a gallery runs, and the methods that fit one."""
