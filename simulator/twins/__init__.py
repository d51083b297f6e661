"""Twins: one of four validators runs twice; every leader and partition of every round (Bano et al., 2020).

``choices`` says what one phase can be, ``state`` what of a network can matter to its future, ``process`` runs the real
core from such a state through one phase, ``search`` visits every state.
"""
