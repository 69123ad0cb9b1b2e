"""The published architectures of BigGAN-deep, as data."""

# (up-samples, input channels, output channels) of each block, channels in units of the width, 128.
LAYERS = {
    128: [(False, 16, 16), (True, 16, 16), (False, 16, 16), (True, 16, 8), (False, 8, 8), (True, 8, 4),
          (False, 4, 4), (True, 4, 2), (False, 2, 2), (True, 2, 1)],
    256: [(False, 16, 16), (True, 16, 16), (False, 16, 16), (True, 16, 8), (False, 8, 8), (True, 8, 8),
          (False, 8, 8), (True, 8, 4), (False, 4, 4), (True, 4, 2), (False, 2, 2), (True, 2, 1)],
}  # fmt: skip
LAYERS[512] = LAYERS[256] + [(False, 1, 1), (True, 1, 1)]
RESOLUTIONS = tuple(LAYERS)
