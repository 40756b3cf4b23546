"""Lightning callbacks of the runtime, one a file; ``configs/callbacks`` names them."""
