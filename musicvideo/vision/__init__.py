"""A song -> latent trajectory -> pictures -> film."""
