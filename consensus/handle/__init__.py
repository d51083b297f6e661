"""One file for each input of the core. A handler records what it was told; ``consensus.progress`` derives what
follows.
"""
