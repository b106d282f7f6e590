"""What two models were trained on, as far as their files tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rcnn_svm.artefacts.identity import differences
from rcnn_svm.features.settings import FeatureSettings
from rcnn_svm.reports.difference.result import Step, differs, same, sequence_step, unknown
from rcnn_svm.reports.settings_in_words import name_in_words, pair_in_words
from rcnn_svm.words import counted


def classes_step(a: Sequence[str], b: Sequence[str]) -> Step:
    """Return the comparison of class names and their order."""
    return sequence_step("classes", a, b, noun="class", plural="classes")


def images_step(
    a: Sequence[str], b: Sequence[str], *, digests_a: Mapping[str, str], digests_b: Mapping[str, str]
) -> Step:
    """Return the comparison of images: ids, order and, where both know them, files.

    Args:
        a, b: ids of the images.
        digests_a, digests_b: digests of the images' files by id, of those where they are known.
    """
    step = sequence_step("images", a, b, noun="image")
    changed = [image_id for image_id, digest in digests_a.items() if digests_b.get(image_id, digest) != digest]
    if not changed:
        return step
    said = f"{counted(len(changed), 'image')} with another file, the first is {changed[0]}"
    return differs("images", said if step.equal else f"{step.says}; {said}", **step.figures, other_files=changed)


def data_step(a: Mapping[str, Any], b: Mapping[str, Any]) -> Step:
    """Return the comparison of the image sets of two trainings: name, number of images, digest of what was read.

    Args:
        a, b: what the models record of their training.
    """
    found = [
        {
            "image set": training.get("image_set") or identity.get("image_set") or identity.get("database"),
            "images": training.get("num_images"),
            "digest of images and labels": identity.get("images"),
            "digest of the proposals": identity.get("proposals"),
        }
        for training, identity in ((training, training.get("identity") or {}) for training in (a, b))
    ]
    known = [name for name in found[0] if found[0][name] is not None or found[1][name] is not None]
    if not known:
        return unknown("images", "neither says what it was trained on")
    wrong = [
        f"{name} {found[0][name]} in A, {found[1][name]} in B" for name in known if found[0][name] != found[1][name]
    ]
    if wrong:
        return differs("images", "; ".join(wrong))
    return same("images", ", ".join(f"{name} {found[0][name]}" for name in known))


def features_step(a: Mapping[str, Any], b: Mapping[str, Any], *, dims: Sequence[int]) -> Step:
    """Return the comparison of the features that two models were trained on, by their digests and settings.

    Args:
        a, b: the settings of the models.
        dims: lengths of their feature vectors.
    """
    digests = [(settings["training"].get("identity") or {}).get("cache") for settings in (a, b)]
    made = [FeatureSettings.from_json(settings["features"]) for settings in (a, b)]
    figures = {"digests": digests, "dim": list(dims)}
    if dims[0] != dims[1]:
        return differs("features", f"{dims[0]:,} numbers of a region in A, {dims[1]:,} in B", **figures)
    if None not in digests and digests[0] == digests[1]:
        return same("features", f"digest {digests[0]}", **figures)
    if made[0].difference(made[1]):
        path, of_a, of_b = next(differences(a["features"], b["features"]))
        said = f"made with other settings: {name_in_words(path)} {pair_in_words(of_a, of_b)}"
        return differs("features", said, **figures)
    if None in digests:
        return unknown("features", "made with the same settings; a file does not say which they were")
    said = f"digest {digests[0]} in A, {digests[1]} in B: other labels, proposals or features; compare the caches"
    return differs("features", said, **figures)


def number_step(name: str, noun: str, a: float, b: float) -> Step:
    """Return the comparison of a number that two models have."""
    if a == b:
        return same(name, f"{noun} {a:.7g}", a=a, b=b)
    return differs(name, f"{noun} {a:.9g} in A, {b:.9g} in B, {abs(a - b) / abs(a):.1e} apart", a=a, b=b)
