"""Checking tables of labelled text before anyone trains on them: what is wrong, where, and what to do about it."""
