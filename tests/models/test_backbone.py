"""Backbone: the layers before and after the mixer."""

import pytest
import torch
from torch import Tensor, nn

from lkca_search.models.networks.backbone import Backbone, DropPath, PatchEmbedding, Pooling
from lkca_search.models.networks.lkca import LKCA
from lkca_search.models.networks.mixers import Attention
from lkca_search.spec.configuration import ImageShape


def small_backbone(
    mixer: nn.Module, *, drop_path_rate: float = 0.0, pooling: Pooling = "mean", patch_size: int = 2
) -> Backbone:
    """Return a backbone for images of 6x4 pixels; tokens have 8 channels."""
    return Backbone(
        ImageShape(6, 4, 3),
        5,
        make_mixer=lambda: mixer,
        patch_size=patch_size,
        embed_dim=8,
        depth=1,
        mlp_ratio=1.5,
        drop_path_rate=drop_path_rate,
        pooling=pooling,
    )


def drop(rate: float, x: Tensor, *, seed: int, training: bool = True) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        dropped: Tensor = DropPath(rate).train(training)(x)
    return dropped


def test_drop_path_keeps_or_zeroes_whole_images_and_preserves_the_mean() -> None:
    dropped = drop(0.25, torch.ones(4000, 3, 2), seed=0)
    per_image = dropped[:, 0, 0]
    assert torch.equal(dropped, per_image[:, None, None].expand_as(dropped))
    assert per_image.unique().tolist() == [0, pytest.approx(4 / 3)]
    assert per_image.mean().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(("rate", "training"), [(0.0, True), (0.5, False)])
def test_drop_path_is_the_identity_without_a_rate_or_outside_training(rate: float, training: bool) -> None:
    x = torch.ones(64, 3, 2)
    assert drop(rate, x, seed=0, training=training) is x


def test_drop_path_repeats_with_its_seed_and_differs_with_another() -> None:
    x = torch.ones(64, 3, 2)
    assert torch.equal(drop(0.5, x, seed=0), drop(0.5, x, seed=0))
    assert not torch.equal(drop(0.5, x, seed=0), drop(0.5, x, seed=1))


@pytest.mark.parametrize(("channels", "patch_size"), [(3, 2), (1, 4), (2, 1)])
def test_patch_embedding_is_a_convolution_with_stride_as_wide_as_its_kernel(channels: int, patch_size: int) -> None:
    embedding = PatchEmbedding(channels, patch_size, 5).double()
    images = torch.randn(2, channels, 8, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight = embedding.projection.weight.view(5, channels, patch_size, patch_size)
    expected = nn.functional.conv2d(images, weight, embedding.projection.bias, stride=patch_size)
    # (B, C, H, W) -> (B, N, C)
    torch.testing.assert_close(embedding(images), expected.flatten(2).transpose(1, 2), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("pooling", "num_tokens"), [("mean", 6), ("class_token", 7)])
def test_the_mixer_receives_every_patch_and_the_class_token_if_there_is_one(pooling: Pooling, num_tokens: int) -> None:
    seen: list[torch.Size] = []
    mixer = nn.Identity()
    mixer.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    model = small_backbone(mixer, pooling=pooling)
    assert model(torch.zeros(2, 3, 6, 4)).shape == (2, 5)
    assert seen == [(2, num_tokens, 8)]
    assert model.positions.shape == (1, num_tokens, 8)


@pytest.mark.parametrize("pooling", ["mean", "class_token"])
def test_without_its_branches_a_backbone_classifies_the_pooled_embedding(pooling: Pooling) -> None:
    model = small_backbone(nn.Identity(), pooling=pooling, drop_path_rate=1 - 1e-9)
    images = torch.randn(2, 3, 6, 4, generator=torch.Generator().manual_seed(0))
    if model.class_token is None:
        pooled = (model.patches(images) + model.positions).mean(dim=1)
    else:
        pooled = (model.class_token + model.positions[:, :1]).squeeze(1).expand(2, -1)
    torch.testing.assert_close(model(images), model.head(model.norm(pooled)))


def test_backbones_differ_in_the_mixer_and_nothing_else() -> None:
    def outside_the_mixer(model: nn.Module) -> dict[str, torch.Size]:
        return {name: value.shape for name, value in model.state_dict().items() if ".mixer." not in name}

    lkca, attention = small_backbone(LKCA(8, (3, 2), 3)), small_backbone(Attention(8, 2))
    assert outside_the_mixer(lkca) == outside_the_mixer(attention)


def test_linear_weights_are_xavier_normal_and_biases_zero() -> None:
    model = Backbone(
        ImageShape(8, 8, 1),
        10,
        make_mixer=lambda: Attention(128, 8),
        patch_size=2,
        embed_dim=128,
        depth=1,
        mlp_ratio=2.0,
        drop_path_rate=0.0,
    )
    linears = [module for module in model.modules() if isinstance(module, nn.Linear)]
    assert len(linears) == 6
    for linear in linears:
        expected = (2 / (linear.in_features + linear.out_features)) ** 0.5
        assert linear.weight.std().item() == pytest.approx(expected, rel=0.15)
        assert linear.bias is None or not linear.bias.any()
    assert model.positions.std().item() == pytest.approx(1, rel=0.15)


def test_attention_is_the_softmax_formula_head_by_head() -> None:
    layer = Attention(6, 3).double()
    x = torch.randn(2, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    query, key, value = layer.qkv(x).chunk(3, dim=2)
    heads = []
    for head in range(3):
        part = slice(2 * head, 2 * head + 2)
        scores = query[..., part] @ key[..., part].transpose(1, 2) / 2**0.5
        heads.append(scores.softmax(dim=2) @ value[..., part])
    torch.testing.assert_close(layer(x), layer.out(torch.cat(heads, dim=2)), rtol=1e-12, atol=1e-12)


def test_a_backbone_that_cannot_be_built_is_refused_with_rule_and_values() -> None:
    with pytest.raises(ValueError, match=r"^patch_size must divide height and width of the image, got 4 on 6x4$"):
        small_backbone(nn.Identity(), patch_size=4)
    with pytest.raises(ValueError, match=r"^num_heads must divide the width, got 3 heads for width 8$"):
        Attention(8, 3)
