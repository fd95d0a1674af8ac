"""The quickstart from beginning to end; `run` is its table of contents."""

import json
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from onevision_jax import __version__
from onevision_jax import config as settings
from onevision_jax.errors import InputError
from onevision_jax.quickstart import stages
from onevision_jax.quickstart.page import build_page
from onevision_jax.quickstart.results import gather, table
from onevision_jax.quickstart.settings import QuickstartConfig
from onevision_jax.train.saving import owned

SETTINGS, STAGES = "settings.json", "stages.json"
PACKAGES = ("jax", "flax", "optax", "orbax-checkpoint", "grain")


def quickstart(
    out: Path, config: QuickstartConfig | None = None, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Runs every stage into OUT, writes OUT/results.json and OUT/report.html, says the table.

    Started again it goes on where it stopped. Raises InputError when OUT belongs to other settings.
    """
    config = config or QuickstartConfig()
    began = time.monotonic()
    with owned(out):
        _claim(out, config)
        stage = _Stages(out, say)
        stage.run("render", lambda: stages.render(config, out, say))
        stage.run("start", lambda: stages.make_start(config, out, say))
        stage.run("SFT", lambda: stages.supervise(config, out, say))
        stage.run("GRPO", lambda: stages.reinforce(config, out, say))
        stage.run("evaluate", lambda: _evaluate(config, out, say))
        stage.run("export", lambda: stages.export(config, out, say))
        results = {
            "made_by": f"onevision quickstart {__version__}",
            "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
            "versions": {name: metadata.version(name) for name in PACKAGES},
            **gather(out, stages.read_test(config, out)),
            "seconds": stage.seconds,
            "settings": settings.to_dict(config),
        }
        stages.write_json(out / "results.json", results)
        page = build_page(out, results)
        (out / "report.html").write_text(page, encoding="utf-8")
    say("")
    for line in table(results):
        say(line)
    say(f"report: {out / 'report.html'}   ({(time.monotonic() - began) / 60:.1f} minutes now)")
    return results


def _evaluate(config: QuickstartConfig, out: Path, say: Callable[[str], None]) -> None:
    stages.ask(config, out, "untrained", "start", "real", say)
    stages.ask(config, out, "sft", "sft", "real", say)
    stages.ask(config, out, "sft_blank", "sft", "blank", say)
    stages.ask(config, out, "sft_none", "sft", "none", say)
    stages.ask(config, out, "grpo", "grpo", "real", say)
    stages.ask(config, out, "grpo_blank", "grpo", "blank", say)


def _claim(out: Path, config: QuickstartConfig) -> None:
    """Writes the settings, or compares them with those the folder was begun with."""
    path, mine = out / SETTINGS, settings.to_dict(config)
    if not path.is_file():
        if any(out.iterdir()):
            raise InputError(f"{out} is not empty and holds no quickstart; give another --out")
        stages.write_json(path, mine)
    elif json.loads(path.read_text(encoding="utf-8")) != mine:
        raise InputError(f"{out} holds a quickstart with other settings; give another --out")


class _Stages:
    """Runs stages and remembers, over restarts, how long each took."""

    def __init__(self, out: Path, say: Callable[[str], None]):
        self._path, self._say = out / STAGES, say
        known = self._path.is_file()
        self.seconds: dict[str, float] = json.loads(self._path.read_text()) if known else {}

    def run(self, name: str, work: Callable[[], None]) -> None:
        """A failed stage's time counts too: what it did is not done again."""
        self._say(f"== {name}")
        began = time.monotonic()
        try:
            work()
        finally:
            spent = time.monotonic() - began
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 2)
            stages.write_json(self._path, self.seconds)
