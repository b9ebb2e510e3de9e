"""Answer with the sum of the changes of the single targets: a worker without a peer, to test the exchange of files."""

from __future__ import annotations

import numpy as np
from exchange import CONTROL, SEPARATOR, Question, work


def answer(question: Question) -> dict[str, np.ndarray]:
    """Add up the changes of the members, which must be measured alone."""
    control = question.of(CONTROL).mean(axis=0, dtype=np.float64)

    def change(target: str) -> np.ndarray:
        return question.of(target).mean(axis=0, dtype=np.float64) - control

    return {name: control + sum(change(target) for target in name.split(SEPARATOR)) for name in question.wanted}


if __name__ == "__main__":
    work("anndata", answer)
