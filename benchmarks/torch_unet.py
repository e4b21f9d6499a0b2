"""The U-Net of ceiling.py, on images (n, 28, 28): with all that a processor is too slow for."""

import torch
from torch import nn


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
    """Logits of the clean image; `width` maps at 28 x 28, two and three times as many at 14 x 14 and 7 x 7. What goes around is added."""

    def __init__(self, width):
        super().__init__()
        one, two, three = width, 2 * width, 3 * width
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
