#!/usr/bin/env python3
"""Makes testdata/: small gpt-oss checkpoints, and the logits that Hugging Face transformers computes with them.

    python -m venv venv && venv/bin/pip install -r requirements.txt && venv/bin/python make.py

Two checkpoints of random weights are written as users have them on disk: "bf16" by transformers' own save_pretrained
(unquantised experts, rope_parameters), "mxfp4" in the tensors and the config.json spelling of the published gpt-oss
(blocks and scales, rope_scaling). transformers then loads each from disk in float32 and runs every case in one pass,
with plain attention and experts, no kernels. Everything is seeded; the same versions give the same bytes.

A case is worthless if a rounding error can change its answer by a jump, so the script refuses prompts where the best two
logits of a kept row, or the fourth and fifth router logit of any token, are too close, and takes the next seed. It also
refuses weights that leave a part of the model unused: clamping, experts, sinks, windows.
"""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import numpy
import safetensors
import torch
import transformers
from safetensors.torch import save_file
from transformers import GptOssConfig, GptOssForCausalLM, Mxfp4Config

HERE = Path(__file__).parent
OUT = HERE / "testdata"

LAYERS, HIDDEN, HEADS, KV_HEADS, HEAD_DIM, EXPERTS, TOP, VOCAB, WINDOW = 4, 64, 6, 2, 32, 8, 4, 300, 128
YARN = dict(rope_type="yarn", factor=32.0, beta_fast=32.0, beta_slow=1.0, truncate=False,
            original_max_position_embeddings=4096)

# Experts are narrower than the model in one checkpoint and wider in the other, so that neither a transposed nor a
# mistaken width passes. The limits are such that some activations are clamped and most are not.
CHECKPOINTS = {
    "bf16": dict(seed=1, intermediate=32, limit=2.5, cases=("prompt", "beyond-4096", "beyond-100000")),
    "mxfp4": dict(seed=2, intermediate=96, limit=7.0, cases=("prompt", "beyond-4096", "beyond-100000", "long")),
}

# name: tokens, position of the first, distance between the rows kept, last rows kept.
CASES = {
    "prompt": (300, 0, 7, 1),
    "beyond-4096": (220, 4000, 11, 1),
    "beyond-100000": (150, 100003, 7, 1),
    "long": (4300, 0, None, 6),
}

MIN_MARGIN = 5e-3  # best logit above the second best, as a part of the row's range
MIN_GAP = 2e-5  # fourth router logit above the fifth


def normal(g, *shape, std):
    """bf16 numbers, so that the file holds exactly what is computed with."""
    return (torch.randn(*shape, generator=g) * std).bfloat16()


def uniform(g, *shape, low, high):
    return (torch.rand(*shape, generator=g) * (high - low) + low).bfloat16()


def dense(g):
    """Everything but the experts' matrices, by its name on disk."""
    t = {
        "model.embed_tokens.weight": normal(g, VOCAB, HIDDEN, std=1),
        "model.norm.weight": uniform(g, HIDDEN, low=0.5, high=1.5),
        "lm_head.weight": normal(g, VOCAB, HIDDEN, std=0.3),
    }
    for i in range(LAYERS):
        p = f"model.layers.{i}."
        t[p + "input_layernorm.weight"] = uniform(g, HIDDEN, low=0.5, high=1.5)
        t[p + "post_attention_layernorm.weight"] = uniform(g, HIDDEN, low=0.5, high=1.5)
        for name, rows, cols in (("q", HEADS * HEAD_DIM, HIDDEN), ("k", KV_HEADS * HEAD_DIM, HIDDEN),
                                 ("v", KV_HEADS * HEAD_DIM, HIDDEN), ("o", HIDDEN, HEADS * HEAD_DIM)):
            t[p + f"self_attn.{name}_proj.weight"] = normal(g, rows, cols, std=cols**-0.5)
            t[p + f"self_attn.{name}_proj.bias"] = normal(g, rows, std=0.3)
        t[p + "self_attn.sinks"] = uniform(g, HEADS, low=-2, high=7)
        t[p + "mlp.router.weight"] = normal(g, EXPERTS, HIDDEN, std=HIDDEN**-0.5)
        t[p + "mlp.router.bias"] = normal(g, EXPERTS, std=0.3)
    return t


def experts_bf16(g, layer, width):
    """As transformers keeps them: [experts, in, out]."""
    p = f"model.layers.{layer}.mlp.experts."
    return {
        p + "gate_up_proj": normal(g, EXPERTS, HIDDEN, 2 * width, std=1.2 * HIDDEN**-0.5),
        p + "gate_up_proj_bias": normal(g, EXPERTS, 2 * width, std=0.5),
        p + "down_proj": normal(g, EXPERTS, width, HIDDEN, std=width**-0.5),
        p + "down_proj_bias": normal(g, EXPERTS, HIDDEN, std=0.5),
    }


def experts_mxfp4(g, layer, width):
    """As published: codes [experts, out, in/32, 16], scales [experts, out, in/32]."""
    p = f"model.layers.{layer}.mlp.experts."
    t = {
        p + "gate_up_proj_bias": normal(g, EXPERTS, 2 * width, std=0.5),
        p + "down_proj_bias": normal(g, EXPERTS, HIDDEN, std=0.5),
    }
    for name, rows, cols in (("gate_up_proj", 2 * width, HIDDEN), ("down_proj", HIDDEN, width)):
        groups = cols // 32
        t[p + name + "_blocks"] = torch.randint(0, 256, (EXPERTS, rows, groups, 16), generator=g, dtype=torch.uint8)
        scales = torch.randint(122, 126, (EXPERTS, rows, groups), generator=g, dtype=torch.uint8)
        rare = torch.rand(scales.shape, generator=g)
        scales[rare < 0.02] = 0  # 2^-127, below the smallest normal float32
        scales[(rare >= 0.02) & (rare < 0.04)] = 100
        scales[rare > 0.99] = 127
        t[p + name + "_scales"] = scales
    return t


def common_config(c):
    return dict(
        num_hidden_layers=LAYERS, hidden_size=HIDDEN, intermediate_size=c["intermediate"], num_attention_heads=HEADS,
        num_key_value_heads=KV_HEADS, head_dim=HEAD_DIM, num_local_experts=EXPERTS, num_experts_per_tok=TOP,
        vocab_size=VOCAB, sliding_window=WINDOW, max_position_embeddings=131072, rms_norm_eps=1e-5,
        swiglu_limit=c["limit"], attention_bias=True, tie_word_embeddings=False, hidden_act="silu",
        eos_token_id=VOCAB - 1, pad_token_id=VOCAB - 2,
        layer_types=["full_attention" if i % 2 else "sliding_attention" for i in range(LAYERS)])


def write_bf16(folder, c):
    g = torch.Generator().manual_seed(c["seed"])
    tensors = dense(g)
    for i in range(LAYERS):
        tensors |= experts_bf16(g, i, c["intermediate"])
    model = GptOssForCausalLM(GptOssConfig(**common_config(c), rope_parameters=dict(YARN, rope_theta=150000.0)))
    model.load_state_dict(tensors, strict=True)
    model.to(torch.bfloat16).save_pretrained(folder)
    (folder / "generation_config.json").unlink()


def write_mxfp4(folder, c):
    g = torch.Generator().manual_seed(c["seed"])
    tensors = dense(g)
    for i in range(LAYERS):
        tensors |= experts_mxfp4(g, i, c["intermediate"])
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = common_config(c) | dict(
        architectures=["GptOssForCausalLM"], model_type="gpt_oss", torch_dtype="bfloat16", attention_dropout=0.0,
        experts_per_token=TOP, initial_context_length=4096, initializer_range=0.02, output_router_logits=False,
        router_aux_loss_coef=0.9, use_cache=True, rope_theta=150000, rope_scaling=YARN,
        quantization_config=dict(quant_method="mxfp4", modules_to_not_convert=[
            "model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]))
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def load(folder, quantised):
    """transformers' own reading of the folder, expanded to float32."""
    kw = dict(quantization_config=Mxfp4Config(dequantize=True)) if quantised else {}
    model = GptOssForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", experts_implementation="eager", **kw)
    assert all(p.dtype == torch.float32 for p in model.parameters())
    if quantised:
        check_dequantised(model, safetensors.safe_open(folder / "model.safetensors", "pt"))
    return model.eval()


def check_dequantised(model, file):
    """The twin's experts are exactly table[code] * 2^(scale-127), low nibble first, transposed."""
    table = numpy.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
    table = numpy.concatenate([table, -table])
    codes = set()
    for i in range(LAYERS):
        for name in ("gate_up_proj", "down_proj"):
            stem = f"model.layers.{i}.mlp.experts.{name}"
            blocks, scales = file.get_tensor(stem + "_blocks").numpy(), file.get_tensor(stem + "_scales").numpy()
            nibbles = numpy.stack([blocks & 15, blocks >> 4], axis=-1).reshape(*scales.shape, 32)
            want = numpy.ldexp(table[nibbles], scales[..., None].astype(int) - 127).reshape(*scales.shape[:2], -1)
            got = model.get_parameter(stem).detach().numpy().astype(numpy.float64)
            assert numpy.array_equal(got, want.transpose(0, 2, 1)), stem
            codes |= set(nibbles.flat)
    assert len(codes) == 16


class Witness:
    """Looks into a forward pass: what it clamps, how it routes, whom it attends to."""

    def __init__(self, model):
        self.model, self.hooks = model, []
        self.gap, self.clamped, self.units, self.used, self.sink = float("inf"), 0, 0, set(), []
        for layer in model.model.layers:
            self.hooks += [
                layer.mlp.router.register_forward_hook(self.router),
                layer.self_attn.register_forward_pre_hook(self.mask, with_kwargs=True),
                layer.self_attn.register_forward_hook(self.attention),
            ]
        self.experts = type(model.model.layers[0].mlp.experts)
        self.gate = self.experts._apply_gate
        witness = self

        def apply_gate(module, x):
            witness.clamped += ((x[..., ::2] > module.limit) | (x[..., 1::2].abs() > module.limit)).sum().item()
            witness.units += x.numel() // 2
            return witness.gate(module, x)

        self.experts._apply_gate = apply_gate

    def router(self, module, args, out):
        best = out[0].topk(TOP + 1).values
        self.gap = min(self.gap, (best[:, TOP - 1] - best[:, TOP]).min().item())
        self.used |= set(out[2].flatten().tolist())

    def mask(self, module, args, kwargs):
        """Causal, and sliding over the fed tokens whatever their positions are."""
        mask = kwargs["attention_mask"]
        i = torch.arange(mask.shape[-1])
        allowed = i[None, :] <= i[:, None]
        if module.sliding_window is not None:
            allowed &= i[None, :] >= i[:, None] - (WINDOW - 1)
        assert torch.equal(mask[0, 0] == 0, allowed) and mask.shape[-1] == mask.shape[-2]

    def attention(self, module, args, out):
        self.sink.append(1 - out[1].sum(-1).mean().item())

    def close(self):
        for h in self.hooks:
            h.remove()
        self.experts._apply_gate = self.gate


def run_case(model, tokens, first, keep):
    witness = Witness(model)
    try:
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([tokens]), use_cache=False, logits_to_keep=torch.tensor(keep),
                           position_ids=torch.arange(first, first + len(tokens))[None]).logits[0]
    finally:
        witness.close()
    best = logits.topk(2).values
    span = logits.max(-1).values - logits.min(-1).values
    margin = ((best[:, 0] - best[:, 1]) / span).min().item()
    clamped, sink = witness.clamped / witness.units, sum(witness.sink) / len(witness.sink)
    assert 0.005 < clamped < 0.3 and 0.02 < sink < 0.9 and len(witness.used) == EXPERTS, (clamped, sink, witness.used)
    stats = dict(margin=margin, range=span.mean().item(), router_gap=witness.gap, clamped=clamped, sink=sink)
    return logits.numpy().astype("<f4"), {k: float(f"{v:.3g}") for k, v in stats.items()}


def make_case(model, name):
    """The first prompt seed without a near tie."""
    n, first, step, last = CASES[name]
    keep = sorted(set(range(0, n, step) if step else ()) | set(range(n - last, n)))
    for seed in range(100):
        tokens = torch.randint(0, VOCAB, (n,), generator=torch.Generator().manual_seed(seed)).tolist()
        logits, stats = run_case(model, tokens, first, keep)
        # In a long prompt some router is always close to a tie; one token in thousands cannot move the last rows.
        if stats["margin"] > MIN_MARGIN and (stats["router_gap"] > MIN_GAP or n > 1000):
            return tokens, logits, dict(first=first, rows=keep, seed=seed, **stats)
    raise SystemExit(f"{name}: every seed has a near tie")


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main():
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    shutil.rmtree(OUT, ignore_errors=True)
    cases = []
    for name, c in CHECKPOINTS.items():
        folder = OUT / name
        folder.mkdir(parents=True)
        (write_mxfp4 if name == "mxfp4" else write_bf16)(folder, c)
        model = load(folder, name == "mxfp4")
        for case in c["cases"]:
            tokens, logits, facts = make_case(model, case)
            (folder / f"{case}.tokens.json").write_text(json.dumps(tokens, separators=(",", ":")) + "\n")
            (folder / f"{case}.logits").write_bytes(logits.tobytes())
            cases.append(dict(checkpoint=name, name=case, **facts))
            print(cases[-1], file=sys.stderr)
    manifest = dict(
        about="Written by make.py. The hashes are of the script, its requirements and every file it made.",
        versions=dict(python=sys.version.split()[0], torch=torch.__version__, transformers=transformers.__version__,
                      safetensors=safetensors.__version__, numpy=numpy.__version__),
        vocab=VOCAB, cases=cases,
        sha256={p.relative_to(HERE).as_posix(): sha256(p) for p in sorted(
            [HERE / "make.py", HERE / "requirements.txt", *(p for p in OUT.rglob("*") if p.is_file())])})
    (OUT / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
