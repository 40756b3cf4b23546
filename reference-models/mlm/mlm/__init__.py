"""MLM: a masked language model. It fills in blanks, and it learns with any share of its text blank.

Read in this order: types, model, loss, predictor, datamodule, metrics.
"""
