"""Linear classifier on one pooled vector per image, for probes of frozen features (He 2022, MAE)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from croco_bench.contracts import Features, FeatureSpec, PooledHead
from croco_bench.errors import FitError


@dataclass(frozen=True)
class LinearOptions:
    """Settings of the head.

    Attributes:
        pool: "mean" of the last block's patch tokens; "cls", the class or global token; "auto", cls if the backbone has
            one (MAE, MultiMAE, most timm ViTs), otherwise mean (CroCo).
    """

    pool: Literal["auto", "mean", "cls"] = "auto"


class Linear(PooledHead):
    """Tokens of the last block -> (B, out_channels): pooling, batch norm without learned scale, linear layer.

    As MAE's probe: BatchNorm1d(affine=False, eps=1e-6); initial weights have a standard deviation of 0.01, biases are 0.
    Pooling has no parameters, so that `classify` can be trained on cached vectors.

    Raises:
        FitError: `pool` is "cls" and the backbone has no such token. From `classify` in training: the batch has one image,
            which has no variance.
    """

    Options = LinearOptions
    norm: nn.BatchNorm1d
    from_cls: Tensor

    def __init__(self, spec: FeatureSpec, out_channels: int, options: LinearOptions) -> None:
        super().__init__(spec, out_channels, options)
        if options.pool == "cls" and not spec.has_cls:
            raise FitError(
                "head.pool='cls' needs a class or global token, but the backbone has none", "take head.pool=mean"
            )
        self.poolings = ("cls", "mean") if spec.has_cls else ("mean",)
        how = self.poolings[0] if options.pool == "auto" else options.pool
        # In the state dict, so that weights are never used with another pooling.
        self.register_buffer("from_cls", torch.tensor(how == "cls"))
        self._pooling = how
        width = spec.widths[-1]
        self.norm = nn.BatchNorm1d(width, affine=False, eps=1e-6)
        self.linear = nn.Linear(width, out_channels)
        nn.init.trunc_normal_(self.linear.weight, std=0.01)
        nn.init.zeros_(self.linear.bias)

    def resolved(self) -> dict[str, Any]:
        """The pooling in use."""
        return {"pool": self.pooling}

    @property
    def pooling(self) -> str:
        """See `PooledHead.pooling`."""
        return self._pooling

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        # Read once: in each forward pass, the host would wait for a GPU.
        self._pooling = "cls" if self.from_cls else "mean"

    def forward(self, features: Features) -> Tensor:
        """See `Head.forward`."""
        return self.classify(self.pooled(features, self.pooling))

    def pooled(self, features: Features, how: str) -> Tensor:
        """See `PooledHead.pooled`."""
        if how == "mean":
            return features.tokens[-1].mean(dim=1)
        assert features.cls is not None, "a backbone with spec.has_cls returns the token"
        return features.cls

    def load_probe(self, how: str, mean: Tensor, variance: Tensor, weight: Tensor, bias: Tensor) -> None:
        """See `PooledHead.load_probe`."""
        self.from_cls.fill_(how == "cls")
        self._pooling = how
        assert self.norm.running_mean is not None and self.norm.running_var is not None
        self.norm.running_mean.copy_(mean)
        self.norm.running_var.copy_(variance)
        with torch.no_grad():
            self.linear.weight.copy_(weight)
            self.linear.bias.copy_(bias)

    def classify(self, pooled: Tensor) -> Tensor:
        """Pooled vectors (B, C) -> (B, out_channels)."""
        if self.training and len(pooled) == 1 and isinstance(self.norm, nn.BatchNorm1d):
            raise FitError(
                "the linear head can't train on one image at a time, because its norm averages over the batch",
                "raise train.batch_size, or lower train.accumulate, until a process gets two images",
            )
        output: Tensor = self.linear(self.norm(pooled))
        return output
