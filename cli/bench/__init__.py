"""``huzhu bench``: what a network of real processes does on this machine, as ratios to bare probes of the same run."""
