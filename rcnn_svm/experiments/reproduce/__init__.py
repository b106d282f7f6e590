"""The tables of the R-CNN paper on VOC 2007, row by row, beside the published figures."""
