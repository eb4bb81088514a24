#!/usr/bin/env bash
# Vectors before and after fine-tuning, one set at a time: benchmarks/retrieval.sh egret|stsb|afqmc DATA OUT [E5]
# DATA holds a folder for each set; E5 is a directory with multilingual-e5-small, for egret and afqmc.
set -euo pipefail
headwise=${HEADWISE:-.venv/bin/headwise} python=${PYTHON:-.venv/bin/python}
name=${1:?egret, stsb or afqmc} data=$2 out=$3

case $name in
egret)
  $python benchmarks/retrieval.py "$data/egret_support_qa/all.tsv" "$out-rows"
  $headwise train "$out-rows/train.tsv" --valid "$out-rows/valid.tsv" --test "$out-rows/test.tsv" --out "$out" \
    --task feature-extraction --model "$4" --query-prefix "query: " --document-prefix "passage: " \
    --batch-size 64 --epochs 1 ;;
stsb)
  $headwise train "$data/stsb/train.tsv" --valid "$data/stsb/dev.tsv" --test "$data/stsb/test.tsv" --out "$out" \
    --task feature-extraction --epochs 2 ;;
afqmc)
  $headwise train "$data/afqmc/train.tsv" --test "$data/afqmc/dev.tsv" --out "$out" \
    --task feature-extraction --model "$4" --epochs 1 --batch-size 64 ;;
*)
  echo "no run is called $name" >&2; exit 2 ;;
esac
