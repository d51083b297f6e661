"""The process: storage, mempool, verifier pool, executor, sync, HTTP API, metrics (NODE §2)."""
