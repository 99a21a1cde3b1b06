"""Puts the trained parts together as the folder that LTXPipeline.from_pretrained loads, in bfloat16."""

import json

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTXPipeline

import data
import dit
import prompts
import text

# What the program asks for when a job does not say.
DEFAULTS = {
    "size": f"{data.SIZE}x{data.SIZE}",
    "num_frames": data.FRAMES,
    "steps": 16,
    "guidance": 3.0,
    "fps": data.FPS,
}
# transformers 5 writes a class name of its own that version 4 does not know; both read this one.
TOKENIZER_CLASS = "PreTrainedTokenizerFast"


def scheduler():
    """The scheduler of LTX-Video, unchanged."""
    return FlowMatchEulerDiscreteScheduler(
        num_train_timesteps=1000,
        shift=1.0,
        use_dynamic_shifting=True,
        base_shift=0.95,
        max_shift=2.05,
        base_image_seq_len=1024,
        max_image_seq_len=4096,
        shift_terminal=0.1,
    )


def pipeline(vae, trained):
    model, t5 = dit.transformer(), text.encoder()
    model.load_state_dict(trained["transformer"])
    t5.load_state_dict(trained["text_encoder"])
    vae.latents_mean.copy_(trained["mean"])
    vae.latents_std.copy_(trained["std"])
    return LTXPipeline(
        scheduler=scheduler(), vae=vae, text_encoder=t5, tokenizer=text.tokenizer(), transformer=model
    )


def edit(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value, indent=2) + "\n")


def write(folder, vae, trained):
    whole = pipeline(vae, trained).to(torch.bfloat16)
    whole.save_pretrained(folder, safe_serialization=True)
    edit(folder / "model_index.json", lambda v: v.update(tokenizer=["transformers", TOKENIZER_CLASS]))
    edit(folder / "tokenizer" / "tokenizer_config.json", lambda v: v.update(tokenizer_class=TOKENIZER_CLASS))
    (folder / "croft.json").write_text(json.dumps({"defaults": DEFAULTS}, indent=2) + "\n")
    (folder / "prompts.txt").write_text("\n".join(prompts.prompts()) + "\n")
