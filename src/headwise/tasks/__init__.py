"""One file per task: its loss, how its outputs are read, its metrics."""
