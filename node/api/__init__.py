"""The HTTP API: REST under ``/v1``, read-only but for submitting (NODE §2). ``server.py`` puts it together."""
