"""The rows beside the published ones, as text, Markdown and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rcnn_svm.experiments.reproduce.published import Published
from rcnn_svm.reports.table import Table, csv_text, percent

STAGES = ("propose", "finetune", "extract", "train", "bbox", "test", "evaluate")
SUMMARY = ("row", "mAP", "published", "difference", "mAP area")


def summary_text(results: Sequence[dict[str, Any]], published: dict[str, Published]) -> str:
    """Return the mean APs as fixed-width text, and a line for every row that could not be made.

    Args:
        results: results of the rows: what `Pipeline.make` returned, or their `row`, `title` and `error`.
        published: title -> published figures.
    """
    done = [result for result in results if "error" not in result]
    lines = [Table(SUMMARY, [_summary(result, published) for result in done]).text()] if done else []
    return "\n".join([*lines, *(f"{r['row']}: not run: {r['error']}" for r in results if "error" in r)])


def table_markdown(results: Sequence[dict[str, Any]], published: dict[str, Published], about: str) -> str:
    """Return the whole report: means, AP by class, deviations; `about` says what was run on what."""
    done = [result for result in results if "error" not in result]
    failed = [result for result in results if "error" in result]
    parts = ["# R-CNN on PASCAL VOC 2007", about]
    if done:
        rows = [_summary(result, published) for result in done]
        parts += ["## Mean average precision", Table(SUMMARY, rows).markdown(), _LEGEND]
        parts += ["## Average precision by class", *_class_tables(done, published)]
        parts += ["## What explains a difference", *_deviations(done)]
    if failed:
        parts += ["## Not run", "\n".join(f"- **{r['title']}** (`{r['row']}`): not run: {r['error']}" for r in failed)]
    return "\n\n".join(parts) + "\n"


_LEGEND = (
    "mAP and published: mean AP in percent at 11 recall levels (VOC2007); mAP area: area under the curve (VOC2010 and "
    "later)."
)


def table_csv(results: Sequence[dict[str, Any]], published: dict[str, Published]) -> str:
    """Return the figures as CSV: a line with ours, and one with the published ones where there are any; percent."""
    names = _class_names(results)
    lines: list[list] = [["row", "title", "source", "mAP", "mAP_area", *names, "error"]]
    for result in results:
        head = [result["row"], result["title"]]
        if "error" in result:
            lines.append([*head, "ours", *[""] * (2 + len(names)), result["error"]])
        else:
            figures = [result["map_voc07"], result["map_area"], *(result["classes"].get(name) for name in names)]
            cells = ["" if value is None else f"{100 * value:.4f}" for value in figures]
            lines.append([*head, "ours", *cells, ""])
        if result["title"] in published:
            known = published[result["title"]]
            by_class = [known.classes.get(name, "") for name in names]
            lines.append([*head, "published", known.mean_ap, "", *by_class, ""])
    return csv_text(lines)


def times_csv(results: Sequence[dict[str, Any]]) -> str:
    """Return the seconds that each stage of each row took as CSV, apart from what is the same in every run.

    A stage that several rows share is counted in each of them.
    """
    lines: list[list] = [["row", "title", *(f"{stage}_s" for stage in STAGES)]]
    for result in results:
        if "error" not in result:
            seconds = [result["seconds"].get(stage) for stage in STAGES]
            times = ["" if value is None else f"{value:.1f}" for value in seconds]
            lines.append([result["row"], result["title"], *times])
    return csv_text(lines)


def _summary(result: dict[str, Any], published: dict[str, Published]) -> list[str]:
    known = published.get(result["title"])
    ours = result["map_voc07"]
    difference = "" if known is None or ours is None else f"{100 * ours - known.mean_ap:+.1f}"
    figure = "" if known is None else f"{known.mean_ap:.1f}"
    return [result["title"], percent(ours), figure, difference, percent(result["map_area"])]


def _class_tables(done: list[dict[str, Any]], published: dict[str, Published]) -> list[str]:
    names = _class_names(done)
    rows = []
    for result in done:
        ours = [percent(result["classes"].get(name)) for name in names]
        rows.append([result["title"], "ours", *ours, percent(result["map_voc07"])])
        known = published.get(result["title"])
        if known and known.classes:
            theirs = [f"{known.classes[name]:.1f}" if name in known.classes else "" for name in names]
            rows.append([result["title"], "published", *theirs, f"{known.mean_ap:.1f}"])
    return [Table(["row", "figures", *names, "mAP"], rows).markdown()]


def _deviations(done: list[dict[str, Any]]) -> list[str]:
    """Return what all rows have in common, and what each has besides."""
    common = [text for text in done[0]["deviations"] if all(text in result["deviations"] for result in done)]
    lines = [f"- all rows: {'; '.join(common)}"] if common else []
    for result in done:
        own = [text for text in result["deviations"] if text not in common]
        if result["note"]:
            own.append(result["note"])
        if own:
            lines.append(f"- **{result['title']}**: {'; '.join(own)}")
    return ["\n".join(lines)]


def _class_names(results: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for result in results for name in result.get("classes", ())))
