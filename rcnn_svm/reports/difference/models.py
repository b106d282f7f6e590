"""Where two models of another kind differ, two checkpoints, two fine-tuned networks, or two reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rcnn_svm.artefacts.header import Header, read_arrays, read_header
from rcnn_svm.errors import InputError
from rcnn_svm.finetune.record import KIND as FINETUNED
from rcnn_svm.finetune.record import WEIGHTS, load_record
from rcnn_svm.reports.difference.arrays import numbers_step
from rcnn_svm.reports.difference.inputs import classes_step, data_step, features_step, number_step
from rcnn_svm.reports.difference.result import Comparison, Step, differs, same
from rcnn_svm.reports.difference.settings import differing_settings, settings_step, versions
from rcnn_svm.reports.run_folder import FIGURES, REPORT, read_results
from rcnn_svm.words import counted

MODELS_DECIDE = (
    (r"^features\.", "features"),
    (r"\.parameters\.feat_norm_mean$", "scale"),
    (r"^(maps|network)\.|\.(maps|network)\.", "network"),
    (r"^(training\.)?identity\.|^parameters\.|^box_stds", "weights"),
)
FINETUNED_DECIDES = ((r"^network\.", "network"), (r"^parameters\.", "losses"))


def compare_models(a: Path, b: Path) -> Comparison:
    """Return where two models of one kind differ that have no comparison of their own.

    Raises:
        InputError: a file is missing or damaged.
    """
    headers = read_header(a), read_header(b)
    settings = [header.settings for header in headers]
    arrays = [
        {name: array for name, array in read_arrays(path).items() if not name.startswith("history/")} for path in (a, b)
    ]
    steps = [
        data_step(*(those["training"] for those in settings)),
        classes_step(*(those["classes"] for those in settings)),
        *_features(headers),
        *_network(settings),
        *_scale(settings),
        numbers_step("weights", *arrays),
        settings_step(*settings),
    ]
    found = differing_settings(*settings, decides=MODELS_DECIDE)
    return Comparison(headers[0].kind, a, b, tuple(steps), found, versions(*(header.provenance for header in headers)))


def _features(headers: tuple[Header, Header]) -> list[Step]:
    if not all("features" in header.settings for header in headers):
        return []
    return [features_step(*(header.settings for header in headers), dims=[_dim(header) for header in headers])]


def _dim(header: Header) -> int:
    """Return D of a box regressor or a RoI head."""
    if "hidden_W" in header.arrays:
        return header.arrays["hidden_W"][0][0]
    return header.arrays["Beta"][0][1] - 1


def _network(settings: list[dict[str, Any]]) -> list[Step]:
    """Return the comparison of the settings of a network, or of the maps that a ranker reads."""
    name = next((name for name in ("network", "maps") if name in settings[0] and name in settings[1]), None)
    if name is None:
        return []
    return [_settings_step("network", *(those[name] for those in settings))]


def _settings_step(name: str, a: dict[str, Any], b: dict[str, Any]) -> Step:
    found = differing_settings(a, b, decides=[(".", name)])
    if not found:
        return same(name, str(a.get("name", "")))
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return differs(name, f"{found[0]}{more}")


def _scale(settings: list[dict[str, Any]]) -> list[Step]:
    if not all("feat_norm_mean" in those for those in settings):
        return []
    return [number_step("scale", "mean norm of the features", *(those["feat_norm_mean"] for those in settings))]


def compare_checkpoints(a: Path, b: Path) -> Comparison:
    """Return where two checkpoints differ: of which training, how far, what they keep.

    Raises:
        InputError: a file is missing or damaged.
    """
    headers, arrays = (read_header(a), read_header(b)), (read_arrays(a), read_arrays(b))
    text = [{name: array for name, array in those.items() if array.dtype.kind in "fiub"} for those in arrays]
    identities = [{"identity": header.settings} for header in headers]
    steps = (data_step(*identities), numbers_step("progress", *text), settings_step(*identities))
    found = differing_settings(*identities, decides=[(".", "progress")])
    return Comparison(headers[0].kind, a, b, steps, found, versions(*(header.provenance for header in headers)))


def compare_finetuned(a: Path, b: Path) -> Comparison:
    """Return where two fine-tuned networks differ.

    Args:
        a, b: their folders.

    Raises:
        InputError: a file is missing, damaged, or does not belong to the other.
    """
    records = load_record(a / WEIGHTS), load_record(b / WEIGHTS)
    steps = (
        data_step(*({"identity": record.identity} for record in records)),
        classes_step(*(record.classes for record in records)),
        _settings_step("network", *(record.network for record in records)),
        _losses(*(record.log for record in records)),
        _files(*(record.weights_sha256 for record in records)),
        settings_step(*(record.identity for record in records)),
    )
    settings = differing_settings(*(record.identity for record in records), decides=FINETUNED_DECIDES)
    return Comparison(FINETUNED, a, b, steps, settings, versions(*(record.provenance for record in records)))


def _losses(a: list[dict[str, float]], b: list[dict[str, float]]) -> Step:
    """Return the comparison of two logs of losses and accuracies."""
    if a == b:
        return same("losses", counted(len(a), "line"))
    lines = zip(a, b, strict=False)
    first = next((number for number, (x, y) in enumerate(lines) if x != y), min(len(a), len(b)))
    counts = f"{counted(len(a), 'line')} in A, {len(b):,} in B" if len(a) != len(b) else counted(len(a), "line")
    if first == min(len(a), len(b)):
        return differs("losses", f"{counts}, the same up to the end of the shorter")
    said = f"{counts}; the first that differs is of step {a[first]['iteration']:,}: loss {a[first]['loss']:.6g} in A, "
    return differs("losses", f"{said}{b[first]['loss']:.6g} in B", first=first)


def _files(a: str, b: str) -> Step:
    if a == b:
        return same("weights", f"SHA-256 {a[:16]}")
    return differs("weights", f"SHA-256 {a[:16]} in A, {b[:16]} in B")


def compare_reports(a: Path, b: Path) -> Comparison:
    """Return where two evaluations differ.

    Args:
        a, b: their `results.json`.

    Raises:
        InputError: a file is missing or no report.
    """
    found = [_results(path) for path in (a, b)]
    classes = [[entry["class"] for entry in content["classes"]] for content in found]
    steps = [
        _values_step("images", *({key: content[key] for key in ("image_set", "images")} for content in found)),
        classes_step(*classes),
        _values_step(
            "protocol", *({key: content.get(key) for key in ("iou", "nms", "soft_nms_sigma")} for content in found)
        ),
        _precisions(*found),
    ]
    made = [content["made_from"] for content in found]
    return Comparison(REPORT, a, b, tuple(steps), (), versions(*made))


def _results(path: Path) -> dict[str, Any]:
    content = read_results(path)
    if content is None:
        raise InputError(f"{path} is no report of the evaluate stage; correct the path")
    return content


def _values_step(name: str, a: dict[str, Any], b: dict[str, Any]) -> Step:
    wrong = [f"{key.replace('_', ' ')} {a[key]} in A, {b[key]} in B" for key in a if a[key] != b[key]]
    return differs(name, "; ".join(wrong)) if wrong else same(name, ", ".join(map(str, a.values())))


def _precisions(a: dict[str, Any], b: dict[str, Any]) -> Step:
    """Return the comparison of the mean AP in both protocols, and of the class that differs most."""
    means = {key: [content[key] for content in (a, b)] for key in FIGURES}
    of_b = {entry["class"]: entry for entry in b["classes"]}
    by_class = {
        entry["class"]: [entry["ap_area"], of_b[entry["class"]]["ap_area"]]
        for entry in a["classes"]
        if entry["class"] in of_b
    }
    apart = {name: abs(x - y) for name, (x, y) in by_class.items() if None not in (x, y) and x != y}
    said = ", ".join(f"mAP {FIGURES[key]} {_percent(x)} in A, {_percent(y)} in B" for key, (x, y) in means.items())
    if not apart and all(x == y for x, y in means.values()):
        return same("results", ", ".join(f"mAP {FIGURES[key]} {_percent(x)}" for key, (x, _) in means.items()))
    if apart:
        worst = max(apart, key=apart.__getitem__)
        x, y = by_class[worst]
        said += f"; most for {worst}: {_percent(x)} in A, {_percent(y)} in B (area)"
    return differs("results", said, **means, ap_area=by_class)


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.2f}"
