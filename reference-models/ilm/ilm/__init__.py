"""ILM: an insertion language model. It writes by inserting one token at a time, anywhere in what stands already.

Read in this order: types, model, loss, predictor, datamodule, metrics.
"""
