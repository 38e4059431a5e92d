"""AdamW and the polynomial schedule of the published runs."""

from __future__ import annotations

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

EMBEDDING_TABLES = ("token_embedding.weight", "positional_embedding")
"""Names of embedding tables, which like norms are not decayed (detectron2's defaults)."""


def build_optimizer(model: nn.Module, *, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """Build AdamW over the trainable parameters; norms and embedding tables are not decayed."""
    norms = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.LayerNorm)
        for parameter in module.parameters(recurse=False)
    }
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[id(parameter) not in norms and not name.endswith(EMBEDDING_TABLES)].append(parameter)
    return torch.optim.AdamW(
        [{"params": groups[True], "weight_decay": weight_decay}, {"params": groups[False], "weight_decay": 0.0}],
        lr=lr,
        fused=True,
    )


def poly_schedule(optimizer: torch.optim.Optimizer, *, iterations: int, power: float, warmup: int = 0) -> LambdaLR:
    """Build lr * (1 - step / iterations) ** power, times a factor that rises to 1 in the first `warmup` steps."""

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / (warmup + 1))
        return float(rise * max(0.0, 1 - step / iterations) ** power)

    return LambdaLR(optimizer, factor)
