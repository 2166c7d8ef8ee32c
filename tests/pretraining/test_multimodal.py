"""The multimae objective: losses by hand, adapters, official files, wrong settings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from croco_bench import load_backbone
from croco_bench.backbones.export import write_official
from croco_bench.backbones.networks.vit import ViT
from croco_bench.config.load import options_of
from croco_bench.errors import BenchError, FitError, UsageError
from croco_bench.pretraining.adapters import SpatialAdapter
from croco_bench.pretraining.multimodal import MINI, MODALITIES, MultimodalAutoencoder, MultimodalOptions

COUNT = 64  # tokens of one modality: 64x64 in patches of 8
NAMES = ("rgb", "depth", "semseg", "norm_rgb")


def objective(side: Any = 64, options: MultimodalOptions = MINI, seed: int = 0) -> MultimodalAutoencoder:
    backbone = load_backbone(f"random:mini-multimae@{seed}", image_size=side)
    assert isinstance(backbone, ViT)
    torch.manual_seed(seed)
    return MultimodalAutoencoder(backbone, options)


def make_batch(model: MultimodalAutoencoder, count: int = 4, seed: int = 0) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    size = model.backbone.image_size
    return {
        "view1": torch.from_numpy(rng.standard_normal((count, 3, *size))).float(),
        "depth": torch.from_numpy(rng.standard_normal((count, 1, *size))).float(),
        "semseg": torch.from_numpy(rng.integers(0, model.options.classes, (count, *size))),
        "visible": torch.stack([model.sample_mask(rng)["visible"] for _ in range(count)]),
    }


def cells(token: int, modality: int) -> Any:
    """The pixels of a token, as an index of (B, ..., H, W)."""
    row, column = divmod(token - modality * COUNT, 8)
    return np.s_[..., 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]


def test_defaults_are_the_published_ones() -> None:
    options = MultimodalOptions()
    assert (options.visible, options.classes, options.semseg_stride) == (3 * 196 // 6, 133, 4)
    assert MINI.visible == 3 * COUNT // 6


def test_shapes() -> None:
    model = objective()
    batch = make_batch(model)
    shapes = {name: tuple(patches.shape) for name, patches in model.predict(batch).items()}
    color = (4, COUNT, 3, 8, 8)
    assert shapes == {"rgb": color, "depth": (4, COUNT, 1, 8, 8), "semseg": (4, COUNT, 17, 4, 4), "norm_rgb": color}
    losses = model.losses(batch)
    assert tuple(losses) == NAMES and all(loss.shape == () for loss in losses.values())
    total = model(batch)
    assert total.shape == () and total.dtype == torch.float32
    assert total.item() == pytest.approx(sum(loss.item() for loss in losses.values()))


def test_oblong_images() -> None:
    model = objective((48, 80))
    batch = make_batch(model, 2)
    assert batch["visible"].max() < 3 * 60
    images = model.reconstruct(batch)
    assert images["view1"].shape == (2, 3, 48, 80) and images["semseg"].shape == (2, 48, 80)
    assert torch.isfinite(model(batch))


def test_losses_by_hand() -> None:
    model = objective()
    batch = make_batch(model, 3)
    with torch.no_grad():
        predictions = model.predict(batch)
    expected: dict[str, list[float]] = {name: [] for name in NAMES}
    for sample in range(3):
        shown = set(batch["visible"][sample].tolist())
        errors: dict[str, list[float]] = {name: [] for name in NAMES}
        for patch in range(COUNT):
            where = cells(patch, 0)
            color, depth, ids = (batch[name][sample][where] for name in ("view1", "depth", "semseg"))
            guess = {name: predictions[name][sample, patch] for name in NAMES}
            if patch not in shown:
                normal = (color - color.mean()) / (color.var() + 1e-6).sqrt()
                errors["rgb"].append(float(((guess["rgb"] - color) ** 2).mean()))
                errors["norm_rgb"].append(float(((guess["norm_rgb"] - normal) ** 2).mean()))
            if patch + COUNT not in shown:
                errors["depth"].append(float((guess["depth"] - depth).abs().mean()))
            if patch + 2 * COUNT not in shown:
                scores = guess["semseg"].log_softmax(dim=0)
                entropy = [-float(scores[ids[2 * y + 1, 2 * x + 1], y, x]) for y in range(4) for x in range(4)]
                errors["semseg"].append(float(np.mean(entropy)))
        for name in NAMES:
            expected[name].append(float(np.mean(errors[name])))
    for name, loss in model.losses(batch).items():
        assert loss.item() == pytest.approx(np.mean(expected[name]), rel=1e-5), name


def test_targets_count_only_where_masked() -> None:
    """With predictions held fixed: what the encoder has seen is no target, everything else is."""
    model = objective()
    batch = make_batch(model, 1)
    predictions = model.predict(batch)
    before = model.compare(predictions, batch)
    shown = set(batch["visible"][0].tolist())
    keys = {"rgb": "view1", "depth": "depth", "semseg": "semseg"}
    for modality, name in enumerate(MODALITIES):
        here = range(modality * COUNT, (modality + 1) * COUNT)
        for token in (min(shown & set(here)), min(set(here) - shown)):
            changed = batch[keys[name]].clone()
            window = changed[cells(token, modality)]
            window.copy_((window + 1) % model.options.classes if name == "semseg" else window.flip(-1))
            after = model.compare(predictions, {**batch, keys[name]: changed})
            moved = {key for key in before if not torch.equal(before[key], after[key])}
            own = {"rgb", "norm_rgb"} if name == "rgb" else {name}
            assert moved == (set() if token in shown else own), (name, token)


def test_masked_pixels_are_no_input() -> None:
    model = objective()
    batch = make_batch(model, 1)
    before = model.predict(batch)
    shown = set(batch["visible"][0].tolist())
    for modality, key in enumerate(("view1", "depth", "semseg")):
        here = set(range(modality * COUNT, (modality + 1) * COUNT))
        for tokens, seen in ((here - shown, False), (here & shown, True)):
            changed = batch[key].clone()
            for token in tokens:
                window = changed[cells(token, modality)]
                window.copy_((window + 1) % model.options.classes if key == "semseg" else window + 1)
            after = model.predict({**batch, key: changed})
            for name in NAMES:
                assert torch.equal(before[name], after[name]) is not seen, (key, name)


def test_the_encoder_is_told_where_every_token_is() -> None:
    """Of constant maps, all tokens of a modality are equal but for the position table, which all modalities share."""
    model = objective()
    batch = {name: torch.ones_like(tensor) for name, tensor in make_batch(model, 1).items()}
    batch["visible"] = torch.arange(0, 192, 3)[None]
    given: list[Tensor] = []
    model.backbone.blocks[0].register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    model.predict(batch)
    positions = model.backbone.positions
    assert positions is not None
    bare = given[0][0, 1:] - positions.repeat(3, 1)[batch["visible"][0]]
    parts = [bare[:22], bare[22:43], bare[43:]]  # every third of 192 tokens
    assert all(torch.allclose(part, part[:1].expand_as(part), atol=1e-5) for part in parts)
    assert not any(torch.allclose(parts[one][0], parts[two][0], atol=1e-3) for one, two in ((0, 1), (0, 2), (1, 2)))


def test_a_modality_that_is_all_visible_costs_nothing_and_breaks_nothing() -> None:
    model = objective(options=MultimodalOptions(**{**vars(MINI), "visible": COUNT}))
    batch = make_batch(model, 2)
    batch["visible"][1] = torch.arange(COUNT, 2 * COUNT)  # of the second sample all depth, nothing else
    alone = {name: tensor[:1] for name, tensor in batch.items()}
    both, first = model.losses(batch), model.losses(alone)
    assert torch.allclose(both["depth"], first["depth"])  # the mean is over samples with something to predict
    batch["visible"][0] = batch["visible"][1]
    losses = model.losses(batch)
    assert losses["depth"].item() == 0 and losses["rgb"].item() > 0
    model(batch).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_a_batch_is_the_mean_of_its_samples() -> None:
    model = objective()
    batch = make_batch(model, 3)
    alone = [model({name: tensor[i : i + 1] for name, tensor in batch.items()}).item() for i in range(3)]
    assert model(batch).item() == pytest.approx(np.mean(alone), rel=1e-5)


def test_gradients_reach_every_parameter() -> None:
    model = objective()
    batch = make_batch(model)
    batch["visible"][0] = torch.arange(0, 192, 6)  # some of every modality
    model(batch).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and float(parameter.grad.abs().sum()) > 0, name


def test_tokens_carry_their_own_modalitys_vector() -> None:
    model = objective()
    batch = make_batch(model, 2)
    batch["visible"] = torch.arange(COUNT, COUNT + 32).expand(2, -1)  # depth alone is seen
    torch.autograd.backward(model.losses(batch)["semseg"])
    adapter = model.output_adapters["semseg"]
    assert isinstance(adapter, SpatialAdapter)
    used = {name for name, vector in adapter.task_embeddings.items() if vector.grad is not None and vector.grad.any()}
    assert used == {"depth", "semseg"}


def test_an_adapter_by_hand() -> None:
    """Written a second time, one token after the other: no residual around the attention, one around its MLP."""
    torch.manual_seed(0)
    adapter = SpatialAdapter(
        "depth", modalities=MODALITIES, grid=(2, 3), encoder_width=8, values=5, width=8, depth=0, heads=2
    )
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    weights = adapter.state_dict()

    def linear(name: str, tokens: Tensor) -> Tensor:
        return F.linear(tokens, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str, tokens: Tensor) -> Tensor:
        normal: Tensor = (tokens - tokens.mean(-1, keepdim=True)) / (
            tokens.var(-1, keepdim=True, correction=0) + 1e-6
        ).sqrt()
        scaled: Tensor = normal * weights[f"{name}.weight"] + weights[f"{name}.bias"]
        return scaled

    encoded, shown = torch.randn(1, 1 + 4, 8), [1, 7, 9, 17]
    kinds = [weights[f"task_embeddings.{name}"][0, 0] for name in MODALITIES]
    embeddings = [kinds[token // 6] + weights["pos_emb"][0, :, token % 6 // 3, token % 3] for token in range(18)]
    seen = {token: linear("proj_context", encoded[0, 1 + k]) + embeddings[token] for k, token in enumerate(shown)}
    context = torch.stack([linear("proj_context", encoded[0, 0]), *seen.values()])
    queries = torch.stack([seen.get(token, weights["mask_token"][0, 0] + embeddings[token]) for token in range(6, 12)])
    query = linear("decoder.q", norm("query_norm", queries))
    key, value = linear("decoder.kv", norm("context_norm", context)).chunk(2, dim=-1)
    heads = [np.s_[:, :4], np.s_[:, 4:]]
    mixed = [(query[part] @ key[part].T / 2).softmax(dim=-1) @ value[part] for part in heads]
    tokens = linear("decoder.proj", torch.cat(mixed, dim=-1))
    tokens = tokens + linear("mlp.fc2", F.gelu(linear("mlp.fc1", norm("out_norm", tokens))))
    with torch.no_grad():
        given = adapter(encoded, torch.tensor([shown]))
    assert torch.allclose(given[0], linear("out_proj", tokens), atol=1e-4)


def test_the_same_seed_gives_the_same_loss() -> None:
    values = []
    for seed in (0, 0, 1):
        model = objective(seed=seed)
        values.append(model(make_batch(model)).item())
    assert values[0] == values[1] != values[2]


def test_reconstructions_keep_what_is_visible_and_predict_the_rest() -> None:
    model = objective()
    batch = make_batch(model, 1)
    # Classes constant in blocks of the stride, so that nothing is lost by reading every second one.
    batch["semseg"] = batch["semseg"][:, ::2, ::2].repeat_interleave(2, 1).repeat_interleave(2, 2)
    images, predictions = model.reconstruct(batch), model.predict(batch)
    shown = set(batch["visible"][0].tolist())
    for modality, (name, key) in enumerate(zip(MODALITIES, ("view1", "depth", "semseg"), strict=True)):
        assert images[key].shape == batch[key].shape and images[key].dtype == batch[key].dtype
        assert not images[key].requires_grad
        for patch in range(COUNT):
            where = cells(patch + modality * COUNT, modality)
            if patch + modality * COUNT in shown:
                assert torch.equal(images[key][where], batch[key][where])
            elif name == "semseg":
                best = predictions[name][0, patch].argmax(dim=0)
                assert torch.equal(images[key][where][0, ::2, ::2], best)
                assert torch.equal(images[key][where][0, 1::2, 1::2], best)
            else:
                assert torch.equal(images[key][where][0], predictions[name][0, patch])


def test_half_precision_changes_little_and_spares_the_scores() -> None:
    model = objective()
    batch = make_batch(model)
    exact = model.losses(batch)
    kinds: dict[str, torch.dtype] = {}
    for name, adapter in model.output_adapters.items():
        adapter.register_forward_hook(lambda *given, name=name: kinds.update({name: given[-1].dtype}))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = model.losses(batch)
        assert model(batch).dtype == torch.float32
        assert kinds == {name: torch.float32 if name == "semseg" else torch.bfloat16 for name in NAMES}
        assert {patches.dtype for patches in model.predict(batch).values()} == {torch.float32}
    for name in NAMES:
        assert rough[name].item() == pytest.approx(exact[name].item(), rel=0.02), name
        assert rough[name].item() != exact[name].item()


@pytest.mark.slow
def test_files_have_the_official_names_and_load_again(tmp_path: Path) -> None:
    model = objective()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    path = tmp_path / "multimae.pth"
    write_official(model.backbone, path, pretraining=model.extra_state_dict())
    state = torch.load(path, weights_only=True)["model"]
    adapter = {name.removeprefix("output_adapters.depth."): tuple(tensor.shape) for name, tensor in state.items()}
    expected = {
        "mask_token": (1, 1, 96),
        "task_embeddings.semseg": (1, 1, 96),
        "pos_emb": (1, 96, 8, 8),
        "proj_context.weight": (96, 128),
        "decoder.q.weight": (96, 96),
        "decoder.kv.bias": (192,),
        "context_norm.weight": (96,),
        "mlp.fc1.weight": (384, 96),
        "decoder_transformer.1.attn.qkv.weight": (288, 96),
        "out_proj.weight": (64, 96),
    }
    assert expected.items() <= adapter.items()
    assert state["input_adapters.semseg.class_emb.weight"].shape == (17, 64)
    assert state["input_adapters.semseg.proj.weight"].shape == (128, 64, 4, 4)
    assert state["output_adapters.semseg.out_proj.weight"].shape == (17 * 16, 96)
    for name in MODALITIES:
        assert torch.equal(state[f"input_adapters.{name}.pos_emb"], state["input_adapters.rgb.pos_emb"])
    assert {name.split(".")[1] for name in state if name.startswith("output_adapters.")} == set(NAMES)
    images = torch.randn(1, 3, 64, 64)
    again = load_backbone(path, image_size=64)
    assert all(torch.equal(a, b) for a, b in zip(again.encode(images), model.backbone.encode(images), strict=True))


def test_without_normalized_patches_there_is_one_color_adapter() -> None:
    model = objective(options=MultimodalOptions(**{**vars(MINI), "normalised_rgb": False}))
    assert tuple(model.losses(make_batch(model))) == MODALITIES
    assert not [name for name in model.extra_state_dict() if "norm_rgb" in name]


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"semseg_stride": 3}, FitError, "must divide the patch size 8"),
        ({"visible": 192}, FitError, "192 tokens together"),
        ({"visible": 0}, UsageError, r"^\[multimae\]: visible: input should be greater than 0 \(given 0\)$"),
        ({"decoder_depth": -1}, UsageError, r"decoder_depth: .* greater than or equal to 0 \(given -1\)"),
        ({"concentration": 0.0}, UsageError, "concentration: .* greater than 0"),
        ({"concentration": float("nan")}, UsageError, "concentration: .* finite number"),
        ({"decoder_heads": 5}, UsageError, "decoder_width = 96"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], kind: type[BenchError], words: str) -> None:
    with pytest.raises(kind, match=words) as error:
        objective(options=options_of(MultimodalOptions, {**vars(MINI), **changes}, "[multimae]"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["random:mini-mae", "random:mini-croco"])
def test_backbones_of_other_families_are_refused(name: str) -> None:
    backbone = load_backbone(name, image_size=64)
    assert isinstance(backbone, ViT)
    with pytest.raises(FitError, match="random:multimae-vitb"):
        MultimodalAutoencoder(backbone, MINI)
