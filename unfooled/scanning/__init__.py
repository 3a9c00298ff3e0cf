"""From a file to a verdict with its evidence: one file, or a million."""
