"""Data: a table of samples (manifest), readers of published folder layouts, and frames ready for a detector."""
