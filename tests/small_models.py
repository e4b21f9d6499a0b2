"""The course's models by the names of their checkpoints, of sizes that train and export in a moment."""

from dae_keras.models import DAE, DCAE, VAE

MODELS = {
    "DAE": lambda: DAE(hidden_dim=16, latent_dim=3),
    "DCAE": lambda: DCAE(filters=4, code_dim=8),
    "DCAE_skip": lambda: DCAE(filters=4, code_dim=8, skips=True),
    "DCAE_all_levels": lambda: DCAE(filters=4, code_dim=8, skips=True, scaled=True),
    "VAE": lambda: VAE(hidden_dim=16, latent_dim=3),
}
