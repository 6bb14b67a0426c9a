"""The page of a run: its head, its time, its logs, and why it failed."""
