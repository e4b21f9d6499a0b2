"""The course's networks in PyTorch, layer by layer as in `dae_keras/models`, on images (n, 1, 28, 28)."""

import torch
from protocol import CODE, HIDDEN, PIXELS
from torch import nn
from torch.nn import functional


class DAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, CODE),
            nn.Linear(CODE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, PIXELS),
        )  # fmt: skip

    def logits(self, images):
        return self.layers(images).view(-1, 1, 28, 28)

    def forward(self, images):
        return torch.sigmoid(self.logits(images))

    def loss(self, noisy, clean):
        return functional.binary_cross_entropy_with_logits(self.logits(noisy), clean)


class VAE(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden = nn.Linear(PIXELS, HIDDEN)
        self.mean, self.log_var = nn.Linear(HIDDEN, CODE), nn.Linear(HIDDEN, CODE)
        self.decoder = nn.Sequential(nn.Linear(CODE, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, PIXELS))

    def encode(self, images):
        hidden = torch.relu(self.hidden(images.flatten(1)))
        return self.mean(hidden), self.log_var(hidden)

    def forward(self, images):
        return torch.sigmoid(self.decoder(self.encode(images)[0])).view(-1, 1, 28, 28)

    def loss(self, noisy, clean):
        mean, log_var = self.encode(noisy)
        logits = self.decoder(mean + torch.exp(0.5 * log_var) * torch.randn_like(mean))
        reconstruction = functional.binary_cross_entropy_with_logits(logits, clean.flatten(1), reduction="sum")
        kl = 0.5 * (mean**2 + torch.exp(log_var) - 1 - log_var).sum()
        return (reconstruction + kl) / len(noisy)


class ResidualBlock(nn.Module):
    def __init__(self, filters):
        super().__init__()
        self.first, self.second = (nn.Conv2d(filters, filters, 3, padding=1) for _ in range(2))
        nn.init.zeros_(self.second.weight)

    def forward(self, images):
        return images + self.second(torch.relu(self.first(images)))


class DCAE(nn.Module):
    def __init__(self, filters=32, code_dim=128):
        super().__init__()
        # Where a stride does not fit, TensorFlow pads one more row and column below and on the right: PyTorch must be told.
        self.encoder = nn.Sequential(
            nn.ZeroPad2d((1, 2, 1, 2)), nn.Conv2d(1, filters, 5, stride=2), nn.ReLU(), ResidualBlock(filters),
            nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(filters, 2 * filters, 3, stride=2), nn.ReLU(), ResidualBlock(2 * filters),
            nn.Conv2d(2 * filters, 8, 1), nn.Flatten(), nn.Linear(392, code_dim),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(code_dim, 392), nn.Unflatten(1, (8, 7, 7)), nn.Conv2d(8, 2 * filters, 3, padding=1), nn.ReLU(),
            ResidualBlock(2 * filters),
            nn.ConvTranspose2d(2 * filters, filters, 2, stride=2), nn.ReLU(), ResidualBlock(filters),
            nn.ConvTranspose2d(filters, 1, 4, stride=2, padding=1),
        )  # fmt: skip
        for convolution in self.modules():
            if isinstance(convolution, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.zeros_(convolution.bias)
                if convolution.weight.any():  # the second ones of the blocks stay zero
                    nn.init.kaiming_normal_(convolution.weight)

    def logits(self, images):
        return self.decoder(self.encoder(images))

    forward, loss = DAE.forward, DAE.loss


MODELS = {"DAE": DAE, "DCAE": DCAE, "VAE": VAE}


def load_keras_weights(model, weights):
    """Give a model the weights of its Keras twin, in Keras's order and shapes."""
    for parameter, weight in zip(model.parameters(), weights, strict=True):
        weight = torch.from_numpy(weight)
        if weight.ndim == 4:
            weight = weight.permute(
                3, 2, 0, 1
            )  # (height, width, in, out) of a convolution; of a transposed one, in and out change places in both
        elif 392 in weight.shape:
            # Beside the DCAE's dense layers lie 7 x 7 x 8 feature maps, which PyTorch flattens maps first and Keras maps last.
            axis = weight.shape.index(392)
            weight = weight.unflatten(axis, (7, 7, 8)).movedim(axis + 2, axis).flatten(axis, axis + 2)
        parameter.data = (weight.T if weight.ndim == 2 else weight).contiguous()
