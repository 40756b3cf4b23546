"""MDLM: masked diffusion. A text is masked little by little until nothing is left, and the network learns the way back.

Read in this order: types, model, loss, predictor, datamodule, metrics.
"""
