"""`onevision generate`: one answer to a prompt with images, streamed."""

import json
import sys
import time
from argparse import Namespace
from typing import Any

EXAMPLE = """examples:
  onevision generate --checkpoint Qwen2.5-VL-3B-Instruct --image chart.png \\
      --prompt "Which bar is tallest?"
  onevision generate --checkpoint runs/sft --prompt "2 + 2?" --temperature 0 --json"""
DTYPES = ("auto", "float32", "bfloat16", "float16")


def register(subparsers: Any) -> None:
    """Add the verb's parser."""
    parser = subparsers.add_parser(
        "generate",
        description="Answer one prompt, streamed to stdout. The checkpoint is a Hugging Face\n"
        "folder, a converted checkpoint or a workdir. Repetition penalties of\n"
        "generation_config.json are not applied; its stop tokens are.",
        epilog=EXAMPLE,
    )
    add = parser.add_argument
    add("--checkpoint", required=True, metavar="D", help="Hugging Face folder, checkpoint, workdir")
    add("--prompt", required=True, metavar="P", help="what the user says")
    add(
        "--image",
        action="append",
        default=[],
        metavar="F",
        help="an image shown before the prompt; repeat for several",
    )
    add("--system", metavar="TEXT", help="system message (default: the chat template's own)")
    add("--max-new-tokens", type=int, default=512, metavar="N", help="default 512")
    add("--temperature", type=float, default=0.0, help="0 = greedy (default)")
    add("--top-k", type=int, default=0, help="draw from the K likeliest tokens; 0 = all (default)")
    add(
        "--top-p", type=float, default=1.0, help="draw from the likeliest mass P; 1 = all (default)"
    )
    add("--seed", type=int, default=0, help="of the draws (default 0)")
    add("--min-pixels", type=int, help="scale smaller images up (default: the folder's own)")
    add("--max-pixels", type=int, help="scale larger images down (default: the folder's own)")
    add(
        "--dtype",
        choices=DTYPES,
        default="auto",
        help="of weights and arithmetic; auto = float32 on CPU, else bfloat16",
    )
    add("--tensor", type=int, default=1, metavar="N", help="split the model over N devices")
    add(
        "--json",
        action="store_true",
        help="print one JSON line instead of the stream: prompt_token_ids, token_ids, text, "
        "finish_reason",
    )


def run(args: Namespace) -> int:
    """Load, answer, and say on stderr how fast it went."""
    from onevision_jax.convert import read_assets_folder
    from onevision_jax.model import from_folder
    from onevision_jax.processor import Processor
    from onevision_jax.rollout import Completion, Sampling

    sampling = Sampling(temperature=args.temperature, top_k=args.top_k, top_p=args.top_p)
    folder = read_assets_folder(args.checkpoint)
    from_folder(folder)  # A model of another type is refused before its other files are missed.
    processor = Processor.from_folder(
        folder, min_pixels=args.min_pixels, max_pixels=args.max_pixels
    )
    example = processor(_messages(args), args.image)
    generator = _generator(args, processor)

    began = time.monotonic()
    text_stream = processor.tokenizer.stream(skip_special=True)
    answer, first_token = None, began
    for item in generator.stream(
        example, sampling=sampling, max_new_tokens=args.max_new_tokens, seed=args.seed
    ):
        if isinstance(item, Completion):
            answer = item
            break
        if first_token == began:
            first_token = time.monotonic()
        if not args.json:
            print(text_stream.push(item), end="", flush=True)
    assert answer is not None
    if not args.json:
        print(text_stream.flush())
    ended = time.monotonic()
    if args.json:
        print(
            json.dumps(
                {
                    "prompt_token_ids": example.tokens.tolist(),
                    "token_ids": answer.token_ids,
                    "text": processor.tokenizer.decode(answer.token_ids, skip_special=True),
                    "finish_reason": answer.finish_reason,
                },
                ensure_ascii=False,
            )
        )
    of_images = int((example.vision_index >= 0).sum())
    print(
        f"{len(example.tokens)} prompt tokens ({of_images} of images), "
        f"{len(answer.token_ids)} generated ({answer.finish_reason}); first token after "
        f"{first_token - began:.1f} s, all after {ended - began:.1f} s, compilation included",
        file=sys.stderr,
    )
    return 0


def _messages(args: Namespace) -> list[dict[str, Any]]:
    """The conversation: system message if given, then images and prompt of the user."""
    content: Any = args.prompt  # Templates of text models take nothing but a string.
    if args.image:
        content = [{"type": "image"} for _ in args.image] + [{"type": "text", "text": args.prompt}]
    system = [] if args.system is None else [{"role": "system", "content": args.system}]
    return [*system, {"role": "user", "content": content}]


def _generator(args: Namespace, processor: Any) -> Any:
    """The model on its devices, in the dtype asked for."""
    import jax
    import jax.numpy as jnp

    from onevision_jax.convert import load_model
    from onevision_jax.errors import InputError
    from onevision_jax.model import ModelOptions
    from onevision_jax.parallel import ShardingRules, make_mesh
    from onevision_jax.rollout import Generator

    name = args.dtype
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    dtype = jnp.dtype(name)
    if not 1 <= args.tensor <= jax.device_count():
        raise InputError(
            f"--tensor is {args.tensor}, but {jax.device_count()} device(s) are here; "
            f"give 1 to {jax.device_count()}"
        )
    rules = None
    if args.tensor > 1:
        mesh = make_mesh(fsdp=1, tensor=args.tensor, devices=jax.devices()[: args.tensor])
        rules = ShardingRules(mesh)
    model = load_model(
        args.checkpoint,
        options=ModelOptions(dtype=dtype, param_dtype=dtype),
        dtype=dtype,
        shardings_for=rules.params if rules else None,
    )
    tokenizer = processor.tokenizer
    return Generator(
        model,
        stop_ids=tokenizer.stop_ids,
        banned_ids=tokenizer.ids_of("<|vision_pad|>"),
        pad_id=tokenizer.pad_id,
        rules=rules,
    )
