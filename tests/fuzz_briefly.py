"""Some hundred cases of `benchmarks.fuzz`, and a table of their outcomes; exit code 1 for a fault.

A process of its own begins no threads before it is forked, as that of the tests has.
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.fuzz import Case, fuzz, make_inputs_apart, outcome_table, shared_out
from benchmarks.fuzz_readers import (
    array_readers,
    data_readers,
    folder_readers,
    image_readers,
    record_readers,
    video_readers,
)
from benchmarks.fuzz_watch import run_watched

# What is not known to be whole is read by a process begun for it: no such files here.
GUARDED = ("MATLAB", "edited", "without checksum")


def main() -> int:
    readers = [*image_readers(), *video_readers(), *data_readers(), *array_readers(), *folder_readers()]
    readers += record_readers()
    readers = [reader for reader in readers if not any(word in reader.name for word in GUARDED)]
    counts = {reader.name: Counter() for reader in readers}
    faults = []
    with tempfile.TemporaryDirectory() as name:
        make_inputs_apart(Path(name))
        cases = [
            Case(reader, number, 0)
            for reader, count in zip(readers, shared_out(readers, 100), strict=True)
            for number in range(count)
        ]
        for case, outcome in fuzz(Path(name), cases):
            counts[case.reader.name][outcome.kind] += 1
            if outcome.is_fault:
                faults.append(f"{case.name}: {outcome.kind} {outcome.detail}")
    print(outcome_table(counts).text(), *faults, sep="\n")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(run_watched(main, "tests.fuzz_briefly"))
