"""Labelled pictures to an encoder folder: on cached features of a frozen network, or end to end.

Nothing here is imported by the serving path; PyTorch is needed for the end-to-end modules alone.
"""
