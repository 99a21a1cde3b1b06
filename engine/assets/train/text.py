"""The words: a tokenizer of whole words and a tiny T5, both in the form transformers reads.

LTXPipeline runs T5 over 128 padded tokens without a mask, and masks the padding only in the transformer's
cross-attention. Training does the same, and may then cut the sequence to the longest caption, which is exact.
"""

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

import data

LENGTH = 128  # padded tokens, LTXPipeline's max_sequence_length
CUT = 12  # no caption is longer
WIDTH = 64


def tokenizer():
    vocabulary = {w: i for i, w in enumerate(["<pad>", "</s>", "<unk>", *data.words()])}
    t = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    t.normalizer = normalizers.Lowercase()
    t.pre_tokenizer = pre_tokenizers.Whitespace()
    t.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=t, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=LENGTH
    )


def encoder():
    """A T5 encoder of two layers, untrained."""
    config = T5Config(
        vocab_size=3 + len(data.words()),
        d_model=WIDTH,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
    )
    return T5EncoderModel(config)


class Captions:
    """Token ids of every caption there is, looked up by the indices of its words."""

    def __init__(self, device="cpu"):
        names = [list(t) for t in (data.COLOURS, data.SHAPES, data.MOTIONS, data.BACKGROUNDS)]
        self.sizes = [len(n) for n in names]
        all_of_them = [
            data.caption(c, s, m, b) for c in names[0] for s in names[1] for m in names[2] for b in names[3]
        ]
        tok = tokenizer()
        longest = max(len(tok(text).input_ids) for text in all_of_them)
        if longest > CUT:
            raise ValueError(f"a caption has {longest} tokens, over {CUT}: raise text.CUT")
        pad = dict(padding="max_length", max_length=LENGTH, truncation=True)
        self.ids = torch.tensor(tok(all_of_them, **pad).input_ids, device=device)
        self.empty = torch.tensor(tok([""], **pad).input_ids[0], device=device)

    def take(self, colour, shape, motion, background, dropped):
        """Ids (n, LENGTH) and cross-attention mask (n, CUT); captions marked in `dropped` become empty."""
        _, s, m, b = self.sizes
        rows = ((colour * s + shape) * m + motion) * b + background
        ids = torch.where(dropped[:, None], self.empty, self.ids[rows])
        return ids, (ids[:, :CUT] != 0).float()
