"""The parts of `benchmarks/hamming.py`.

data            codes to search: uniform, clustered, and of real pictures
ways            every way to search them, grainhash's and its peers', behind one signature
bandwidth       how fast this machine reads memory
timing          rounds in which all contenders take turns
exactness       every answer held to the NumPy reference
side_by_side, groups, recall, growth, mapped        what is measured, one stage a file
targets         what was to be reached, and whether it was
page, plots     docs/performance.md and its pictures, from the results
"""
