"""What makes `HardNegativeMiner` fast: blocks scored for all classes at once, shared rows, threads.

The parts are the miner's own; `rcnn_svm.mining` has what is public.
"""
