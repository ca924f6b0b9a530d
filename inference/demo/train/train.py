#!/usr/bin/env python3
"""Trains the built-in model: a small network of the gpt-oss architecture, exported in the gpt-oss checkpoint format.

Input is what `makecorpus` writes: rows of packed documents (tokens.u16, kinds.u8, skills.u8, meta.json). Output is
config.json, generation_config.json and model.safetensors with MXFP4 experts, plus the weights to resume from.

The expert weights are trained through MXFP4 rounding (straight-through gradient), the dense weights through bf16
matmuls, so that what is exported is what was trained. All experts are computed for every token and those that the
router did not choose are weighted with zero: the same function as sparse evaluation, in plain large matmuls.

    train.py --corpus DIR --heldout DIR --out DIR --minutes 8

Runs on one CUDA device or on the CPU; the fast paths (flex attention, torch.compile) are tried first, compared with
the plain definition, and left out if they fail.
"""

import argparse
import json
import math
import os
import struct
import sys
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

# Token kinds in kinds.u8 (low bits); bit 7 marks a document's first token. inference/demo/corpus/pack.go writes them.
KINDS = ["padding", "prompt", "header", "analysis", "callhead", "arguments", "final"]
PADDING, PROMPT, HEADER, ANALYSIS, CALLHEAD, ARGUMENTS, FINAL = range(7)
DOCUMENT_START = 0x80

# E2M1 magnitudes by code 0..7, and the midpoints between neighbours.
E2M1 = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
MIDPOINTS = [0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0]

# Constants of the architecture, from the gpt-oss model code and config.json.
ALPHA, LIMIT, EPS = 1.702, 7.0, 1e-5
ROPE_THETA, ROPE_FACTOR, BETA_FAST, BETA_SLOW, ORIGINAL_CONTEXT = 150000.0, 32.0, 32.0, 1.0, 4096


def mxfp4_scale(w):
    """[..., blocks, 32] -> power-of-two scale [..., blocks, 1]. The largest magnitude lands in (3.5, 7]: what lies
    above 6 is cut by at most the 1.0 that rounding between 4 and 6 costs as well."""
    peak = w.abs().amax(dim=-1, keepdim=True).clamp_min(2.0**-60)
    return torch.exp2(torch.ceil(torch.log2(peak / 7.0)))


def mxfp4_codes(w):
    """[..., in] -> (codes 0..15 [..., in/32, 32], scale [..., in/32, 1])."""
    b = w.float().unflatten(-1, (-1, 32))
    scale = mxfp4_scale(b)
    mid = torch.tensor(MIDPOINTS, device=w.device)
    code = torch.bucketize((b / scale).abs(), mid)
    return code + 8 * (b < 0).to(code.dtype), scale


def mxfp4_round(w):
    """w as MXFP4 would store it; the gradient passes straight through."""
    b = w.unflatten(-1, (-1, 32))
    scale = mxfp4_scale(b)
    a = (b / scale).abs()
    # Spacing of E2M1 is 0.5 below 2, 1 up to 4, 2 up to 6.
    step = torch.where(a < 1.75, 0.5, torch.where(a < 3.5, 1.0, 2.0))
    q = (torch.round(a / step) * step).clamp_max(6.0) * scale * torch.sign(b)
    return w + (q.flatten(-2) - w).detach()


def rope_table(head_dim, positions):
    """cos, sin [positions, head_dim/2], both times YaRN's concentration. The correction range is not rounded."""
    pair = torch.arange(0, head_dim, 2, dtype=torch.float64)
    freq = ROPE_THETA ** (pair / head_dim)
    def bound(beta):
        return head_dim * math.log(ORIGINAL_CONTEXT / (beta * 2 * math.pi)) / (2 * math.log(ROPE_THETA))
    low, high = bound(BETA_FAST), bound(BETA_SLOW)
    ramp = ((torch.arange(head_dim // 2, dtype=torch.float64) - low) / (high - low)).clamp(0, 1)
    inv = ramp / (ROPE_FACTOR * freq) + (1 - ramp) / freq
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * inv[None, :]
    concentration = 0.1 * math.log(ROPE_FACTOR) + 1.0
    return (angle.cos() * concentration).float(), (angle.sin() * concentration).float()


def rotate(x, cos, sin):
    """x [B, L, heads, D]; cos, sin [B, L, 1, D/2]: half-split rotation."""
    a, b = x.float().chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1)


class Layout:
    """Which keys each query of a batch may see: the same document, not later, and on sliding layers the last
    `window` positions. Holds what the chosen attention needs."""

    def __init__(self, documents, window, kind):
        self.kind = kind
        B, L = documents.shape
        if kind == "flex":
            from torch.nn.attention.flex_attention import create_block_mask
            def full(b, h, i, j):
                return (documents[b, i] == documents[b, j]) & (j <= i)
            def sliding(b, h, i, j):
                return (documents[b, i] == documents[b, j]) & (j <= i) & (i - j < window)
            self.full = create_block_mask(full, B, None, L, L, device=documents.device)
            self.sliding = create_block_mask(sliding, B, None, L, L, device=documents.device)
            return
        i = torch.arange(L, device=documents.device)
        causal = i[:, None] >= i[None, :]
        near = causal & (i[:, None] - i[None, :] < window)
        same = documents[:, :, None] == documents[:, None, :]
        self.full, self.sliding = (same & causal)[:, None], (same & near)[:, None]
        if kind == "sdpa":  # one more key that every query sees, in a group of 8 for alignment
            extra = torch.zeros(B, 1, L, 8, dtype=torch.bool, device=documents.device)
            extra[..., 0] = True
            self.full = torch.cat((self.full, extra), dim=-1)
            self.sliding = torch.cat((self.sliding, extra), dim=-1)


def attend_plain(q, k, v, sinks, mask):
    """The definition: q [B, H, L, D], k and v [B, KV, L, D], sinks [H], mask [B, 1, L, L]."""
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    z = (q @ k.transpose(-1, -2)).float() / math.sqrt(q.shape[-1])
    z = z.masked_fill(~mask, float("-inf"))
    z = torch.cat((z, sinks.float().view(1, -1, 1, 1).expand(z.shape[0], -1, z.shape[2], 1)), dim=-1)
    return z.softmax(-1)[..., :-1].to(v.dtype) @ v


def attend_sdpa(q, k, v, sinks, mask):
    """The sink as one more key with a zero value: an extra dimension that is 1 in q and carries the sink in k."""
    B, H, L, D = q.shape
    groups = H // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    q = F.pad(torch.cat((q, torch.ones_like(q[..., :1])), -1), (0, 7))
    key = F.pad((sinks * math.sqrt(D)).to(k.dtype).view(1, H, 1, 1).expand(B, H, 1, 1), (D, 7))
    k = torch.cat((F.pad(k, (0, 8)), key, torch.zeros_like(k[:, :, :7, :1]).expand(B, H, 7, D + 8)), 2)
    v = F.pad(v, (0, 8, 0, 8))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1 / math.sqrt(D))[..., :D]


def attend_flex(q, k, v, sinks, mask):
    """Softmax without the sink, then its share: exp(lse) / (exp(lse) + exp(sink)) = sigmoid(lse - sink)."""
    from torch.nn.attention.flex_attention import flex_attention
    try:
        from torch.nn.attention.flex_attention import AuxRequest
        o, aux = flex_attention(q, k, v, block_mask=mask, enable_gqa=True, return_aux=AuxRequest(lse=True))
        lse = aux.lse
    except ImportError:
        o, lse = flex_attention(q, k, v, block_mask=mask, enable_gqa=True, return_lse=True)
    return o * torch.sigmoid(lse - sinks.view(1, -1, 1)).unsqueeze(-1).to(o.dtype)


ATTEND = {"plain": attend_plain, "sdpa": attend_sdpa, "flex": attend_flex}


class Norm(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(n))

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * self.weight


class Attention(nn.Module):
    def __init__(self, c, sliding):
        super().__init__()
        H, KV, D = c["num_attention_heads"], c["num_key_value_heads"], c["head_dim"]
        self.heads, self.kv, self.dim, self.sliding = H, KV, D, sliding
        self.q_proj = nn.Linear(c["hidden_size"], H * D)
        self.k_proj = nn.Linear(c["hidden_size"], KV * D)
        self.v_proj = nn.Linear(c["hidden_size"], KV * D)
        self.o_proj = nn.Linear(H * D, c["hidden_size"])
        self.sinks = nn.Parameter(torch.zeros(H))

    def forward(self, x, cos, sin, layout):
        B, L, _ = x.shape
        q = rotate(self.q_proj(x).view(B, L, self.heads, self.dim), cos, sin)
        k = rotate(self.k_proj(x).view(B, L, self.kv, self.dim), cos, sin)
        v = self.v_proj(x).view(B, L, self.kv, self.dim)
        q, k, v = (t.to(v.dtype).transpose(1, 2) for t in (q, k, v))
        mask = layout.sliding if self.sliding else layout.full
        o = ATTEND[layout.kind](q, k, v, self.sinks, mask)
        return self.o_proj(o.transpose(1, 2).reshape(B, L, -1))


class MoE(nn.Module):
    """gate and up are the even and odd rows of gate_up_proj; they lie apart here and are interleaved on export."""

    def __init__(self, c):
        super().__init__()
        E, I, H = c["num_local_experts"], c["intermediate_size"], c["hidden_size"]
        self.top, self.n, self.quantise = c["num_experts_per_tok"], E, True
        self.router = nn.Linear(H, E)
        self.gate = nn.Parameter(torch.randn(E, I, H) * H**-0.5)
        self.up = nn.Parameter(torch.randn(E, I, H) * H**-0.5)
        self.down = nn.Parameter(torch.randn(E, H, I) * I**-0.5)
        self.gate_bias = nn.Parameter(torch.zeros(E, I))
        self.up_bias = nn.Parameter(torch.zeros(E, I))
        self.down_bias = nn.Parameter(torch.zeros(E, H))

    def forward(self, x):
        with torch.autocast(x.device.type, enabled=False):
            logits = F.linear(x.float(), self.router.weight, self.router.bias)
            top, chosen = logits.topk(self.top, dim=-1)
            w = torch.zeros_like(logits).scatter(-1, chosen, top.softmax(-1))
            # Switch-style balance: experts' share of tokens times their mean probability.
            probability = logits.softmax(-1).flatten(0, -2).mean(0)
            share = (w > 0).float().flatten(0, -2).mean(0) / self.top
            balance = self.n * (probability * share.detach()).sum()
        gate, up, down = self.gate, self.up, self.down
        if self.quantise:
            gate, up, down = mxfp4_round(gate), mxfp4_round(up), mxfp4_round(down)
        g = F.linear(x, gate.flatten(0, 1), self.gate_bias.flatten()).clamp(max=LIMIT)
        u = F.linear(x, up.flatten(0, 1), self.up_bias.flatten()).clamp(-LIMIT, LIMIT)
        h = g * torch.sigmoid(ALPHA * g) * (u + 1)
        h = h.unflatten(-1, (self.n, -1)) * w.unsqueeze(-1).to(h.dtype)
        y = F.linear(h.flatten(-2), down.permute(1, 0, 2).flatten(1))
        return y + w.to(y.dtype) @ self.down_bias.to(y.dtype), balance


class Layer(nn.Module):
    def __init__(self, c, sliding):
        super().__init__()
        self.input_layernorm = Norm(c["hidden_size"])
        self.self_attn = Attention(c, sliding)
        self.post_attention_layernorm = Norm(c["hidden_size"])
        self.mlp = MoE(c)

    def forward(self, x, cos, sin, layout):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, layout)
        y, balance = self.mlp(self.post_attention_layernorm(x))
        return x + y, balance


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config = c
        self.embed = nn.Embedding(c["vocab_size"], c["hidden_size"])
        self.layers = nn.ModuleList(Layer(c, t == "sliding_attention") for t in c["layer_types"])
        self.norm = Norm(c["hidden_size"])
        self.head = nn.Linear(c["hidden_size"], c["vocab_size"], bias=False)
        self.sharpen = 1.0  # factor of the exported logits
        cos, sin = rope_table(c["head_dim"], 8192)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        out = (2 * len(self.layers)) ** -0.5
        for name, p in self.named_parameters():
            if name.endswith("proj.weight") or name.endswith("router.weight"):
                nn.init.normal_(p, std=p.shape[1] ** -0.5 * (out if "o_proj" in name else 1.0))
            elif name.endswith("bias"):
                nn.init.zeros_(p)
        for l in self.layers:
            l.mlp.down.data.mul_(out)
        nn.init.normal_(self.embed.weight, std=0.3)
        nn.init.normal_(self.head.weight, std=0.5 * c["hidden_size"] ** -0.5)

    def forward(self, tokens, positions, layout):
        cos, sin = self.cos[positions][:, :, None], self.sin[positions][:, :, None]
        x, balance = self.embed(tokens), 0.0
        for layer in self.layers:
            x, b = layer(x, cos, sin, layout)
            balance = balance + b
        return self.head(self.norm(x)), balance / len(self.layers)


def make_config(args, meta):
    n = args.layers
    special = meta["specials"]
    return {
        "architectures": ["GptOssForCausalLM"],
        "attention_bias": True,
        "attention_dropout": 0.0,
        "eos_token_id": special["<|return|>"],
        "experts_per_token": args.top,
        "head_dim": args.head_dim,
        "hidden_act": "silu",
        "hidden_size": args.hidden,
        "initial_context_length": ORIGINAL_CONTEXT,
        "initializer_range": 0.02,
        "intermediate_size": args.intermediate,
        "layer_types": ["sliding_attention" if i % 2 == 0 else "full_attention" for i in range(n)],
        "max_position_embeddings": 131072,
        "model_type": "gpt_oss",
        "num_attention_heads": args.heads,
        "num_experts_per_tok": args.top,
        "num_hidden_layers": n,
        "num_key_value_heads": args.kv_heads,
        "num_local_experts": args.experts,
        "output_router_logits": False,
        "pad_token_id": special["<|endoftext|>"],
        "quantization_config": {
            "modules_to_not_convert": ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"],
            "quant_method": "mxfp4",
        },
        "rms_norm_eps": EPS,
        "rope_scaling": {
            "beta_fast": BETA_FAST, "beta_slow": BETA_SLOW, "factor": ROPE_FACTOR,
            "original_max_position_embeddings": ORIGINAL_CONTEXT, "rope_type": "yarn", "truncate": False,
        },
        "rope_theta": ROPE_THETA,
        "router_aux_loss_coef": args.balance,
        "sliding_window": args.window,
        "swiglu_limit": LIMIT,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "vocab_size": meta["vocab"],
    }


class Corpus:
    """Packed rows in device memory: tokens [rows, L] int16, kinds and skills [rows, L] uint8."""

    def __init__(self, folder, device):
        with open(os.path.join(folder, "meta.json")) as f:
            self.meta = json.load(f)
        L = self.meta["row_tokens"]
        def load(name, dtype):
            a = np.memmap(os.path.join(folder, name), dtype=dtype, mode="r")
            return torch.from_numpy(np.array(a)).view(-1, L).to(device)
        self.tokens = load("tokens.u16", np.int16)
        self.kinds = load("kinds.u8", np.uint8)
        self.skills = load("skills.u8", np.uint8)
        self.rows = self.tokens.shape[0]

    def batch(self, rows):
        tokens = self.tokens[rows].long()
        kinds = self.kinds[rows]
        start = (kinds & DOCUMENT_START) != 0
        documents = start.long().cumsum(1)
        index = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        positions = index - torch.where(start, index, torch.zeros_like(index)).cummax(1).values
        kind = (kinds & 0x7F).long()
        # A target counts unless it is padding or the first token of the next document.
        target_kind = torch.where(start[:, 1:], torch.zeros_like(kind[:, 1:]), kind[:, 1:])
        return tokens, positions, documents, tokens[:, 1:], target_kind, self.skills[rows][:, 1:].long()


def training_loss(model, layout, tokens, positions, targets, weights, balance_weight):
    logits, balance = model(tokens, positions, layout)
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets.flatten(), reduction="none")
    loss = (loss * weights.flatten()).sum() / weights.sum()
    return loss + balance_weight * balance, loss


def autocast(device):
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


def step_function(args, config, device, corpus):
    """Finds the fastest way to compute the loss that works here and agrees with the plain definition. The compiled
    function shares its parameters with `model`, which stays eager for evaluation and export."""
    torch.manual_seed(args.seed)
    model = Model(config).to(device)
    if device.type == "cuda":
        ways = [("flex", True), ("sdpa", True), ("sdpa", False), ("plain", False)]
    else:
        ways = [("sdpa", False), ("plain", False)]
    ways = [(a, c) for a, c in ways if args.attention in ("auto", a) and (args.compile or not c)]
    weigh = weights_table(args, device)

    def measure(function, kind, count):
        tokens, positions, documents, targets, kinds, _ = corpus.batch(torch.arange(count, device=device) % 2)
        layout = Layout(documents, args.window, kind)
        model.zero_grad(set_to_none=True)
        with autocast(device):
            loss, _ = function(model, layout, tokens, positions, targets, weigh[kinds], args.balance)
        loss.backward()
        sinks = torch.stack([l.self_attn.sinks.grad.float() for l in model.layers]).flatten()
        keys = torch.stack([l.self_attn.k_proj.weight.grad.float() for l in model.layers]).flatten()
        model.zero_grad(set_to_none=True)
        return loss.item(), sinks, keys

    with torch.no_grad():  # sinks away from zero, so that the comparison sees them
        for l in model.layers:
            l.self_attn.sinks.normal_(std=0.5)
    want = measure(training_loss, "plain", 2)
    found = None
    for kind, compiled in ways:
        function = training_loss
        started = time.time()
        try:
            if compiled:
                function = torch.compile(training_loss, dynamic=False)
            elif kind == "flex":
                continue
            # The same two rows repeated have the same mean loss and gradients: one compilation checks and measures.
            got = measure(function, kind, args.batch_rows)
            def close(a, b):
                return (F.cosine_similarity(a, b, dim=0) > 0.97).item()
            ok = abs(got[0] - want[0]) < 0.02 and close(got[1], want[1]) and close(got[2], want[2])
            log(args, f"attention {kind}, compiled {compiled}: loss {got[0]:.4f} (plain {want[0]:.4f}), "
                      f"gradients {'agree' if ok else 'DIFFER'}, {time.time() - started:.0f} s")
            if not ok:
                continue
            started = time.time()
            measure(function, kind, args.batch_rows)
            log(args, f"attention {kind}, compiled {compiled}: {args.batch_rows * corpus.meta['row_tokens'] / (time.time() - started):,.0f} tokens/s")
            found = (function, kind)
            break
        except Exception as e:  # a fast path that does not work here is not an error
            log(args, f"attention {kind}, compiled {compiled}: {type(e).__name__}: {str(e)[:300]}")
            if device.type == "cuda":
                torch.cuda.empty_cache()
    if found is None:
        sys.exit("no attention implementation works on this device")
    with torch.no_grad():
        for l in model.layers:
            l.self_attn.sinks.zero_()
    return model, found[0], found[1]


def weights_table(args, device):
    w = torch.ones(len(KINDS))
    w[PADDING], w[PROMPT] = 0.0, args.prompt_weight
    w[CALLHEAD] = w[ARGUMENTS] = args.call_weight
    return w.to(device)


@torch.no_grad()
def evaluate(args, model, corpus, device, kind, rows):
    """Loss and greedy accuracy by token kind, and by skill the share of documents of which every call token (recipient
    and arguments), and every token of all assistant turns, would have been chosen greedily."""
    model.eval()
    loss_sum, hit_sum, count = (torch.zeros(len(KINDS), device=device) for _ in range(3))
    names = corpus.meta["skills"]
    calls = torch.zeros(len(names), 4, device=device)  # documents with calls, right; documents, wholly right
    for first in range(0, rows, args.eval_rows):
        index = torch.arange(first, min(first + args.eval_rows, rows), device=device)
        tokens, positions, documents, targets, kinds, skills = corpus.batch(index)
        with autocast(device):
            logits, _ = model(tokens, positions, Layout(documents, args.window, kind))
        logits = logits[:, :-1].float()
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
        hit = (logits.argmax(-1) == targets).float()
        for k in range(1, len(KINDS)):
            m = (kinds == k).float()
            loss_sum[k] += (loss * m).sum()
            hit_sum[k] += (hit * m).sum()
            count[k] += m.sum()
        # Per document: (row, document) pairs numbered densely.
        width = int(documents.max().item()) + 1
        doc = (torch.arange(tokens.shape[0], device=device)[:, None] * width + documents[:, 1:]).flatten()
        n = tokens.shape[0] * width
        def per_document(mask):
            z = torch.zeros(n, device=device)
            return z.clone().index_add_(0, doc, mask.flatten().float()), z.index_add_(0, doc, (mask * (1 - hit)).flatten())
        call = ((kinds == CALLHEAD) | (kinds == ARGUMENTS)).float()
        call_tokens, call_errors = per_document(call)
        own_tokens, own_errors = per_document((kinds > PROMPT).float())
        skill = torch.zeros(n, dtype=torch.long, device=device)
        skill[doc] = skills.flatten()
        for column, mask in enumerate(((call_tokens > 0), (call_tokens > 0) & (call_errors == 0), (own_tokens > 0), (own_tokens > 0) & (own_errors == 0))):
            calls[:, column].index_add_(0, skill, mask.float())
    model.train()
    total = calls.sum(0)
    line = "  ".join(f"{KINDS[k]} {loss_sum[k] / count[k].clamp_min(1):.3f}/{100 * hit_sum[k] / count[k].clamp_min(1):.1f}%" for k in range(1, len(KINDS)))
    log(args, f"  held out (loss/accuracy): {line}")
    log(args, f"  calls wholly right {100 * total[1] / total[0].clamp_min(1):.1f}% of {int(total[0])}; "
              + "  ".join(f"{names[i]} {100 * calls[i, 1] / calls[i, 0]:.0f}%" for i in range(len(names)) if calls[i, 0] > 0))
    log(args, f"  documents wholly as written {100 * total[3] / total[2].clamp_min(1):.1f}% of {int(total[2])}; "
              + "  ".join(f"{names[i]} {100 * calls[i, 3] / calls[i, 2]:.0f}%" for i in range(len(names)) if calls[i, 2] > 0))


def log(args, text):
    text = f"{time.time() - args.started:7.1f}  {text}"
    print(text, flush=True)
    with open(os.path.join(args.out, "log.txt"), "a") as f:
        f.write(text + "\n")


def tensors_of(model):
    """The checkpoint's tensors, by HF name: bf16 for what is dense, U8 blocks and scales for the experts."""
    t = {"model.embed_tokens.weight": model.embed.weight, "model.norm.weight": model.norm.weight, "lm_head.weight": model.head.weight * model.sharpen}
    for i, l in enumerate(model.layers):
        p = f"model.layers.{i}."
        t[p + "input_layernorm.weight"] = l.input_layernorm.weight
        t[p + "post_attention_layernorm.weight"] = l.post_attention_layernorm.weight
        for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
            t[p + f"self_attn.{name}.weight"] = getattr(l.self_attn, name).weight
            t[p + f"self_attn.{name}.bias"] = getattr(l.self_attn, name).bias
        t[p + "self_attn.sinks"] = l.self_attn.sinks
        t[p + "mlp.router.weight"], t[p + "mlp.router.bias"] = l.mlp.router.weight, l.mlp.router.bias
        e = p + "mlp.experts."
        t[e + "gate_up_proj_bias"] = torch.stack((l.mlp.gate_bias, l.mlp.up_bias), -1).flatten(1)
        t[e + "down_proj_bias"] = l.mlp.down_bias
        for name, w in (("gate_up_proj", torch.stack((l.mlp.gate, l.mlp.up), 2).flatten(1, 2)), ("down_proj", l.mlp.down)):
            codes, scale = mxfp4_codes(w)
            codes = codes.to(torch.uint8)
            t[e + name + "_blocks"] = codes[..., 0::2] | (codes[..., 1::2] << 4)  # low nibble = even element
            t[e + name + "_scales"] = (torch.log2(scale).squeeze(-1).round() + 127).to(torch.uint8)
    return {k: (v if v.dtype == torch.uint8 else v.bfloat16()).detach().cpu().contiguous() for k, v in t.items()}


def write_safetensors(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(tensors):
        v = tensors[name]
        size = v.numel() * v.element_size()
        header[name] = {"dtype": "U8" if v.dtype == torch.uint8 else "BF16", "shape": list(v.shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(tensors):
            v = tensors[name]
            f.write((v if v.dtype == torch.uint8 else v.view(torch.int16)).numpy().tobytes())


def read_safetensors(path):
    with open(path, "rb") as f:
        data = f.read()
    (n,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + n])
    header.pop("__metadata__", None)
    out = {}
    for name, h in header.items():
        a, b = h["data_offsets"]
        raw = bytearray(data[8 + n + a : 8 + n + b])
        if h["dtype"] == "U8":
            out[name] = torch.frombuffer(raw, dtype=torch.uint8).view(h["shape"])
        else:
            out[name] = torch.frombuffer(raw, dtype=torch.int16).view(torch.bfloat16).view(h["shape"])
    return out


def load_export(path, config):
    """A float32 model with the exported file's weights, the experts dequantised: an independent reading of the file."""
    t = read_safetensors(path)
    model = Model(config)
    table = torch.tensor(E2M1 + [-v for v in E2M1])
    def expert(name):
        blocks, scales = t[name + "_blocks"], t[name + "_scales"]
        values = torch.stack((table[(blocks & 15).long()], table[(blocks >> 4).long()]), -1).flatten(-2)
        return (values * torch.exp2(scales.float() - 127).unsqueeze(-1)).flatten(-2)
    with torch.no_grad():
        model.embed.weight.copy_(t["model.embed_tokens.weight"])
        model.norm.weight.copy_(t["model.norm.weight"])
        model.head.weight.copy_(t["lm_head.weight"])
        for i, l in enumerate(model.layers):
            p = f"model.layers.{i}."
            l.input_layernorm.weight.copy_(t[p + "input_layernorm.weight"])
            l.post_attention_layernorm.weight.copy_(t[p + "post_attention_layernorm.weight"])
            for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
                getattr(l.self_attn, name).weight.copy_(t[p + f"self_attn.{name}.weight"])
                getattr(l.self_attn, name).bias.copy_(t[p + f"self_attn.{name}.bias"])
            l.self_attn.sinks.copy_(t[p + "self_attn.sinks"])
            l.mlp.router.weight.copy_(t[p + "mlp.router.weight"])
            l.mlp.router.bias.copy_(t[p + "mlp.router.bias"])
            w, b = expert(p + "mlp.experts.gate_up_proj"), t[p + "mlp.experts.gate_up_proj_bias"]
            l.mlp.gate.copy_(w[:, 0::2]), l.mlp.up.copy_(w[:, 1::2])
            l.mlp.gate_bias.copy_(b[:, 0::2]), l.mlp.up_bias.copy_(b[:, 1::2])
            l.mlp.down.copy_(expert(p + "mlp.experts.down_proj"))
            l.mlp.down_bias.copy_(t[p + "mlp.experts.down_proj_bias"])
            l.mlp.quantise = False
    return model


def as_stored(name, p):
    """A training parameter as the file should hold it."""
    if name.rsplit(".", 1)[-1] not in ("gate", "up", "down"):
        return p.bfloat16().float()
    codes, scale = mxfp4_codes(p)
    table = torch.tensor(E2M1 + [-v for v in E2M1], device=p.device)
    return (table[codes] * scale).flatten(-2)


@torch.no_grad()
def export(args, model, config, corpus):
    path = os.path.join(args.out, "model.safetensors")
    write_safetensors(path, tensors_of(model))
    special = corpus.meta["specials"]
    with open(os.path.join(args.out, "config.json"), "w") as f:
        json.dump(config, f, indent=2)
        f.write("\n")
    with open(os.path.join(args.out, "generation_config.json"), "w") as f:
        json.dump({"bos_token_id": special["<|startoftext|>"], "do_sample": True,
                   "eos_token_id": [special["<|return|>"], special["<|endoftext|>"], special["<|call|>"]],
                   "pad_token_id": special["<|endoftext|>"]}, f, indent=2)
        f.write("\n")
    device = model.embed.weight.device
    exported = load_export(path, config).to(device)
    wrong = [name for (name, p), q in zip(model.named_parameters(), exported.parameters())
             if not torch.equal(as_stored(name, p * model.sharpen if name == "head.weight" else p), q)]
    if wrong:
        sys.exit(f"the exported file does not hold the trained parameters: {', '.join(wrong)}")
    # Rounding decides near-ties of the router, and each can change a whole position. So the numbers are only reported,
    # and many changed positions are an error.
    tokens, positions, documents, _, _, _ = corpus.batch(torch.arange(1, device=device))
    layout = Layout(documents, args.window, "plain")
    a, b = (m(tokens, positions, layout)[0].float() for m in (exported, model))
    b = b * model.sharpen
    away = (a - b).abs().amax(-1) / (b.max() - b.min())
    same = (a.argmax(-1) == b.argmax(-1)).float().mean().item()
    log(args, f"exported {os.path.getsize(path):,} bytes, every parameter as trained; logits away from the unrounded model's, in parts of their "
              f"range: median {away.median().item():.5f}, 99% of positions {away.flatten().quantile(0.99).item():.5f}, "
              f"worst {away.max().item():.5f}; argmax equal at {100 * same:.2f}% of positions")
    if same < 0.98:
        sys.exit("the exported model decides differently from the trained one")


def save_weights(args, model):
    """All parameters as bf16 in pieces of at most 15 MiB (weights-000.bin …): what --resume reads."""
    flat = torch.cat([p.detach().flatten().bfloat16().cpu() for p in model.parameters()])
    piece = 15 * 2**20 // 2
    for i, start in enumerate(range(0, flat.numel(), piece)):
        flat[start : start + piece].view(torch.int16).numpy().tofile(os.path.join(args.out, f"weights-{i:03d}.bin"))


@torch.no_grad()
def load_weights(folder, model):
    names = sorted(n for n in os.listdir(folder) if n.startswith("weights-"))
    flat = torch.cat([torch.from_numpy(np.fromfile(os.path.join(folder, n), dtype=np.int16)).view(torch.bfloat16) for n in names])
    offset = 0
    for p in model.parameters():
        p.copy_(flat[offset : offset + p.numel()].view_as(p).to(p))
        offset += p.numel()
    if offset != flat.numel():
        sys.exit(f"{folder}: weights hold {flat.numel()} numbers, this model {offset}")


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("--corpus", required=True, help="folder that makecorpus wrote")
    a.add_argument("--heldout", required=True, help="the same, of the heldout split")
    a.add_argument("--out", required=True)
    a.add_argument("--resume", help="folder with weights-*.bin to start from")
    a.add_argument("--minutes", type=float, default=8, help="time for training, from the first step on")
    a.add_argument("--deadline", type=float, default=0, help="minutes since the program's start after which training ends in any case")
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    a.add_argument("--attention", default="auto", choices=["auto", "flex", "sdpa", "plain"])
    a.add_argument("--compile", type=int, default=1)
    a.add_argument("--batch-rows", type=int, default=32)
    a.add_argument("--lr", type=float, default=2e-3)
    a.add_argument("--warmup", type=int, default=200, help="steps")
    a.add_argument("--decay", type=float, default=0.1, help="weight decay of matrices")
    a.add_argument("--prompt-weight", type=float, default=0.03, help="of tokens that the model only reads")
    a.add_argument("--call-weight", type=float, default=2.0, help="of tokens of calls")
    a.add_argument("--sharpen", type=float, default=2.0, help="factor of the exported lm_head: temperature 1 of the export is 1/sharpen of the training's")
    a.add_argument("--balance", type=float, default=0.01)
    a.add_argument("--eval-rows", type=int, default=8)
    a.add_argument("--eval-total", type=int, default=128)
    a.add_argument("--eval-every", type=float, default=90, help="seconds")
    a.add_argument("--hidden", type=int, default=256)
    a.add_argument("--intermediate", type=int, default=192)
    a.add_argument("--layers", type=int, default=8)
    a.add_argument("--heads", type=int, default=8)
    a.add_argument("--kv-heads", type=int, default=4)
    a.add_argument("--head-dim", type=int, default=32)
    a.add_argument("--experts", type=int, default=8)
    a.add_argument("--top", type=int, default=2)
    a.add_argument("--window", type=int, default=128)
    args = a.parse_args()
    args.started = time.time()
    os.makedirs(args.out, exist_ok=True)
    device = torch.device(args.device)
    torch.backends.cuda.matmul.allow_tf32 = True
    # The extra key of attend_sdpa rides on a masked kernel; cuDNN's has been the fragile one.
    if hasattr(torch.backends.cuda, "enable_cudnn_sdp"):
        torch.backends.cuda.enable_cudnn_sdp(False)

    corpus, heldout = Corpus(args.corpus, device), Corpus(args.heldout, device)
    config = make_config(args, corpus.meta)
    log(args, f"torch {torch.__version__}, {torch.cuda.get_device_name() if device.type == 'cuda' else 'cpu'}; "
              f"{corpus.rows:,} rows of {corpus.meta['row_tokens']}, held out {heldout.rows:,}; {' '.join(sys.argv[1:])}")
    model, function, kind = step_function(args, config, device, corpus)
    model.sharpen = args.sharpen
    if args.resume:
        load_weights(args.resume, model)
    log(args, f"{sum(p.numel() for p in model.parameters()):,} parameters, training with {kind}")
    eval_kind = "plain" if kind == "plain" else "sdpa"

    matrices = [p for n, p in model.named_parameters() if p.dim() >= 2 and not n.endswith("bias") and "embed" not in n]
    others = [p for n, p in model.named_parameters() if not any(p is m for m in matrices)]
    optimiser = torch.optim.AdamW([{"params": matrices, "weight_decay": args.decay}, {"params": others, "weight_decay": 0.0}],
                                  lr=args.lr, betas=(0.9, 0.95), fused=device.type == "cuda")
    weigh = weights_table(args, device)
    generator = torch.Generator().manual_seed(args.seed)
    begin = time.time()
    budget = args.minutes * 60
    if args.deadline:
        budget = min(budget, args.deadline * 60 - (begin - args.started))
    order, cursor, step, seen, last_eval, epoch = torch.randperm(corpus.rows, generator=generator), 0, 0, 0, begin, 0
    running = torch.zeros((), device=device)
    while True:
        progress = (time.time() - begin) / budget
        if progress >= 1:
            break
        if cursor + args.batch_rows > corpus.rows:
            order, cursor, epoch = torch.randperm(corpus.rows, generator=generator), 0, epoch + 1
        rows = order[cursor : cursor + args.batch_rows].to(device)
        cursor += args.batch_rows
        lr = args.lr * min(1.0, (step + 1) / args.warmup) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        for group in optimiser.param_groups:
            group["lr"] = lr
        tokens, positions, documents, targets, kinds, _ = corpus.batch(rows)
        with autocast(device):
            total, loss = function(model, Layout(documents, args.window, kind), tokens, positions, targets, weigh[kinds], args.balance)
        total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        running += loss.detach()
        step, seen = step + 1, seen + tokens.numel()
        if step % 10 == 0 and device.type == "cuda":
            torch.cuda.synchronize()  # so that the schedule reads the time of finished work
        if step % 100 == 0:
            log(args, f"step {step} epoch {epoch} loss {running.item() / 100:.4f} lr {lr:.2e} {seen / (time.time() - begin):,.0f} tokens/s {100 * progress:.0f}%")
            running.zero_()
        if time.time() - last_eval > args.eval_every:
            evaluate(args, model, heldout, device, eval_kind, min(args.eval_total, heldout.rows))
            save_weights(args, model)
            export(args, model, config, heldout)
            last_eval = time.time()
    log(args, f"{step} steps, {seen:,} tokens")
    evaluate(args, model, heldout, device, eval_kind, min(2 * args.eval_total, heldout.rows))
    save_weights(args, model)
    export(args, model, config, heldout)


if __name__ == "__main__":
    main()
