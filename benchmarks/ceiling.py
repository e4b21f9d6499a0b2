"""How far the denoising of this noise can go: a U-Net far too large for a processor, trained on a GPU in minutes.

Three steps, for PyTorch and the course need not share an environment:

    .venv/bin/python benchmarks/ceiling.py images build/ceiling.npz
    benchmarks/.venv/bin/python benchmarks/ceiling.py train build/ceiling.npz --seconds 300
    .venv/bin/python benchmarks/ceiling.py table build/ceiling.npz

The images, the noise of validation and test images and the scores are the course's. The last step writes notebooks/tables/ceiling.csv.
"""

import argparse
import json
import math
import platform
import time
from pathlib import Path

import numpy as np

TABLE = Path(__file__).resolve().parents[1] / "notebooks" / "tables" / "ceiling.csv"
WIDTH, BATCH, RATE = 96, 256, 1e-3
CHECKED = 5_000  # training images that are scored with fresh noise, for the gap to the validation images


def images(file):
    """Write the course's clean and noisy images, float16 (n, 28, 28); training images are uint8, and get fresh noise in training."""
    from dae_keras.data import load
    from dae_keras.noise import evaluation_pair
    from dae_keras.settings import Settings

    data = load(Settings())
    noisy = {part: evaluation_pair(getattr(data, part), Settings())[0][..., 0].astype(np.float16) for part in ("validation", "test")}
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, train=data.train[..., 0], **noisy)


def train(file, seconds):
    """Train for so many seconds, the learning rate following a cosine over the time; write the restored images beside the file."""
    import torch
    from torch import nn

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    stored = np.load(file)
    clean = torch.from_numpy(stored["train"]).to(device)

    class Block(nn.Module):
        """A residual block that starts as the identity: normalise, SiLU, convolve, twice (He et al. 2016, "Identity Mappings")."""

        def __init__(self, maps):
            super().__init__()
            halves = [[nn.GroupNorm(8, maps), nn.SiLU(), nn.Conv2d(maps, maps, 3, padding=1)] for _ in range(2)]
            self.change = nn.Sequential(*halves[0], *halves[1])
            nn.init.zeros_(self.change[-1].weight)

        def forward(self, maps):
            return maps + self.change(maps)

    class Attention(nn.Module):
        """Each of the 7 x 7 places looks at all others, with eight heads (Vaswani et al. 2017)."""

        def __init__(self, maps):
            super().__init__()
            self.norm, self.ask, self.answer = nn.GroupNorm(8, maps), nn.Conv2d(maps, 3 * maps, 1), nn.Conv2d(maps, maps, 1)
            nn.init.zeros_(self.answer.weight)

        def forward(self, maps):
            count, channels, *size = maps.shape
            heads = self.ask(self.norm(maps)).reshape(count, 3, 8, channels // 8, -1).transpose(-1, -2).unbind(1)
            seen = nn.functional.scaled_dot_product_attention(*heads)
            return maps + self.answer(seen.transpose(-1, -2).reshape(count, channels, *size))

    class UNet(nn.Module):
        """Logits of the clean image; WIDTH maps at 28 x 28, two and three times as many at 14 x 14 and 7 x 7. What goes around is added."""

        def __init__(self):
            super().__init__()
            one, two, three = WIDTH, 2 * WIDTH, 3 * WIDTH
            self.down = nn.ModuleList(
                [
                    nn.Sequential(nn.Conv2d(1, one, 3, padding=1), Block(one), Block(one)),
                    nn.Sequential(nn.Conv2d(one, two, 2, 2), Block(two), Block(two)),
                ]
            )
            middle = [Block(three), Attention(three), Block(three), Attention(three), Block(three)]
            self.middle = nn.Sequential(nn.Conv2d(two, three, 2, 2), *middle, nn.ConvTranspose2d(three, two, 2, 2))
            self.up = nn.Sequential(Block(two), Block(two), nn.ConvTranspose2d(two, one, 2, 2))
            self.end = nn.Sequential(Block(one), Block(one), nn.GroupNorm(8, one), nn.SiLU(), nn.Conv2d(one, 1, 3, padding=1))

        def forward(self, noisy):
            large = self.down[0](noisy[:, None].contiguous(memory_format=torch.channels_last))
            small = self.down[1](large)
            return self.end(self.up(self.middle(small) + small) + large)[:, 0]

    model = UNet().to(device, memory_format=torch.channels_last)
    mean = UNet().to(device, memory_format=torch.channels_last).requires_grad_(False)  # a running mean of the weights
    mean.load_state_dict(model.state_dict())
    weights = [weight.detach() for weight in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.99), weight_decay=1e-2)
    logits = torch.compile(model) if device == "cuda" else model

    def pair(rows):
        target = clean[rows].float() / 255
        return (target + 0.5 * torch.randn_like(target)).clamp(0, 1), target

    def restored(noisy):
        with torch.no_grad(), torch.autocast(device, torch.bfloat16):
            return torch.cat([mean(part).float().sigmoid() for part in noisy.to(device).float().split(500)])

    def psnr(noisy, target):
        return -10 * (restored(noisy) - target).square().mean((1, 2)).log10().mean().item()

    def loss_of(rows):
        noisy, target = pair(rows)
        with torch.autocast(device, torch.bfloat16):
            answer = logits(noisy)
        return nn.functional.binary_cross_entropy_with_logits(answer.float(), target)

    loss_of(torch.arange(BATCH, device=device)).backward()  # compiles, off the clock
    random, step, begin, said = torch.Generator(device).manual_seed(0), 0, time.perf_counter(), 0.0
    while (done := (time.perf_counter() - begin) / seconds) < 1:
        optimizer.param_groups[0]["lr"] = RATE * min(1, done / 0.03) * (1 + math.cos(math.pi * done)) / 2
        loss = loss_of(torch.randint(len(clean), (BATCH,), device=device, generator=random))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        step += 1
        torch._foreach_lerp_([*mean.parameters()], weights, 1 - min(0.999, step / (step + 9)))
        if step % 20 == 0 and done - said > 0.1:
            said = done
            print(f"{100 * done:.0f} %, {step * BATCH / len(clean):.1f} epochs, loss {loss.item():.4f}", flush=True)
    record = {
        "method": "U-Net",
        "weights": sum(weight.numel() for weight in weights),
        "epochs": round(step * BATCH / len(clean), 1),
        "minutes": round(seconds / 60, 1),
        "training PSNR": f"{psnr(*pair(torch.arange(min(CHECKED, len(clean)), device=device))):.3f}",
        "machine": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "versions": f"python {platform.python_version()}, torch {torch.__version__}",
    }
    parts = {part: restored(torch.from_numpy(stored[part])).cpu().numpy().astype(np.float16) for part in ("validation", "test")}
    np.savez_compressed(_answers(file), record=json.dumps(record), **parts)
    print(record)


def table(file):
    """Score the restored images by the course's own measures, and write the table."""
    from dae_keras import metrics
    from dae_keras.data import load
    from dae_keras.results import provenance, save_table
    from dae_keras.settings import Settings

    data, answers = load(Settings()), np.load(_answers(file))
    record = json.loads(str(answers["record"]))
    origin = {"commit": provenance()["commit"], "machine": record.pop("machine"), "versions": record.pop("versions")}
    clean = {part: getattr(data, part).astype(np.float32) / 255 for part in ("validation", "test")}
    restored = {part: answers[part].astype(np.float32)[..., None] for part in clean}
    record["validation PSNR"] = f"{metrics.psnr(clean['validation'], restored['validation']).mean():.3f}"
    record["PSNR"] = f"{metrics.psnr(clean['test'], restored['test']).mean():.3f}"
    record["SSIM"] = f"{metrics.ssim(clean['test'], restored['test']).mean():.4f}"
    save_table(TABLE, [record | origin])
    print(record)


def _answers(file):
    return file.with_name(f"{file.stem}_restored.npz")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("step", choices=("images", "train", "table"))
    parser.add_argument("file", type=Path, help="where the steps meet: a .npz file")
    parser.add_argument("--seconds", type=float, default=300, help="of training (default 300)")
    options = parser.parse_args()
    if options.step == "train":
        train(options.file, options.seconds)
    else:
        {"images": images, "table": table}[options.step](options.file)
