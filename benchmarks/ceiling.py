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
from protocol import NOISE_LEVEL

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
    from torch_unet import UNet

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    stored = np.load(file)
    clean = torch.from_numpy(stored["train"]).to(device)

    model = UNet(WIDTH).to(device, memory_format=torch.channels_last)
    mean = UNet(WIDTH).to(device, memory_format=torch.channels_last).requires_grad_(False)  # a running mean of the weights
    mean.load_state_dict(model.state_dict())
    weights = [weight.detach() for weight in model.parameters()]
    optimizer = torch.optim.AdamW(model.parameters(), RATE, betas=(0.9, 0.99), weight_decay=1e-2)
    logits = torch.compile(model) if device == "cuda" else model

    def pair(rows):
        target = clean[rows].float() / 255
        return (target + NOISE_LEVEL * torch.randn_like(target)).clamp(0, 1), target

    def restored(noisy):
        with torch.no_grad(), torch.autocast(device, torch.bfloat16):
            return torch.cat([mean(part).float().sigmoid() for part in noisy.to(device).float().split(500)])

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
        if done - said > 0.1:
            said = done
            print(f"{100 * done:.0f} %, {step * BATCH / len(clean):.1f} epochs, loss {loss.item():.4f}", flush=True)
    record = {
        "method": "U-Net",
        "weights": sum(weight.numel() for weight in weights),
        "epochs": round(step * BATCH / len(clean), 1),
        "minutes": round(seconds / 60, 1),
        "machine": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "versions": f"python {platform.python_version()}, torch {torch.__version__}",
    }
    noisy = {"train": pair(torch.arange(CHECKED, device=device))[0]}
    noisy |= {part: torch.from_numpy(stored[part]) for part in ("validation", "test")}
    answers = {part: restored(images).cpu().numpy().astype(np.float16) for part, images in noisy.items()}
    np.savez_compressed(_answers(file), record=json.dumps(record), **answers)
    print(record)


def table(file):
    """Score the restored images by the course's own measures, and write the table."""
    from dae_keras import metrics
    from dae_keras.data import load
    from dae_keras.results import provenance
    from dae_keras.settings import Settings
    from dae_keras.tables import save_table

    data, answers = load(Settings()), np.load(_answers(file))
    record = json.loads(str(answers["record"]))
    origin = {"commit": provenance()["commit"], "machine": record.pop("machine"), "versions": record.pop("versions")}
    restored = {part: answers[part].astype(np.float32)[..., None] for part in ("train", "validation", "test")}
    clean = {part: getattr(data, part)[: len(images)].astype(np.float32) / 255 for part, images in restored.items()}
    psnr = {part: f"{metrics.psnr(clean[part], restored[part]).mean():.3f}" for part in clean}
    record |= {"training PSNR": psnr["train"], "validation PSNR": psnr["validation"], "PSNR": psnr["test"]}
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
