"""Looking inside: where a model looked, what mattered to its answer, and how far to believe that."""
