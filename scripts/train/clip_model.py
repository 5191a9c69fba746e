"""CLIP (Radford et al. 2021) with OpenAI's tensor names: ModifiedResNet or ViT, and the text transformer.

The token table holds only the tokens that training reads, and one row for all others: `Tokens` says which. The export
keeps that form (`token_embedding.ids`, `.rows`, `.other`); `nada` spreads it to the full 49,408 rows when it reads it.
"""

import torch
import torch.nn.functional as F
from torch import nn

MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
STD = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)


class Bottleneck(nn.Module):
    """A residual block whose stride is an average pool."""

    def __init__(self, inputs, planes, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, planes, 1, bias=False), nn.BatchNorm2d(planes)
        self.conv2, self.bn2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False), nn.BatchNorm2d(planes)
        self.conv3, self.bn3 = nn.Conv2d(planes, planes * 4, 1, bias=False), nn.BatchNorm2d(planes * 4)
        self.stride = stride
        self.downsample = None
        if stride > 1 or inputs != planes * 4:
            self.downsample = nn.Sequential()
            self.downsample.add_module("0", nn.Conv2d(inputs, planes * 4, 1, bias=False))
            self.downsample.add_module("1", nn.BatchNorm2d(planes * 4))

    def forward(self, x):
        pool = (lambda t: F.avg_pool2d(t, self.stride)) if self.stride > 1 else (lambda t: t)
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(pool(y)))
        return F.relu(y + (self.downsample(pool(x)) if self.downsample else x))


class AttentionPool(nn.Module):
    def __init__(self, side, width, heads, outputs):
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(side**2 + 1, width) / width**0.5)
        self.k_proj, self.q_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))
        self.c_proj = nn.Linear(width, outputs)
        self.heads = heads

    def forward(self, x):
        n, c = x.shape[:2]
        x = x.flatten(2).transpose(1, 2)  # [N, HW, C]
        x = torch.cat([x.mean(1, keepdim=True), x], 1) + self.positional_embedding
        split = lambda t: t.view(n, -1, self.heads, c // self.heads).transpose(1, 2)  # noqa: E731
        y = F.scaled_dot_product_attention(split(self.q_proj(x[:, :1])), split(self.k_proj(x)), split(self.v_proj(x)))
        return self.c_proj(y.transpose(1, 2).reshape(n, c))


class ModifiedResNet(nn.Module):
    def __init__(self, layers, width, size, outputs):
        super().__init__()
        half = width // 2
        self.conv1, self.bn1 = nn.Conv2d(3, half, 3, 2, 1, bias=False), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = nn.Conv2d(half, half, 3, padding=1, bias=False), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = nn.Conv2d(half, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        inputs = width
        for i, blocks in enumerate(layers):
            stage = nn.Sequential()
            for b in range(blocks):
                stage.append(Bottleneck(inputs, width << i, 2 if i and b == 0 else 1))
                inputs = (width << i) * 4
            setattr(self, f"layer{i + 1}", stage)
        self.attnpool = AttentionPool(size // 32, inputs, inputs // 64, outputs)
        for module in self.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)
        std = inputs**-0.5
        for name in ("q", "k", "v", "c"):
            nn.init.normal_(getattr(self.attnpool, f"{name}_proj").weight, std=std)

    def forward(self, x):
        x = x.contiguous(memory_format=torch.channels_last)
        for i in (1, 2, 3):
            x = F.relu(getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)), inplace=True)
        x = F.avg_pool2d(x, 2)
        for i in (1, 2, 3, 4):
            x = getattr(self, f"layer{i}")(x)
        return self.attnpool(x)


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Attention(nn.Module):
    """Multi-head attention with `nn.MultiheadAttention`'s names."""

    def __init__(self, width, heads):
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.randn(3 * width, width) * width**-0.5)
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.heads = heads

    def forward(self, x, causal):
        n, length, width = x.shape
        q, k, v = F.linear(x, self.in_proj_weight, self.in_proj_bias).view(n, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
        return self.out_proj(y.transpose(1, 2).reshape(n, length, width))


class Block(nn.Module):
    def __init__(self, width, heads, layers, causal):
        super().__init__()
        self.attn, self.ln_1, self.ln_2 = Attention(width, heads), nn.LayerNorm(width), nn.LayerNorm(width)
        self.mlp = nn.Sequential()
        self.mlp.add_module("c_fc", nn.Linear(width, 4 * width))
        self.mlp.add_module("gelu", QuickGELU())
        self.mlp.add_module("c_proj", nn.Linear(4 * width, width))
        self.causal = causal
        scale = width**-0.5 * (2 * layers) ** -0.5
        nn.init.normal_(self.attn.out_proj.weight, std=scale)
        nn.init.normal_(self.mlp.c_proj.weight, std=scale)
        nn.init.normal_(self.mlp.c_fc.weight, std=(2 * width) ** -0.5)

    def forward(self, x):
        x = x + self.attn(self.ln_1(x), self.causal)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, width, layers, heads, causal):
        super().__init__()
        self.resblocks = nn.Sequential(*[Block(width, heads, layers, causal) for _ in range(layers)])

    def forward(self, x):
        return self.resblocks(x)


class VisionTransformer(nn.Module):
    def __init__(self, size, patch, width, layers, outputs):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, patch, patch, bias=False)
        self.class_embedding = nn.Parameter(torch.randn(width) * width**-0.5)
        self.positional_embedding = nn.Parameter(torch.randn((size // patch) ** 2 + 1, width) * width**-0.5)
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(width, layers, width // 64, False)
        self.proj = nn.Parameter(torch.randn(width, outputs) * width**-0.5)

    def forward(self, x):
        x = self.conv1(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(x), 1, -1), x], 1) + self.positional_embedding
        x = self.transformer(self.ln_pre(x))
        return self.ln_post(x[:, 0]) @ self.proj


class Clip(nn.Module):
    """`vision`: ("resnet", layers, width) or ("vit", layers, width, patch). Token ids are those of `Tokens`."""

    CONTEXT = 77

    def __init__(self, vision, size=64, embed=128, text_width=128, text_layers=3, tokens=1000):
        super().__init__()
        kind, *shape = vision
        if kind == "resnet":
            self.visual = ModifiedResNet(*shape, size, embed)
        else:
            layers, width, patch = shape
            self.visual = VisionTransformer(size, patch, width, layers, embed)
        self.token_embedding = nn.Embedding(tokens, text_width)
        self.positional_embedding = nn.Parameter(torch.randn(self.CONTEXT, text_width) * 0.01)
        self.transformer = Transformer(text_width, text_layers, text_width // 64, True)
        self.ln_final = nn.LayerNorm(text_width)
        self.text_projection = nn.Parameter(torch.randn(text_width, embed) * text_width**-0.5)
        self.logit_scale = nn.Parameter(torch.tensor(10.0).log())
        nn.init.normal_(self.token_embedding.weight, std=0.02)

    def image(self, x):
        """Images `[N, 3, 64, 64]` in [0, 1] to unit vectors."""
        return F.normalize(self.visual((x - MEAN.to(x)) / STD.to(x)), dim=-1)

    def text(self, tokens):
        """Token rows, padded with 0 after the end token (the attention is causal: padding changes nothing)."""
        x = self.token_embedding(tokens.clamp(min=0)) + self.positional_embedding[: tokens.shape[1]]
        x = self.ln_final(self.transformer(x))
        end = (tokens >= 0).sum(1) - 1
        return F.normalize(x[torch.arange(len(x), device=x.device), end] @ self.text_projection, dim=-1)


class Tokens:
    """CLIP's tokenizer, narrowed to the tokens of the training texts; every other token is row 0."""

    def __init__(self, encode, texts):
        self.encode = encode  # text -> list of BPE ids, without start and end
        seen = sorted({i for t in texts for i in encode(t)} | {49406, 49407})
        self.ids = seen
        self.row = {token: k + 1 for k, token in enumerate(seen)}
        self._cache = {}

    def __len__(self):
        return len(self.ids) + 1

    def __call__(self, texts, longest=26):
        rows = []
        for text in texts:
            if text not in self._cache:
                if len(self._cache) > 300_000:
                    self._cache.clear()
                ids = [49406, *self.encode(text)[: longest - 2], 49407]
                self._cache[text] = [self.row.get(i, 0) for i in ids]
            rows.append(self._cache[text])
        out = torch.full((len(rows), max(map(len, rows))), -1, dtype=torch.long)
        for k, row in enumerate(rows):
            out[k, : len(row)] = torch.tensor(row)
        return out
