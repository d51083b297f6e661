"""The remote signer: SafetyRules and signing log in a small process of their own, behind a Unix socket (NODE §2)."""
