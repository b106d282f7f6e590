"""The commands of `rcnn-svm`: one file each, thin around the rooms that do the work; `main.py` finds them."""
