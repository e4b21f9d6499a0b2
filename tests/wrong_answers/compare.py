def _interval(*lines):
    return "\n    ".join(("def paired_interval(first, second, random, draws=1000):", *lines))


def _drawn(difference="first - second", limits="[2.5, 97.5]"):
    return _interval(
        f"difference = {difference}",
        "drawn = random.integers(0, len(difference), (draws, len(difference)))",
        f"return np.percentile(difference[drawn].mean(axis=1), {limits})",
    )


def _linear(*lines):
    return "\n    ".join(("def linearly_restored(training_noisy, training_clean, noisy):", *lines))


_MEANS = "x, y = training_noisy.mean(axis=0), training_clean.mean(axis=0)"
_WEIGHTS = "weights = np.linalg.lstsq(training_noisy - x, training_clean - y, rcond=None)[0]"


def _debiasing(*lines):
    return "\n    ".join(("def debiasing(filtered, clean):", "x, y = filtered.ravel(), clean.ravel()", *lines))


def _posterior(logarithms="-d / (2 * level**2)", weights="np.exp(a - a.max(axis=1, keepdims=True))", axis=1):
    return (
        "def posterior_mean(noisy, images, level):\n    d = np.sum((noisy[:, None] - images) ** 2, axis=2)\n"
        f"    a = {logarithms}\n    w = {weights}\n    return w / w.sum(axis={axis}, keepdims=True) @ images"
    )


def _frechet(roots, means="np.sum((mean - other_mean) ** 2)", twice=2):
    return (
        "def frechet(mean, covariance, other_mean, other_covariance):\n    product = covariance @ other_covariance\n"
        f"    return {means} + np.trace(covariance) + np.trace(other_covariance) - {twice} * {roots}"
    )


_ROOTS = "np.sum(np.sqrt(np.linalg.eigvals(product).real))"

WRONG_ANSWERS = {
    "paired_interval": [
        (
            _interval(
                "n = len(first)",
                "a, b = (each[random.integers(0, n, (draws, n))].mean(axis=1) for each in (first, second))",
                "return np.percentile(a - b, [2.5, 97.5])",
            ),
            "the two methods are drawn apart",
        ),
        (_drawn(limits="[5, 95]"), "between these limits lie 90 % of the means"),
        (_drawn(limits="[0.025, 0.975]"), "np.percentile takes per cent"),
        (_drawn("second - first"), "the interval of second - first"),
        (_drawn(limits="[97.5, 2.5]"), "the lower one first"),
        (_interval("return np.percentile(first - second, [2.5, 97.5])"), "these are the limits of single differences"),
        (_interval("d = first - second", "return d.mean() - 1.96 * d.std(), d.mean() + 1.96 * d.std()"), "is that of single differences"),
        (
            _interval(
                "d = first - second",
                "means = [random.choice(d, len(d)).mean() for _ in range(draws)]",
                "return np.mean(means) - np.std(means), np.mean(means) + np.std(means)",
            ),
            "one standard deviation of the means",
        ),
        (
            _interval("d = first - second", "return np.percentile([random.permutation(d).mean() for _ in range(draws)], [2.5, 97.5])"),
            "draw with replacement",
        ),
        (_drawn().replace("draws, len(difference)))", "draws, 50))"), "as many images as there are"),
        (_drawn().replace("random.integers", "np.random.default_rng(0).integers"), "another seed changes nothing"),
        (_drawn().replace("random.integers", "np.random.default_rng().integers"), "from no other"),
        (
            _interval(
                "i = random.integers(0, len(first), (draws, len(first)))",
                "return np.percentile(np.median(first[i] - second[i], axis=1), [2.5, 97.5])",
            ),
            "the mean of each draw",
        ),
    ],
    "linearly_restored": [
        (_linear("return noisy @ np.linalg.lstsq(training_noisy, training_clean, rcond=None)[0]"), "the constant is missing"),
        (_linear(_MEANS, _WEIGHTS, "return (noisy - x) @ weights"), "is not added again"),
        (_linear(_MEANS, _WEIGHTS, "return noisy @ weights + y"), "the new images are not centred"),
        (_linear(_MEANS, _WEIGHTS, "return (noisy - noisy.mean(axis=0)) @ weights + y"), "a mean of their own"),
        (
            _linear(
                _MEANS,
                "weights = np.linalg.lstsq(training_clean - y, training_noisy - x, rcond=None)[0]",
                "return (noisy - y) @ weights + x",
            ),
            "fitted the wrong way round",
        ),
        (_linear(_MEANS, _WEIGHTS, "return np.clip((noisy - x) @ weights + y, 0, 1)"), "the result is clipped"),
        (_linear(_MEANS, _WEIGHTS, "return (noisy - x) @ weights.T + y"), "the weights are transposed"),
        (_linear(_MEANS, _WEIGHTS, "return weights"), "return the restored images"),
        (_linear(_MEANS.replace("axis=0", ""), _WEIGHTS, "return (noisy - x) @ weights + y"), "each pixel has a mean of its own"),
    ],
    "debiasing": [
        (
            "def debiasing(filtered, clean):\n    return clean.std() / filtered.std(), clean.mean() - filtered.mean()",
            "the offset forgets the factor",
        ),
        (_debiasing("return np.polyfit(y, x, 1)"), "fitted the wrong way round"),
        (_debiasing("slope, height = np.polyfit(y, x, 1)", "return 1 / slope, -height / slope"), "and then inverted"),
        (_debiasing("return 1, y.mean() - x.mean()"), "the factor stays at 1"),
        (_debiasing("return np.sum(x * y) / np.sum(x * x), 0"), "the offset stays at 0"),
        (_debiasing("return np.mean([np.polyfit(a.ravel(), b.ravel(), 1) for a, b in zip(filtered, clean)], axis=0)"), "image by image"),
        (_debiasing("return np.polyfit(x, y, 1)[::-1]"), "offset and factor are exchanged"),
        (_debiasing("factor = y.std() / x.std()", "return factor, y.mean() - factor * x.mean()"), "the ratio of the standard deviations"),
        (_debiasing("factor = np.corrcoef(x, y)[0, 1]", "return factor, y.mean() - factor * x.mean()"), "the factor is the correlation"),
    ],
    "posterior_mean": [
        (_posterior(weights="np.exp(a)"), "NaN, from 0 / 0"),
        (
            _posterior(weights="np.exp(a) + 0").replace("keepdims=True) @", "keepdims=True).clip(1e-300) @"),
            "shift them before you take the exponential",
        ),
        (_posterior("-d / level**2"), "the 2 of the normal density is missing"),
        (_posterior("-d / (2 * level)"), "the level must be squared"),
        (_posterior("-d / noisy.shape[1] / (2 * level**2)"), "the logarithms of all pixels add up"),
        (_posterior("-np.sqrt(d) / (2 * level**2)"), "the distance must be squared"),
        (_posterior(weights="(d == d.min(axis=1, keepdims=True)) * 1.0"), "this is the nearest image alone"),
        (_posterior(weights="np.exp(a - a.max(axis=0, keepdims=True))", axis=0), "must add up to 1: sum over the images"),
        (_posterior("d / (2 * level**2)"), "a minus is missing"),
        ("def posterior_mean(noisy, images, level):\n    return np.tile(images.mean(axis=0), (len(noisy), 1))", "weight them"),
    ],
    "frechet": [
        (_frechet("np.trace(product)"), "the root is missing"),
        (_frechet(_ROOTS, twice=-2), "must be subtracted"),
        (_frechet(_ROOTS, twice=1), "the 2 before the root is missing"),
        (_frechet("np.trace(np.sqrt(np.abs(product)))"), "the roots of the entries"),
        (_frechet("np.sum(np.sqrt(np.diag(covariance) * np.diag(other_covariance)))"), "the roots of the diagonal"),
        (_frechet("np.sqrt(np.trace(product))"), "the trace of a root is not the root of the trace"),
        (_frechet(_ROOTS, "np.linalg.norm(mean - other_mean)"), "the distance of the means must be squared"),
        (_frechet(_ROOTS, "np.mean((mean - other_mean) ** 2)"), "here they are averaged"),
        (_frechet(_ROOTS, "0"), "the means are left out"),
    ],
}
