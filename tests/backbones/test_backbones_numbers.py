"""Every block's output against a second implementation: plain functions on an official file's tensors, in float64."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from croco_bench.backbones import load_backbone
from croco_bench.backbones.export import write_official
from croco_bench.backbones.networks import attention
from croco_bench.backbones.networks.architecture import ARCHITECTURES
from croco_bench.backbones.networks.croco import CroCo
from croco_bench.backbones.networks.vit import ViT
from croco_bench.contracts import Origin, PairBackbone

State = dict[str, Tensor]
SIZES = [(64, 64), (96, 96), (48, 80)]


def written(kind: str, folder: Path) -> tuple[Path, State]:
    """An official file with random weights, none of them neutral, and its tensors in float64."""
    plan = ARCHITECTURES[kind.removesuffix("-cosine")]
    if kind.endswith("-cosine"):
        plan = replace(plan, positions="fixed")
    torch.manual_seed(1)
    backbone = (CroCo if plan.decoder else ViT)(plan, (64, 64), Origin("test", "test"), kind)
    backbone.initialize()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1 if parameter.ndim == 1 else 0.02)
    write_official(backbone, folder / f"{kind}.pth")
    content = torch.load(folder / f"{kind}.pth", weights_only=True)
    return folder / f"{kind}.pth", {name: tensor.double() for name, tensor in content["model"].items()}


def linear(state: State, name: str, x: Tensor) -> Tensor:
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def norm(state: State, name: str, x: Tensor) -> Tensor:
    centered = x - x.mean(-1, keepdim=True)
    scaled = centered / (centered.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]


def rope(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """Rotation of complex numbers: rows turn the first half of a head, columns the second (base 100)."""
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    turned = []
    for half, place in zip(x.chunk(2, dim=-1), (rows, columns), strict=True):
        real, imaginary = half.chunk(2, dim=-1)
        size = half.shape[-1]
        angle = place.reshape(-1, 1) * 100.0 ** (-torch.arange(0, size, 2, dtype=torch.float64) / size)
        z = torch.complex(real, imaginary) * torch.polar(torch.ones_like(angle), angle)
        turned += [z.real, z.imag]
    return torch.cat(turned, dim=-1)


def mix(q: Tensor, k: Tensor, v: Tensor, heads: int, turn: Callable[[Tensor], Tensor]) -> Tensor:
    q, k, v = (t.reshape(*t.shape[:2], heads, -1).transpose(1, 2) for t in (q, k, v))
    q, k = turn(q), turn(k)
    weights = (torch.einsum("bhnd,bhmd->bhnm", q, k) / q.shape[-1] ** 0.5).softmax(-1)
    return torch.einsum("bhnm,bhmd->bhnd", weights, v).transpose(1, 2).flatten(2)


def self_attention(state: State, name: str, x: Tensor, heads: int, turn: Callable[[Tensor], Tensor]) -> Tensor:
    q, k, v = linear(state, f"{name}.qkv", x).chunk(3, dim=-1)
    return linear(state, f"{name}.proj", mix(q, k, v, heads, turn))


def cross_attention(
    state: State, name: str, x: Tensor, y: Tensor, heads: int, turn: Callable[[Tensor], Tensor]
) -> Tensor:
    q, k, v = (linear(state, f"{name}.{part}", t) for part, t in (("projq", x), ("projk", y), ("projv", y)))
    return linear(state, f"{name}.proj", mix(q, k, v, heads, turn))


def mlp(state: State, name: str, x: Tensor) -> Tensor:
    hidden = linear(state, f"{name}.fc1", x)
    return linear(state, f"{name}.fc2", 0.5 * hidden * (1 + torch.erf(hidden / 2**0.5)))


def table(square: Tensor, grid: tuple[int, int]) -> Tensor:
    """(C, n, n) -> (h*w, C)."""
    return F.interpolate(square[None], size=grid, mode="bicubic", align_corners=False)[0].flatten(1).T


def unsquare(rows: Tensor) -> Tensor:
    return rows.T.reshape(-1, 8, 8)


def no_turn(x: Tensor) -> Tensor:
    return x


def encoder(state: State, tokens: Tensor, blocks: str, turn: Callable[[Tensor], Tensor]) -> list[Tensor]:
    outputs = []
    for k in range(4):
        p = f"{blocks}.{k}"
        tokens = tokens + self_attention(state, f"{p}.attn", norm(state, f"{p}.norm1", tokens), 4, turn)
        tokens = tokens + mlp(state, f"{p}.mlp", norm(state, f"{p}.norm2", tokens))
        outputs.append(tokens)
    return outputs


def patches(state: State, name: str, image: Tensor) -> Tensor:
    cut = F.unfold(image.double(), 8, stride=8).transpose(1, 2)
    return cut @ state[f"{name}.weight"].flatten(1).T + state[f"{name}.bias"]


def croco_encoder(state: State, image: Tensor) -> list[Tensor]:
    grid = (image.shape[-2] // 8, image.shape[-1] // 8)
    tokens, turn = patches(state, "patch_embed.proj", image), no_turn
    if "enc_pos_embed" in state:
        tokens = tokens + table(unsquare(state["enc_pos_embed"]), grid)
        outputs = encoder(state, tokens, "enc_blocks", turn)
    else:
        outputs = encoder(state, tokens, "enc_blocks", lambda x: rope(x, grid))
    outputs[-1] = norm(state, "enc_norm", outputs[-1])
    return outputs


def croco_pair(state: State, image1: Tensor, image2: Tensor) -> list[Tensor]:
    grid = (image1.shape[-2] // 8, image1.shape[-1] // 8)
    first = croco_encoder(state, image1)
    x, y = (linear(state, "decoder_embed", t) for t in (first[-1], croco_encoder(state, image2)[-1]))

    def turn(t: Tensor) -> Tensor:
        return t if "dec_pos_embed" in state else rope(t, grid)

    if "dec_pos_embed" in state:
        x, y = (t + table(unsquare(state["dec_pos_embed"]), grid) for t in (x, y))
    outputs = []
    for k in range(3):
        p = f"dec_blocks.{k}"
        x = x + self_attention(state, f"{p}.attn", norm(state, f"{p}.norm1", x), 3, turn)
        memory = norm(state, f"{p}.norm_y", y)
        x = x + cross_attention(state, f"{p}.cross_attn", norm(state, f"{p}.norm2", x), memory, 3, turn)
        x = x + mlp(state, f"{p}.mlp", norm(state, f"{p}.norm3", x))
        outputs.append(x)
    outputs[-1] = norm(state, "dec_norm", outputs[-1])
    return first + outputs


def mae_encoder(state: State, image: Tensor) -> list[Tensor]:
    grid = (image.shape[-2] // 8, image.shape[-1] // 8)
    tokens = patches(state, "patch_embed.proj", image) + table(unsquare(state["pos_embed"][0, 1:]), grid)
    first = (state["cls_token"] + state["pos_embed"][:, :1]).expand(len(image), -1, -1)
    outputs = encoder(state, torch.cat([first, tokens], dim=1), "blocks", no_turn)
    outputs[-1] = norm(state, "norm", outputs[-1])
    return [tokens[:, 1:] for tokens in outputs]


def multimae_encoder(state: State, image: Tensor) -> list[Tensor]:
    """As in MultiMAE's code, the global token comes last, and there is no norm at the end."""
    grid = (image.shape[-2] // 8, image.shape[-1] // 8)
    tokens = patches(state, "input_adapters.rgb.proj", image) + table(state["input_adapters.rgb.pos_emb"][0], grid)
    last = state["global_tokens"].expand(len(image), -1, -1)
    return [tokens[:, :-1] for tokens in encoder(state, torch.cat([tokens, last], dim=1), "encoder", no_turn)]


def assert_equal(ours: list[Tensor], theirs: list[Tensor]) -> None:
    assert [tuple(t.shape) for t in ours] == [tuple(t.shape) for t in theirs]
    assert all(t.dtype == torch.float32 for t in ours)
    worst = max((a.double() - b).abs().max().item() for a, b in zip(ours, theirs, strict=True))
    assert worst < 1e-5, worst


ENCODERS = [
    ("mini-croco", croco_encoder),
    ("mini-croco-cosine", croco_encoder),
    ("mini-mae", mae_encoder),
    ("mini-multimae", multimae_encoder),
]


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("kind", "reference"), ENCODERS)
def test_every_encoder_block(
    kind: str, reference: Callable[[State, Tensor], list[Tensor]], size: tuple[int, int], tmp_path: Path
) -> None:
    path, state = written(kind, tmp_path)
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        assert_equal(load_backbone(path, image_size=size).encode(images), reference(state, images))


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["mini-croco", "mini-croco-cosine"])
def test_every_decoder_block(kind: str, size: tuple[int, int], tmp_path: Path) -> None:
    path, state = written(kind, tmp_path)
    view1, view2 = torch.randn(2, 3, *size), torch.randn(2, 3, *size)
    backbone = load_backbone(path, image_size=size)
    assert isinstance(backbone, PairBackbone)
    with torch.no_grad():
        ours = backbone.encode_pair(view1, view2)
    assert_equal(ours, croco_pair(state, view1, view2))
    assert tuple(tokens.shape[-1] for tokens in ours) == backbone.pair_spec().widths


def visible_only(backbone: ViT, images: torch.Tensor, visible: torch.Tensor) -> torch.Tensor:
    return backbone.encode_visible(images, visible)[:, backbone.architecture.prefix_tokens :]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mini-croco", "mini-croco-cosine", "mini-mae"])
def test_visible_patches_only(kind: str, tmp_path: Path) -> None:
    """With all patches visible, in any order, it is plain encoding; with some, the others must not matter."""
    path, _ = written(kind, tmp_path)
    backbone = load_backbone(path, image_size=64)
    assert isinstance(backbone, ViT)
    images, order = torch.randn(2, 3, 64, 64), torch.stack([torch.randperm(64), torch.randperm(64)])
    with torch.no_grad():
        whole = backbone.encode(images)[-1].gather(1, order[:, :, None].expand(-1, -1, 128))
        torch.testing.assert_close(visible_only(backbone, images, order), whole, atol=1e-5, rtol=0)
        some, changed = order[:, :5], images.clone()
        for image, hidden in zip(changed, order[:, 5:], strict=True):
            for index in hidden.tolist():
                image[:, index // 8 * 8 : index // 8 * 8 + 8, index % 8 * 8 : index % 8 * 8 + 8] = 7.0
        assert torch.equal(visible_only(backbone, images, some), visible_only(backbone, changed, some))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mini-croco", "mini-croco-cosine"])
def test_one_pass_over_both_views_equals_two(kind: str, tmp_path: Path) -> None:
    backbone = load_backbone(written(kind, tmp_path)[0], image_size=64)
    assert isinstance(backbone, ViT)
    view1, view2, visible = (
        torch.randn(2, 3, 64, 64),
        torch.randn(2, 3, 64, 64),
        torch.stack([torch.randperm(64)[:6]] * 2),
    )
    both = backbone.encode_visible_beside(view1, visible, view2)
    apart = torch.cat([backbone.encode_visible(view1, visible), backbone.encode(view2)[-1]], dim=1)
    torch.testing.assert_close(both, apart, atol=1e-5, rtol=0)
    with torch.no_grad():
        other = backbone.encode_visible_beside(view1, visible, view2.flip(0))
    assert torch.equal(other[:, :6], both[:, :6].detach())  # no token knows of the other view
    gradients = [torch.autograd.grad(out.square().sum(), backbone.patch_embed.weight)[0] for out in (both, apart)]
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_ways_of_attention_agree(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = (torch.randn(2, 4, n, 32, dtype=dtype) for n in (64, 80, 80))
    results = []
    for fused in (True, False):
        monkeypatch.setattr(attention, "fused_is_faster", lambda q, k, fused=fused: fused)
        results.append(attention.attend(query, key, value))
    torch.testing.assert_close(*results, atol=1e-5, rtol=0)


def test_rotary_tables_made_while_predicting_serve_training() -> None:
    attention.rope_tables.cache_clear()
    backbone = load_backbone("random:mini-croco", image_size=64)
    with torch.inference_mode():
        backbone.encode(torch.randn(1, 3, 64, 64))
    torch.autograd.backward(backbone.encode(torch.randn(1, 3, 64, 64))[-1].sum())


def test_rotary_tables_are_float32_under_autocast() -> None:
    backbone = load_backbone("random:mini-croco", image_size=64)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        cosine, _ = attention.rope_tables((8, 8), 32, 100.0, torch.device("cpu"))
        half = backbone.encode(torch.randn(1, 3, 64, 64))[-1]
    assert cosine.dtype == torch.float32
    assert torch.isfinite(half).all()
