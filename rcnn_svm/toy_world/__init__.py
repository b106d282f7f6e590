"""Synthetic photographs of toys, for the demo and the tests: textures, toys, grounds, scenes.

write_synthetic_voc  writes seeded scenes in the layout of PASCAL VOC
SYNTHETIC_CLASSES    the classes of these scenes
render_scene         draws one scene and says where its toys are
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rcnn_svm.lazy import lazy_names

if TYPE_CHECKING:
    from rcnn_svm.toy_world.scenes import render_scene
    from rcnn_svm.toy_world.voc_folder import SYNTHETIC_CLASSES, write_synthetic_voc
else:
    __getattr__, __dir__ = lazy_names(__name__)

__all__ = [
    "SYNTHETIC_CLASSES",
    "render_scene",
    "write_synthetic_voc",
]
