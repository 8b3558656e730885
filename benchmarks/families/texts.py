"""Families of transformers' encoders and causal models, each as a small folder with random weights.

The folders are in the hub's layout, and their tokenizer is one of few words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.modalities.text.recipe import TextBackbone

WORDS = (
    "a", "the", "day", "sun", "rain", "we", "saw", "it", "was",
    "is", "very", "so", "good", "bad", "great", "awful", "table",
)  # fmt: skip
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
IDS = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
BERT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
LLAMA = BERT | {"num_key_value_heads": 2, "head_dim": 8}
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}
BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 3,
}
XLM = {"emb_dim": 32, "n_layers": 2, "n_heads": 4, "max_position_embeddings": 64}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
MAMBA = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8}
# Kinds with a part for texts and another, whose configuration has no keys of its own for texts.
PART = BERT | {"vocab_size": 80, "num_key_value_heads": 2, "head_dim": 8}
PICTURES = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 16,
    "patch_size": 8,
}
PARTS = {"text_config": PART, "vision_config": PICTURES}

CONFIGURATIONS: Mapping[str, Mapping[str, Any]] = {
    "albert": BERT | {"embedding_size": 16},
    "bart": BART,
    "bert": BERT,
    "big_bird": BERT | {"block_size": 4, "num_random_blocks": 1},
    "blip": PARTS,
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "camembert": BERT,
    "canine": BERT | {"num_hash_buckets": 64},
    "clip": PARTS,
    "clip_text_model": BERT,
    "convbert": BERT | {"embedding_size": 32},
    "data2vec-text": BERT,
    "deberta": BERT | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]},
    "deberta-v2": BERT | {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_buckets": 8},
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64},
    "electra": BERT | {"embedding_size": 16},
    "ernie": BERT,
    "esm": BERT | {"mask_token_id": 4, "position_embedding_type": "rotary"},
    "eurobert": LLAMA,
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "flaubert": XLM,
    "fnet": BERT,
    "funnel": {
        "block_sizes": [1, 1],
        "d_model": 32,
        "n_head": 4,
        "d_head": 8,
        "d_inner": 64,
        "block_repeats": [1, 1],
    },
    "gemma": LLAMA,
    "gemma3": PARTS,
    "gemma3_text": LLAMA | {"sliding_window": 8},
    "gpt2": GPT2,
    "gpt_neo": {
        "hidden_size": 32,
        "num_layers": 2,
        "num_heads": 4,
        "attention_types": [[["global", "local"], 1]],
        "window_size": 8,
        "max_position_embeddings": 64,
    },
    "gpt_neox": BERT,
    "gptj": GPT2 | {"rotary_dim": 4},
    "ibert": BERT,
    "led": {key: value for key, value in BART.items() if key != "max_position_embeddings"}
    | {"attention_window": 8, "max_encoder_position_embeddings": 64, "max_decoder_position_embeddings": 64},
    "llama": LLAMA,
    "longformer": BERT | {"attention_window": 8},
    "longt5": T5 | {"local_radius": 4, "encoder_attention_type": "local"},
    "luke": BERT | {"entity_vocab_size": 8, "entity_emb_size": 8},
    "mamba": MAMBA,
    "mamba2": MAMBA | {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "mbart": BART,
    "megatron-bert": BERT,
    "mistral": LLAMA | {"sliding_window": 8},
    "mobilebert": BERT | {"embedding_size": 16, "intra_bottleneck_size": 16, "num_feedforward_networks": 2},
    "modernbert": BERT | {"global_attn_every_n_layers": 2, "local_attention": 8},
    "mpnet": BERT,
    "mpt": {"d_model": 32, "n_layers": 2, "n_heads": 4, "max_seq_len": 64},
    "mra": BERT | {"block_per_row": 2},
    "mt5": T5,
    "nomic_bert": BERT,
    "nystromformer": BERT | {"num_landmarks": 64, "segment_means_seq_len": 64},
    "opt": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "ffn_dim": 64,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "word_embed_proj_dim": 16,
    },
    "perceiver": {"num_latents": 8, "d_latents": 32, "d_model": 32, "num_self_attends_per_block": 2},
    "phi": BERT,
    "qwen2": LLAMA,
    "qwen2_vl": {
        "text_config": PART
        | {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}},
        "vision_config": {"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "patch_size": 8},
    },
    "qwen3": LLAMA,
    "reformer": {
        "attention_head_size": 8,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "feed_forward_size": 64,
        "axial_pos_shape": [8, 8],
        "axial_pos_embds_dim": [16, 16],
        "attn_layers": ["local", "lsh"],
        "local_attn_chunk_length": 8,
        "lsh_attn_chunk_length": 8,
        "num_buckets": 2,
        "max_position_embeddings": 64,
    },
    "rembert": BERT | {"input_embedding_size": 16, "output_embedding_size": 16},
    "roberta": BERT | {"max_position_embeddings": 66, "pad_token_id": 1},
    "roc_bert": BERT | {"enable_pronunciation": False, "enable_shape": False},
    "roformer": BERT | {"embedding_size": 32},
    "rwkv": {"hidden_size": 32, "num_hidden_layers": 2, "context_length": 64},
    "siglip": PARTS,
    "smollm3": LLAMA,
    "squeezebert": BERT | {"embedding_size": 32},
    "switch_transformers": T5 | {"num_experts": 2},
    "t5": T5,
    "umt5": T5,
    "vilt": BERT | {"image_size": 16, "patch_size": 8},
    "xlm": XLM,
    "xlm-roberta": BERT | {"max_position_embeddings": 66, "pad_token_id": 1},
    "xlnet": {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 64},
    "xmod": BERT | {"languages": ["en_XX"], "default_language": "en_XX"},
    "yoso": BERT,
}


def write_family(family: str, folder: Path) -> TextBackbone:
    """Write a small encoder of a family with random weights and a tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModel

    vocabulary = write_tokenizer(folder)
    torch.manual_seed(0)
    options = {"vocab_size": vocabulary, "architectures": [], **IDS, **CONFIGURATIONS[family]}
    AutoModel.from_config(AutoConfig.for_model(family, **options)).save_pretrained(folder)
    return TextBackbone(name=family, weights=str(folder))


def write_tokenizer(folder: Path) -> int:
    """Write a tokenizer that knows a few words and all small letters, and return its number of tokens."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    tokens = list(dict.fromkeys([*SPECIAL, *WORDS, *letters, *(f"##{letter}" for letter in letters)]))
    tokenizer = Tokenizer(
        models.WordPiece({token: number for number, token in enumerate(tokens)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="[MASK]", **names).save_pretrained(folder)
    return len(tokens)


FAMILIES: Mapping[str, Callable[[Path], TextBackbone]] = {
    family: partial(write_family, family) for family in CONFIGURATIONS
}
"""What writes a small folder with random weights, and returns the recipe's section, for each family."""
