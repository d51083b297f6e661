"""The main job as a client: ``script`` and ``people`` decide, ``run`` acts through the port of ``ledger``, over HTTP by
``client``; ``operations`` hurts the machines, ``report`` says what came of it."""
