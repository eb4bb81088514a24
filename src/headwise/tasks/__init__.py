"""One file per task: the columns it needs, its loss, how its outputs are read, its metrics."""
