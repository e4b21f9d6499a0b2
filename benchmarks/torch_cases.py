"""PyTorch: the loop most people write, the same with less waste, and compiled."""

import sys

import numpy as np
import torch
from PIL import Image
from protocol import LEARNING_RATE, NOISE_LEVEL, serve, training_images
from torch.utils.data import DataLoader, Dataset
from torch_models import MODELS


class ImagesAsTensors(Dataset):
    """One image at a time, through a picture, to a tensor: what torchvision's MNIST with `ToTensor` does."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        picture = Image.fromarray(self.images[index, ..., 0])
        return torch.from_numpy(np.array(picture)).view(1, 28, 28).float().div(255)


def usual_loop(name, batch_size, images):
    """A `DataLoader`, Adam as it comes, and the loss read after every step."""
    torch.manual_seed(0)
    model = MODELS[name]()
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    loader = DataLoader(ImagesAsTensors(images), batch_size, shuffle=True)

    def epoch(number):
        total = 0.0
        for clean in loader:
            optimiser.zero_grad()
            loss = model.loss(add_noise(clean), clean)
            loss.backward()
            optimiser.step()
            total += loss.item() * len(clean)
        return total / len(images)

    return epoch


def fused(name, batch_size, images, compiled=False):
    """Images resident, batches gathered at once, Adam's fused update, the loss read once an epoch."""
    torch.manual_seed(0)
    model = MODELS[name]()
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    images = torch.from_numpy(images).permute(0, 3, 1, 2)

    def loss_of_batch(rows):
        clean = images[rows].float() / 255
        return model.loss(add_noise(clean), clean)

    if compiled:
        loss_of_batch = torch.compile(loss_of_batch)

    def epoch(number):
        total = torch.zeros(())
        order = torch.randperm(len(images))
        for rows in order[: len(images) // batch_size * batch_size].view(-1, batch_size):
            optimiser.zero_grad()
            loss = loss_of_batch(rows)
            loss.backward()
            optimiser.step()
            total += loss.detach()
        return total.item() / (len(images) // batch_size)

    return epoch


def compiled(name, batch_size, images):
    """The same, with noise, loss and gradients through `torch.compile`."""
    return fused(name, batch_size, images, compiled=True)


def add_noise(clean):
    return (clean + NOISE_LEVEL * torch.randn_like(clean)).clamp(0, 1)


CASES = {"PyTorch, usual loop": usual_loop, "PyTorch, fused Adam": fused, "PyTorch, `torch.compile`": compiled}

if __name__ == "__main__":
    serve(lambda case, model, batch_size, count: CASES[case](model, batch_size, training_images()[:count]), sys.argv[1:])
