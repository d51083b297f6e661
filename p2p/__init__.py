"""Authenticated links that carry opaque bytes between nodes (NODE §1).

This package knows nothing of consensus or of the ledger's rules; it imports ``ledger.errors``, ``ledger.codec`` only.
From the wire upwards: ``hello`` (clear) and ``noise`` (the handshake), ``frames`` (cutting, interleaving by class), all
sans-I/O; ``handshake`` and ``link`` (one connection); ``network`` (who is dialled, admitted, banned); above it
``requests`` (question and answer) and ``gossip`` (transactions).
"""
