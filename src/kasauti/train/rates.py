"""A learning rate of their own for token embeddings.

Walks in: a trainer's optimizer. Walks out: the same with the embeddings in a group of their own. It knows no data.
"""

from __future__ import annotations

from typing import Any


class EmbeddingRate:
    """Mixed into a trainer of Transformers before its class."""

    embedding_rate: float = 0.0
    """Embeddings learn at so many times the rate of all else; 0: at the same."""
    model: Any

    def create_optimizer(self, *args: Any, **kwargs: Any) -> Any:
        """The trainer's own optimizer, its groups divided."""
        optimizer = super().create_optimizer(*args, **kwargs)  # type: ignore[misc]
        trained = (one for one in self.model.get_input_embeddings().parameters() if one.requires_grad)
        embeddings = set(map(id, trained))
        if not self.embedding_rate or not embeddings:
            return optimizer
        groups = []
        for group in optimizer.param_groups:
            for inside, times in ((False, 1.0), (True, self.embedding_rate)):
                own = [parameter for parameter in group["params"] if (id(parameter) in embeddings) is inside]
                if own:
                    groups.append({**group, "params": own, "lr": group["lr"] * times})
        optimizer.param_groups[:] = groups
        return optimizer
