"""One measurement a file. Each has ``measure(settings) -> list[Result]``; ``run.py`` knows them all."""
