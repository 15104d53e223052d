"""What is timed, beside the peers, in one run. `python -m bench` runs everything; see docs/benchmarks.md.

Each benchmark prints a table and keeps its raw figures below bench/results/. Repeats of ours and theirs take turns, so
that a noisy machine is noisy for both. Nothing here is a test: no test asserts a time.
"""
