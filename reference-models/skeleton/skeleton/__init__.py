"""SKELETON: a language model to be changed into another one.

It works as it stands: the smallest complete model, left to right and greedy. Read the files in this order, and
change what their TODO marks name: types, model, loss, predictor, datamodule, metrics.
"""
