"""What any long training needs: a budget, a clean stop, a log, and states written whole."""

import ctypes
import json
import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw


def prepare_cpu(threads):
    """Settings that make training on a CPU faster."""
    torch.set_num_threads(threads)
    # Numbers too small for the normal format are slow to compute with, and zero is as good.
    torch.set_flush_denormal(True)
    # Large activations are freed and wanted again at every step: keep their memory instead of returning it.
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3
    libc.mallopt(mmap_threshold, 1 << 30)
    libc.mallopt(trim_threshold, 2**31 - 1)
    libc.mallopt(top_pad, 1 << 28)


def add_arguments(parser, minutes, batch):
    """What every training of images takes; `minutes` between figures, `batch` as usual for it."""
    parser.add_argument("--data", required=True, help="folder or zip of aligned photos")
    parser.add_argument("--state", type=Path, required=True, help="folder for state, log and sheets")
    parser.add_argument("--resume", action="store_true", help="go on from the state")
    parser.add_argument("--report", action="store_true", help="write sheets and figures of the state, train nothing")
    parser.add_argument("--minutes", type=float, help="end after so many minutes")
    parser.add_argument("--images", type=int, default=200_000, help="images to train on, which the rates follow")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backbone", required=True, help="EfficientNet-Lite0's .pth or .whl, or 'random' for tests")
    parser.add_argument("--frame", help="FFHQ's square in the photos, 'X Y SIDE' in units of their side (framing.py)")
    parser.add_argument("--sheets", type=float, default=15, help="minutes between sample sheets")
    parser.add_argument("--figures", type=float, default=minutes, help="minutes between figures")
    parser.add_argument("--log-steps", type=int, default=100, help="steps between lines of the log")


def write_atomically(path, write):
    """Calls `write` with a name beside `path`, then renames: a reader sees the old file or the new one."""
    temporary = Path(f"{path}.tmp")
    write(temporary)
    os.replace(temporary, path)


def save(path, state):
    """Writes a state whole."""
    write_atomically(path, lambda temporary: torch.save(state, temporary))


def random_state(device):
    """The state of the random numbers that training draws."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state, device):
    """Continues the random numbers of a state."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


class Stop:
    """Asks a training to end after the step it is at: when its minutes are over, or at SIGINT or SIGTERM."""

    def __init__(self, minutes):
        self.end = time.monotonic() + 60 * minutes if minutes else None
        self.signalled = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self.ask)

    def ask(self, *_):
        self.signalled = True

    def __bool__(self):
        return self.signalled or (self.end is not None and time.monotonic() >= self.end)


class Every:
    """True once in every so many minutes, and not at once."""

    def __init__(self, minutes):
        self.minutes = minutes
        self.last = time.monotonic()

    def due(self):
        if time.monotonic() - self.last < 60 * self.minutes:
            return False
        self.last = time.monotonic()
        return True


class Log:
    """Lines of JSON in a file, and the same for people on the standard output."""

    def __init__(self, path):
        self.path = Path(path)

    def write(self, kind, **values):
        row = {"time": time.strftime("%Y-%m-%dT%H:%M:%S"), "kind": kind, **rounded(values)}
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(row["time"][11:], kind, " ".join(f"{k}={v}" for k, v in rounded(values).items()), flush=True)

    def rows(self, kind):
        """The lines of one kind so far."""
        if not self.path.exists():
            return []
        rows = map(json.loads, self.path.read_text().splitlines())
        return [row for row in rows if row["kind"] == kind]


def run(trainer, args, log, draw, measure):
    """Trains until the images or the minutes are over, or a signal asks to stop; the state is saved on the way.

    `draw` writes a sheet, `measure` returns figures for the log; each has its own interval.
    """
    stop = Stop(args.minutes)
    saving, drawing, measuring = Every(4), Every(args.sheets), Every(args.figures)
    sums, steps, since, busy = {}, 0, time.monotonic(), 0.0

    def keep():
        save(args.state / "state.pt", trainer.state())

    while trainer.images < trainer.planned and not stop:
        start = time.monotonic()
        values = trainer.train_step()
        if not values["loss"].isfinite():
            raise SystemExit("the loss is no longer finite: --resume goes on from the last saved state")
        for name, value in values.items():
            sums[name] = sums.get(name, 0.0) + value
        steps += 1
        elapsed = time.monotonic() - start
        trainer.seconds += elapsed
        busy += elapsed
        if steps == args.log_steps:
            means = {name: float(total) / steps for name, total in sums.items()}
            rate = steps * trainer.batch / busy
            log.write("step", step=trainer.step, images=trainer.images, rate=rate, **means)
            sums, steps, busy = {}, 0, 0.0
        if saving.due():
            keep()
        if drawing.due():
            draw()
        if measuring.due():
            log.write("figures", **measure())
    keep()
    log.write("end", images=trainer.images, minutes=(time.monotonic() - since) / 60)


def rounded(values):
    """The values, numbers at four significant places."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in values.items()}


def sheet(path, rows, columns):
    """Writes a PNG of labelled rows: (label, uint8 pictures) pairs, each wrapped at `columns`."""
    side, bar = rows[0][1].shape[1], 16
    strips = []
    for label, pictures in rows:
        title = Image.new("RGB", (columns * side, bar), "white")
        ImageDraw.Draw(title).text((4, 2), label, fill="black")
        strips.append(np.asarray(title))
        for start in range(0, len(pictures), columns):
            line = list(pictures[start : start + columns])
            line += [np.full_like(pictures[0], 255)] * (columns - len(line))
            strips.append(np.concatenate(line, 1))
    write_atomically(path, lambda temporary: Image.fromarray(np.concatenate(strips)).save(temporary, "PNG"))
