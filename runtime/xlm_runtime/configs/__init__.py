"""Configuration files of the runtime: a package, so that Hydra finds them as pkg://xlm_runtime.configs."""
