"""Whole networks in one thread, in virtual time, from a seed (CONSENSUS §7). ``simulator.runner`` is the door."""
