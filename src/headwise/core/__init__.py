"""The Transformer itself, to be read in this order: packed, spec, kernels, attention, transformer; then prepacked
(inference) and padded (export)."""
