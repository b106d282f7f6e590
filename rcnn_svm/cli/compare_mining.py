r"""Compares what classifiers learn from: the same features, seven ways to choose the examples, several seeds each.

SVMs with random and with hard negatives, and softmax heads with the samplers of the train-head stage. Every
training is tested on the same images. Writes the table (text, CSV, Markdown), the losses (loss.png) and one result
file per training; an interrupted comparison goes on with the trainings that are not done. A training of other
settings in DIR is refused, or replaced with --overwrite.

  rcnn-svm compare-mining --features DIR --test-features DIR --voc VOCdevkit \
    --out cache/comparison
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rcnn_svm.cli.arguments import add_data_arguments, add_overwrite_argument, load_split, positive_int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the stage's arguments."""
    parser.add_argument("--features", metavar="DIR", type=Path, required=True, help="feature cache to train on")
    parser.add_argument(
        "--test-features", metavar="DIR", type=Path, required=True, help="feature cache to test on, of the same kind"
    )
    add_data_arguments(parser, split=False)
    parser.add_argument(
        "--test-split", metavar="NAME", default="test", help="image set of --test-features (default: %(default)s)"
    )
    parser.add_argument("--test-ids", metavar="FILE", type=Path, help="only these images of it, one id a line")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where to write")
    add_overwrite_argument(parser, "trainings in DIR")
    parser.add_argument(
        "--iterations", metavar="N", type=positive_int, default=2000, help="steps of a head (default: %(default)s)"
    )
    parser.add_argument("--seeds", metavar="N", type=positive_int, default=3, help="trainings each (default: 3)")


def run(args: argparse.Namespace) -> None:
    """Train and test what is not done, and write the report."""
    from rcnn_svm.artefacts.claims import claimed
    from rcnn_svm.artefacts.files import check_writable, write_text
    from rcnn_svm.artefacts.identity import say_written
    from rcnn_svm.cache import FeatureCache
    from rcnn_svm.experiments.compare_mining import report
    from rcnn_svm.experiments.compare_mining.comparison import METHODS, MiningComparison
    from rcnn_svm.fast_rcnn.head_training import SHARDS_MAPPED

    comparison = MiningComparison(
        train=FeatureCache.open(args.features, shards_mapped=SHARDS_MAPPED),
        test=FeatureCache.open(args.test_features),
        database=load_split(args, args.test_split, args.test_ids),
        folder=args.out,
        iterations=args.iterations,
        seeds=tuple(range(1, args.seeds + 1)),
        overwrite=args.overwrite,
    )
    check_writable(args.out / "comparison.txt")
    with claimed(args.out / "comparison.txt"):
        results = comparison.run(lambda sentence: print(sentence, flush=True))
        table = report.comparison_table(results, METHODS, args.seeds, args.iterations)
        write_text(args.out / "comparison.txt", table.text() + "\n")
        write_text(args.out / "comparison.md", table.markdown() + "\n")
        write_text(args.out / "comparison.csv", report.comparison_csv(results))
        histories = {name: comparison.histories(method) for method, name in METHODS.items()}
        report.save_comparison_figure({name: runs for name, runs in histories.items() if runs}, args.out / "loss.png")
    print(table.text())
    say_written(args.out, *(args.out / f"comparison.{kind}" for kind in ("txt", "md", "csv")), args.out / "loss.png")
