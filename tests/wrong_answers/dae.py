CLIPPED = "    p = np.clip(restored, 1e-7, 1 - 1e-7)\n"
BY_HAND = (
    "def forward(images, weights):\n    w1, b1, w2, b2, w3, b3, w4, b4 = weights\n"
    "    code = np.maximum(images.reshape(len(images), -1) @ w1 + b1, 0) @ w2 + b2\n"
    "    z = np.maximum(code @ w3 + b3, 0) @ w4 + b4\n    return (1 / (1 + np.exp(-z))).reshape(-1, 28, 28, 1)"
)
NETWORK = (
    "def plain_dae(hidden_dim, latent_dim):\n    return keras.Sequential([layers.Input((28, 28, 1)), layers.Flatten(), "
    'layers.Dense(hidden_dim, activation="relu"), layers.Dense(latent_dim), layers.Dense(hidden_dim, activation="relu"), '
    'layers.Dense(784, activation="sigmoid"), layers.Reshape((28, 28, 1))])'
)
PAIRS = (
    "def blind_pairs(images, sigma, batch_size):\n    def pair(batch):\n        clean = tf.cast(batch, tf.float32) / 255\n"
    "        levels = tf.random.uniform((tf.shape(clean)[0], 1, 1, 1), 0, 2 * sigma)\n"
    "        noise = tf.random.normal(tf.shape(clean))\n        return tf.clip_by_value(clean + levels * noise, 0, 1), clean\n"
    "    return tf.data.Dataset.from_tensor_slices(images).shuffle(len(images)).batch(batch_size).map(pair)"
)
PCA = (
    "def pca(images, k):\n    flat = images.reshape(len(images), -1)\n    mean = flat.mean(axis=0)\n"
    "    v = np.linalg.svd(flat - mean, full_matrices=False)[2][:k]\n    return ((flat - mean) @ v.T @ v + mean).reshape(images.shape)"
)
RANK = (
    "def reduced_rank(noisy, clean, k):\n    m, c = noisy.mean(axis=0), clean.mean(axis=0)\n"
    "    full = np.linalg.lstsq(noisy - m, clean - c, rcond=None)[0]\n"
    "    v = np.linalg.svd((noisy - m) @ full, full_matrices=False)[2][:k]\n    matrix = full @ v.T @ v\n    return matrix, c - m @ matrix"
)


def but(code, *changes):
    """The code with some of its text replaced."""
    for old, new in changes:
        assert old in code, old
        code = code.replace(old, new)
    return code


WRONG_ANSWERS = {
    "cross_entropy": [
        (
            "def cross_entropy(clean, restored):\n    p = np.clip(restored, 1e-7, 1 - 1e-7)\n"
            "    return -np.sum(clean * np.log(p) + (1 - clean) * np.log(1 - p))",
            "a sum over all pixels of all images",
        ),
        (
            "def cross_entropy(clean, restored):\n"
            "    return -np.mean(clean * np.log(restored) + (1 - clean) * np.log(1 - restored), axis=(1, 2, 3))",
            "clip the answer before the logarithm",
        ),
        (f"def cross_entropy(clean, restored):\n{CLIPPED}    return -np.mean(clean * np.log(p), axis=(1, 2, 3))", "only ink counts"),
        (
            f"def cross_entropy(clean, restored):\n{CLIPPED}"
            "    return np.mean(clean * np.log(p) + (1 - clean) * np.log(1 - p), axis=(1, 2, 3))",
            "wrong sign",
        ),
        (
            f"def cross_entropy(clean, restored):\n{CLIPPED}"
            "    return -np.sum(clean * np.log(p) + (1 - clean) * np.log(1 - p), axis=(1, 2, 3))",
            "summed over the pixels",
        ),
        (f"def cross_entropy(clean, restored):\n{CLIPPED}    return -np.mean(clean * np.log(p) + (1 - clean) * np.log(1 - p))", "of each"),
        (f"def cross_entropy(clean, restored):\n{CLIPPED}    return -(clean * np.log(p) + (1 - clean) * np.log(1 - p))", "each pixel"),
        (
            "def cross_entropy(clean, restored):\n    x = np.clip(clean, 1e-7, 1 - 1e-7)\n"
            "    return -np.mean(restored * np.log(x) + (1 - restored) * np.log(1 - x), axis=(1, 2, 3))",
            "changed places",
        ),
        (
            f"def cross_entropy(clean, restored):\n{CLIPPED}"
            "    return -np.mean(clean * np.log2(p) + (1 - clean) * np.log2(1 - p), axis=(1, 2, 3))",
            "in bits",
        ),
        (
            f"def cross_entropy(clean, restored):\n{CLIPPED}    return -np.mean(np.log(np.where(clean > 0.5, p, 1 - p)), axis=(1, 2, 3))",
            "a grey target counts as it is",
        ),
        (
            "def cross_entropy(clean, restored):\n    p = np.clip(restored, 0.01, 0.99)\n"
            "    return -np.mean(clean * np.log(p) + (1 - clean) * np.log(1 - p), axis=(1, 2, 3))",
            "there the answer counts as 1e-7",
        ),
    ],
    "forward": [
        (but(BY_HAND, ("(1 / (1 + np.exp(-z)))", "z")), "the sigmoid of the last layer is missing"),
        (but(BY_HAND, ("0) @ w2 + b2", "0) @ w2 + b2\n    code = np.maximum(code, 0)")), "the code has a ReLU"),
        (but(BY_HAND, *((f" + b{layer}", "") for layer in (1, 2, 3, 4))), "the biases are not added"),
        (but(BY_HAND, (".reshape(-1, 28, 28, 1)", "")), "not yet as images"),
        (but(BY_HAND, ("np.maximum(code @ w3 + b3, 0)", "(code @ w3 + b3)")), "the decoder's hidden layer has no activation"),
        (
            but(BY_HAND, ("np.maximum(code @ w3 + b3, 0)", "(code @ w3 + b3)"), ("np.maximum(images", "np.add(images")),
            "no more than one matrix",
        ),
        (but(BY_HAND, ("np.exp(-z)", "np.exp(z)")), "the exponent of the sigmoid"),
        (but(BY_HAND, ("@ w1", "@ w1.T")), "your code stopped with ValueError"),
    ],
    "plain_dae": [
        (but(NETWORK, ("Dense(latent_dim)", 'Dense(latent_dim, activation="relu")')), "the code has a ReLU"),
        (but(NETWORK, (', activation="sigmoid"', "")), "the sigmoid of the last layer is missing"),
        (
            but(NETWORK, ("784, ", "784, use_bias=False, "), ("dim)", "dim, use_bias=False)"), ("_dim, a", "_dim, use_bias=False, a")),
            "no biases",
        ),
        (but(NETWORK, (", layers.Reshape((28, 28, 1))", "")), "not yet as images"),
        (but(NETWORK, (" layers.Flatten(),", ""), (", layers.Reshape((28, 28, 1))", "")), "flatten the image first"),
        (
            but(NETWORK, ("Dense(latent_dim)", "Dense(hidden_dim)"), ("(hidden_dim, activation", "(latent_dim, activation")),
            "have changed places",
        ),
        (
            but(NETWORK, ('layers.Dense(latent_dim), layers.Dense(hidden_dim, activation="relu"), ', "layers.Dense(latent_dim), ")),
            "is missing",
        ),
        (but(NETWORK, (', activation="relu"', "")), "no more than one matrix"),
        (but(NETWORK, ("layers.Dense(latent_dim)", "layers.Dense(latent_dim), layers.Dropout(0.2)")), "no dropout"),
        (but(NETWORK, ("Dense(hidden_dim", "Dense(400"), ("Dense(latent_dim", "Dense(20")), "the same sizes whatever"),
        (
            but(NETWORK, ("layers.Input((28, 28, 1)), layers.Flatten()", "layers.Input((784,))")),
            "it takes inputs of shape (None, 784)",
        ),
        (but(NETWORK, ('"sigmoid"', '"softmax"')), "a softmax"),
        (but(NETWORK, ('"relu"', '"gelu"')), "with a ReLU, no function, a ReLU and a sigmoid"),
        (f"{NETWORK}\n\n\nplain_dae = plain_dae(400, 20)", "the function that builds it"),
        ("def plain_dae(hidden_dim, latent_dim):\n    return [layers.Flatten(), layers.Dense(hidden_dim)]", "not one Keras model"),
    ],
    "blind_pairs": [
        (but(PAIRS, ("(tf.shape(clean)[0], 1, 1, 1)", "()")), "all images of a batch have the same level"),
        (but(PAIRS, ("0, 2 * sigma", "0, sigma")), "they must run from 0 to 0.2"),
        (but(PAIRS, ("(tf.shape(clean)[0], 1, 1, 1)", "tf.shape(clean)")), "every pixel has a level of its own"),
        (
            but(PAIRS, ("tf.random.uniform((tf.shape(clean)[0], 1, 1, 1), 0, 2 * sigma)", "sigma")),
            "every image has noise of level 0.10: each must have",
        ),
        (
            but(PAIRS, ("tf.random.uniform((tf.shape(clean)[0], 1, 1, 1), 0, 2 * sigma)", "2 * sigma * np.random.uniform()")),
            "every image has noise of level",
        ),
        (but(PAIRS, ("(tf.shape(clean)[0], 1, 1, 1)", "(batch_size, 1, 1, 1)")), "It is smaller than the others"),
        (but(PAIRS, ("random.normal(tf.shape(clean))", "random.normal((28, 28, 1))")), "share their noise"),
        (but(PAIRS, ("tf.clip_by_value(clean + levels * noise, 0, 1)", "clean + levels * noise")), "clip them"),
        (but(PAIRS, (" / 255", "")), "divide by 255"),
        (but(PAIRS, (", 0, 1), clean", ", 0, 1), batch")), "divide by 255"),
        (but(PAIRS, ("return tf.clip", "return clean, tf.clip"), (", 0, 1), clean", ", 0, 1)")), "the wrong way round"),
        (but(PAIRS, (".shuffle(len(images))", "")), "the order in which they are given"),
        (but(PAIRS, (".shuffle(len(images)).batch(batch_size)", ".batch(batch_size).shuffle(len(images))")), "shuffle before you batch"),
        (
            but(
                PAIRS,
                (
                    ".shuffle(len(images)).batch(batch_size).map(pair)",
                    ".batch(batch_size).map(pair).unbatch().cache().shuffle(len(images)).batch(batch_size)",
                ),
            ),
            "the same noise in every epoch",
        ),
        (but(PAIRS, (".map(pair)", ".map(pair).cache()")), "every epoch brings the same noisy images"),
        (but(PAIRS, (".batch(batch_size)", ".batch(100)")), "the first batch has 100 images"),
        (but(PAIRS, (".batch(batch_size)", ".batch(batch_size, drop_remainder=True)")), "left out"),
        (but(PAIRS, (".shuffle(", ".repeat().shuffle(")), "is it repeated"),
        (but(PAIRS, ("tf.random.normal(tf.shape(clean))", "tf.random.uniform(tf.shape(clean), -1, 1)")), "not normal"),
        (but(PAIRS, (", 0, 1), clean", ", 0, 1)")), "must be a pair"),
    ],
    "pca": [
        (
            "def pca(images, k):\n    flat = images.reshape(len(images), -1)\n    mean = flat.mean()\n"
            "    u, s, v = np.linalg.svd(flat - mean, full_matrices=False)\n"
            "    return (u[:, :k] * s[:k] @ v[:k] + mean).reshape(images.shape)",
            "the mean brightness of everything",
        ),
        (but(PCA, ("svd(flat - mean", "svd(flat"), ("(flat - mean) @ v.T @ v + mean", "flat @ v.T @ v")), "was not subtracted"),
        (but(PCA, ("v + mean", "v")), "not added back"),
        (but(PCA, ("np.linalg.svd(flat - mean, full_matrices=False)[2][:k]", "np.linalg.eigh(np.cov(flat.T))[1][:, :k].T")), "eigh sorts"),
        (but(PCA, ("mean(axis=0)", "mean(axis=1, keepdims=True)")), "its own mean brightness"),
        (but(PCA, ("((flat - mean) @ v.T @ v + mean).reshape(images.shape)", "(flat - mean) @ v.T")), "it returns the code"),
        (but(PCA, (".reshape(images.shape)", "")), "not yet as images"),
        (but(PCA, ("(flat - mean) @ v.T @ v + mean", "flat @ v.T @ v + mean")), "counted twice"),
        (but(PCA, ("[:k]", "[-k:]")), "its first ones lead"),
        (but(PCA, (".reshape(images.shape)", ".reshape(images.shape).clip(0, 1)")), "not to be clipped"),
        (but(PCA, ("[2][:k]", "[2]")), "only k directions"),
        (but(PCA, ("np.linalg.svd(flat - mean, full_matrices=False)[2][:k]", "np.linalg.eigh(np.cov(flat.T))[1][-k:]")), "are columns"),
    ],
    "reduced_rank": [
        (but(RANK, ("matrix = full @ v.T @ v", "matrix = full")), "its rank is not k yet"),
        (but(RANK, ("svd((noisy - m) @ full", "svd(clean - c")), "the directions of the clean images"),
        (but(RANK, ("svd((noisy - m) @ full", "svd(noisy - m")), "the directions of the noisy images"),
        (but(RANK, ("svd((noisy - m) @ full", "svd(full")), "cut to its k largest singular values"),
        (but(RANK, ("[2][:k]", "[2][-k:]")), "vary least"),
        (but(RANK, ("[2][:k]", "[2][1 : k + 1]")), "a matrix of rank 4 can reach"),
        (but(RANK, ("c - m @ matrix", "np.zeros(len(c))")), "it is 0, but the means differ"),
        (but(RANK, ("c - m @ matrix", "c")), "does not become the mean clean one"),
        (but(RANK, ("return matrix, c - m @ matrix", "return matrix, c - m @ full")), "that of the full solution"),
        (but(RANK, ("noisy.mean(axis=0), clean.mean(axis=0)", "0 * noisy[0], 0 * clean[0]")), "neither means nor a constant"),
        (but(RANK, ("return matrix, c - m @ matrix", "return full @ v.T, c")), "the encoder alone"),
        (but(RANK, ("return matrix, c - m @ matrix", "return noisy @ matrix + c - m @ matrix")), "two things"),
        (
            but(
                RANK,
                ("lstsq(noisy - m, clean - c", "lstsq(clean - c, noisy - m"),
                ("(noisy - m) @ full", "(clean - c) @ full"),
                ("c - m @ matrix", "m - c @ matrix"),
            ),
            "the other way round",
        ),
    ],
}
