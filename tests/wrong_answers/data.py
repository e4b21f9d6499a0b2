WRONG_ANSWERS = {
    "masked": [
        (
            "def masked(images, share, random):\n    return np.where(random.random() < share, 0, images)",
            "of the pixels: draw a random number",
        ),
        ("def masked(images, share, random):\n    return np.where(random.random(images.shape) < share, images, 0)", "the wrong way round"),
        (
            "def masked(images, share, random):\n    return np.where(random.random(images.shape[1:]) < share, 0, images)",
            "loses the same pixels",
        ),
        ("def masked(images, share, random):\n    return images * (1 - share)", "must keep their value"),
        (
            "def masked(images, share, random):\n    return np.where(np.random.default_rng(0).random(images.shape) < share, 0, images)",
            "it is given",
        ),
        ("def masked(images, share, random):\n    images[random.random(images.shape) < share] = 0\n    return images", "work on a copy"),
        ("def masked(images, share, random):\n    return np.where(random.random(images.shape) < share / 2, 0, images)", "it sets 10% of"),
    ],
    "clipped_mean": [
        ("def clipped_mean(x, level):\n    return np.mean(np.clip(x + level * np.random.randn(1000), 0, 1))", "draws random numbers"),
        (
            "def clipped_mean(x, level):\n    random = np.random.default_rng(0)\n"
            "    return np.mean(np.clip(x + level * random.standard_normal(100_000), 0, 1))",
            "close, but not exact",
        ),
        (
            "def clipped_mean(x, level):\n    return level * (norm.pdf(0) - norm.pdf(1 / level)) + norm.sf(1 / level)",
            "where does x come in",
        ),
        (
            "def clipped_mean(x, level):\n    return x + level * (norm.pdf(0) - norm.pdf(1 / level)) + norm.sf(1 / level)",
            "a brighter one is lifted less",
        ),
        ("def clipped_mean(x, level):\n    return x", "without clipping"),
        ("def clipped_mean(x, level):\n    return x * norm.cdf(x / level) + level * norm.pdf(x / level)", "only 0 clips"),
        (
            "def clipped_mean(x, level):\n    a, b = -x / level, (1 - x) / level\n"
            "    return x * (norm.cdf(b) - norm.cdf(a)) + level * (norm.pdf(a) - norm.pdf(b))",
            "clipped to 1 is missing",
        ),
        (
            "def clipped_mean(x, level):\n    a, b = -x / level, (1 - x) / level\n"
            "    return x * (norm.cdf(b) - norm.cdf(a)) + level * (norm.pdf(b) - norm.pdf(a)) + norm.sf(b)",
            "the sign of the part with the densities",
        ),
    ],
    "psnr": [
        ("def psnr(clean, restored):\n    print(np.mean(np.square(clean - restored), axis=(1, 2, 3)))", "is there a `return`"),
        ("def psnr(clean, restored):\n    return -10 * np.log10(np.mean(np.square(clean - restored)))", "And clip what lies outside"),
        (
            "def psnr(clean, restored):\n"
            "    return 10 * np.log10(255**2 / np.mean(np.square(clean - np.clip(restored, 0, 1)), axis=(1, 2, 3)))",
            "the peak is not 255",
        ),
        ("def psnr(clean, restored):\n    return -10 * np.log10(np.mean(np.square(clean - restored), axis=(1, 2, 3)))", "must be clipped"),
        (
            "def psnr(clean, restored):\n    return -10 * np.log10(np.mean(np.square(clean - np.clip(restored, 0, 1))))",
            "the set's mean error",
        ),
        (
            "def psnr(clean, restored):\n    return 10 * np.log10(np.mean(np.square(clean - np.clip(restored, 0, 1)), axis=(1, 2, 3)))",
            "wrong sign",
        ),
        (
            "def psnr(clean, restored):\n    return -10 * np.log10(np.sum(np.square(clean - np.clip(restored, 0, 1)), axis=(1, 2, 3)))",
            "summed over the",
        ),
        (
            "def psnr(clean, restored):\n    return -10 * np.log(np.mean(np.square(clean - np.clip(restored, 0, 1)), axis=(1, 2, 3)))",
            "natural logarithm",
        ),
        (
            "def psnr(clean, restored):\n    return -10 * np.log10(np.mean(np.square(clean - np.clip(restored, 0, 1)), axis=0))",
            "shape (28, 28, 1)",
        ),
    ],
    "blurred": [
        ("def blurred(noisy, lift):\n    return uniform_filter(noisy, size=(1, 3, 3, 1))", "the lift is still in it"),
        ("def blurred(noisy, lift):\n    return uniform_filter(noisy, size=(1, 3, 3, 1)) - lift", "some pixels are negative"),
        ("def blurred(noisy, lift):\n    return np.clip(uniform_filter(noisy, size=3) - lift, 0, 1)", "mixes neighbouring images"),
        ("def blurred(noisy, lift):\n    return uniform_filter(np.clip(noisy - lift, 0, 1), size=(1, 3, 3, 1))", "clip last"),
    ],
}
