"""Scanning over HTTP, and the page for it: one process listens, others decode, one folder keeps what is known."""
