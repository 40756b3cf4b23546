"""ARLM: an autoregressive language model. It reads from left to right, and writes the next token each time.

Read in this order: types, model, loss, predictor, datamodule, metrics.
"""
