"""The attention network behind the two verbs of a genotype method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from heldout.tasks.genotype.config import AttentionConfig
from heldout.tasks.genotype.networks._method import MLP

if TYPE_CHECKING:
    from heldout._core.method import Fitted
    from heldout.tasks.genotype.interface import Data


class Attention(MLP):
    """Attention over the cells of a group. A prediction is for the whole group."""

    by_group: ClassVar[bool] = True
    default_config: ClassVar[Any] = AttentionConfig()

    def fit(self, data: Data, config: AttentionConfig, *, seed: int) -> Fitted:  # type: ignore[override]
        """Train on bags of the train groups, and stop on the loss of the val groups."""
        if data.groups is None:
            msg = "attention needs groups. Pass group_key, or use a split that was made by group."
            raise ValueError(msg)
        return super().fit(data, config, seed=seed)
