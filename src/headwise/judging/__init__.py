"""Judging a model: scores, the baselines it has to beat, and the report a reader gets."""
