"""Serving: models behind HTTP, in the shapes that existing clients speak."""
