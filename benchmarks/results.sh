#!/usr/bin/env bash
# The runs behind the README's table of results, one at a time.
#   benchmarks/results.sh NAME DATA OUT [E5]
# NAME is one of those below. DATA holds a folder for each set, the classifications and stsb with .tsv files, conll2003
# and cluener with .jsonl files ({"tokens": [...], "tags": [...]} a line); several_intents is made of clinc150. E5 is a
# directory with multilingual-e5-small, for the Chinese ones.
set -euo pipefail
headwise=${HEADWISE:-.venv/bin/headwise} python=${PYTHON:-.venv/bin/python}
name=${1:?name of a run} data=$2/$1 out=$3

case $name in
sst2)
  $headwise train "$data/train.tsv" --valid "$data/dev.tsv" --test "$data/test.tsv" --out "$out" ;;
chnsenticorp)
  $headwise train "$data/train.tsv" --valid "$data/dev.tsv" --test "$data/test.tsv" --out "$out" --model "$4" \
    --epochs 1.5 --dropout 0 --batch-size 16 --learning-rate 5e-5 --max-length 256 --eval-steps 225 ;;
banking77)
  $headwise train "$data/train.tsv" --test "$data/test.tsv" --out "$out" --batch-size 16 --epochs 8 ;;
conll2003)
  $python examples/conll_locations.py "$data" "$out-tokens"
  $headwise train "$out-tokens/train.tsv" --valid "$out-tokens/dev.tsv" --test "$out-tokens/test.tsv" --out "$out" \
    --text-column token --pair-column sentence --metric weighted_f1 --eval-steps 260 ;;
entities)
  data=$2/conll2003
  $headwise train "$data/train.jsonl" --valid "$data/dev.jsonl" --test "$data/test.jsonl" --out "$out" \
    --epochs 8 --learning-rate 2e-4 --eval-steps 439 ;;
cluener)  # its test rows are not labelled: the report is about dev, a tenth of train chooses the weights
  $headwise train "$data/train.jsonl" --test "$data/dev.jsonl" --out "$out" --model "$4" --epochs 8 \
    --batch-size 16 --learning-rate 2e-4 --eval-steps 605 ;;
stsb)
  $headwise train "$data/train.tsv" --valid "$data/dev.tsv" --test "$data/test.tsv" --out "$out" --epochs 8 \
    --batch-size 16 --learning-rate 2e-4 ;;
mrpc)
  $headwise train "$data/train.tsv" --test "$data/test.tsv" --out "$out" --epochs 4 ;;
rte)
  for seed in 1 2 3 4 5; do
    $headwise train "$data/train.tsv" --test "$data/dev.tsv" --out "$out-$seed" --epochs 3 --seed $seed
  done ;;
afqmc)  # its test rows are not labelled: the report is about dev, a tenth of train chooses the weights
  $headwise train "$data/train.tsv" --test "$data/dev.tsv" --out "$out" --model "$4" --few-shot --epochs 1 ;;
several_intents)
  $python benchmarks/several_intents.py "$2/clinc150" "$out-messages" banking credit_cards
  $headwise train "$out-messages/train.tsv" --valid "$out-messages/val.tsv" --test "$out-messages/test.tsv" \
    --label-separator "|" --out "$out" --epochs 30 --learning-rate 3e-4 ;;
*)
  echo "no run is called $name" >&2; exit 2 ;;
esac
