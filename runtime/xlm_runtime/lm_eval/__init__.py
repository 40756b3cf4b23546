"""lm-evaluation-harness over saved models: ``python -m xlm_runtime.lm_eval run --model xlm --model_args path=runs/x``.

The extra ``xlm-runtime[lm-eval]`` brings the harness. ``requests`` knows nothing of it; ``model`` is the class that it
calls; the module itself is its command line with that class registered.
"""
