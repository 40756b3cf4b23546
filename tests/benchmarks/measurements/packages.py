"""How many packages the runtime needs, and their size: a walk over the requirements of what is installed."""

from __future__ import annotations

from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from measurements.common import Result, Settings

ROOT = "xlm-runtime"
PRIOR_COUNT, PRIOR_GIGABYTES = 189, 1.8


def measure(settings: Settings) -> list[Result]:
    found = needed(ROOT)
    sizes = {name: size(dist) for name, dist in found.items()}
    total = sum(sizes.values())
    largest = sorted(sizes.items(), key=lambda item: -item[1])
    return [
        Result(
            name="packages that the runtime needs",
            ours=f"{len(found)}",
            compared_with="prior system",
            ratio=len(found) / PRIOR_COUNT,
            prior=f"{PRIOR_COUNT}",
            details={"names": sorted(found)},
        ),
        Result(
            name="their size on disk",
            ours=f"{total / 1e9:.2f} GB",
            compared_with="prior system",
            ratio=total / 1e9 / PRIOR_GIGABYTES,
            prior=f"{PRIOR_GIGABYTES} GB",
            details={"largest_megabytes": {name: round(bytes_ / 1e6, 1) for name, bytes_ in largest[:20]}},
        ),
    ]


def needed(root: str) -> dict[str, Distribution]:
    """The distribution and everything that it requires here, extras included where a requirement asks for them."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(root, "")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            dist = found.setdefault(name, distribution(name))
        except PackageNotFoundError:
            continue  # for another platform, or not installed
        for text in dist.requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                child = canonicalize_name(requirement.name)
                waiting += [(child, wanted) for wanted in ("", *requirement.extras)]
    return found


def size(dist: Distribution) -> int:
    """Bytes of its files, as its RECORD lists them; byte code has no size there and is left out."""
    return sum(file.size or 0 for file in dist.files or [])
