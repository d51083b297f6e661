"""The agreement: QBFT's form of PBFT, sans-I/O (CONSENSUS). ``Consensus.step(event) -> list[Effect]`` is the one
door.
"""
