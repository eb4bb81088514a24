"""A model behind FastAPI and transformers' pipeline, as most tutorials write it: what serving.py compares with.

    python benchmarks/pipeline_server.py RUN PORT [float32 or bfloat16]

Its endpoint is a plain function, so FastAPI answers as many requests at once as it has threads.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline

torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
app = FastAPI()
dtype = getattr(torch, sys.argv[3] if len(sys.argv) > 3 else "float32")
classify = pipeline("text-classification", model=sys.argv[1], top_k=None, dtype=dtype)


class Asked(BaseModel):
    """A request."""

    inputs: str


@app.post("/predict")
def predict(asked: Asked) -> Any:
    """The score of each label."""
    return classify(asked.inputs, truncation=True)


@app.get("/health")
def health() -> str:
    """Whether it is there."""
    return "ok"


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]), access_log=False)
