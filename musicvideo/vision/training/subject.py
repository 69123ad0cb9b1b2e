"""Where the subject of a photograph is: colours of the border against colours of the middle, and edges between.

As in GrabCut (Rother, Kolmogorov and Blake 2004, https://doi.org/10.1145/1015706.1015720), two mixtures of Gaussians
describe the colours of background and subject and are fitted anew to what was found. The picture is not divided by a
cut but by a random walk with priors (Grady 2005, https://doi.org/10.1109/CVPR.2005.239), a sparse linear system.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import LinearOperator, cg
from sklearn.mixture import GaussianMixture

BORDER = 0.03  # width of the frame that counts as background, in sides of the picture
COLOURS = 5  # Gaussians in each mixture
SAMPLES = 3000  # pixels that a mixture is fitted to
ROUNDS = 4  # of fitting and dividing
SURE = 6.0  # largest logarithm of a ratio of likelihoods
CENTRE = 1.5  # the same for the middle of a picture against its border
HOLD = 0.03  # weight of a pixel's own colour against its neighbours'
CONTRAST = 30.0  # how much less a strong edge lets through
FAINT = 0.02  # mean difference of neighbouring colours, 0..1, below which there are no edges
AREA = (0.03, 0.8)  # share of the picture that a subject may take
APART = 1.6  # least mean logarithm of the ratio of likelihoods within a subject
GAP = 0.015  # gaps in outlines that are closed, in sides of the picture
CRUMB = 0.2  # parts smaller than this share of the largest one are dropped


def find_subject(picture: np.ndarray) -> np.ndarray | None:
    """The opacity of a picture's subject.

    Args:
        picture: (h, w, 3) in 0..1.

    Returns:
        (h, w) in 0..1, or None if nothing stands out.
    """
    height, width, _ = picture.shape
    colours = picture.reshape(-1, 3).astype(np.float64)
    ring = max(1, round(BORDER * min(height, width)))
    frame = np.ones((height, width), bool)
    frame[ring:-ring, ring:-ring] = False
    border = frame.ravel()
    rng = np.random.default_rng(0)

    behind = _mixture(colours[border], rng)
    strange = -behind.score_samples(colours)
    inside = (strange > np.median(strange[~border])) & ~border
    system = _walk(picture, border)
    middle = CENTRE * _middle(height, width)
    opacity = np.zeros(len(colours))
    ratio = opacity
    for _ in range(ROUNDS):
        if min(inside.sum(), (~inside).sum()) < COLOURS * 10:
            return None
        front, behind = _mixture(colours[inside], rng), _mixture(colours[~inside], rng)
        ratio = (front.score_samples(colours) - behind.score_samples(colours)).clip(-SURE, SURE)
        opacity = system(1 / (1 + np.exp(-(ratio + middle))), opacity)
        inside = (opacity > 0.5) & ~border
    found = _whole(opacity.reshape(height, width), max(1, round(GAP * min(height, width))))
    area = (found > 0.5).mean()
    seen = inside & (found > 0.5).ravel()  # without filled holes, which have the colours of the background
    apart = seen.any() and ratio[seen].mean() >= APART
    return found if apart and AREA[0] <= area <= AREA[1] else None


def _mixture(colours: np.ndarray, rng: np.random.Generator) -> GaussianMixture:
    sample = colours[rng.choice(len(colours), min(SAMPLES, len(colours)), replace=False)]
    return GaussianMixture(COLOURS, reg_covar=3e-4, init_params="k-means++", random_state=0, tol=1e-2).fit(sample)


def _middle(height: int, width: int) -> np.ndarray:
    """1 in the middle of a picture, about -1 in its corners (h w,)."""
    down, across = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
    return (1 - (down**2 + across**2)).ravel()


def _walk(picture: np.ndarray, border: np.ndarray):
    """A function of each pixel's own opacity (n,) and a first guess that gives those in which neighbours agree."""
    height, width, _ = picture.shape
    index = np.arange(height * width).reshape(height, width)
    first = np.concatenate([index[:-1].ravel(), index[:, :-1].ravel()])
    second = np.concatenate([index[1:].ravel(), index[:, 1:].ravel()])
    flat = picture.reshape(-1, 3)
    steps = np.square(flat[first] - flat[second]).sum(axis=1)
    weights = np.exp(-CONTRAST * steps / (CONTRAST * steps.mean() + FAINT)) + 1e-3
    own = np.where(border, 1.0, HOLD)
    joined = sparse.coo_matrix((weights, (first, second)), (flat.shape[0], flat.shape[0]))
    joined = joined + joined.T
    diagonal = np.asarray(joined.sum(axis=1)).ravel() + own
    matrix = (sparse.diags(diagonal) - joined).tocsr()
    scaled = LinearOperator(matrix.shape, lambda vector: vector / diagonal)

    def solve(alone: np.ndarray, guess: np.ndarray) -> np.ndarray:
        return cg(matrix, own * np.where(border, 0, alone), x0=guess, rtol=1e-3, maxiter=300, M=scaled)[0]

    return solve


def _whole(opacity: np.ndarray, gap: int) -> np.ndarray:
    """A subject without gaps in its outline, holes and crumbs; its edge is as soft as it was."""
    inside = ndimage.binary_closing(np.pad(opacity > 0.5, 2 * gap), iterations=gap)[
        2 * gap : -2 * gap, 2 * gap : -2 * gap
    ]
    inside = ndimage.binary_opening(ndimage.binary_fill_holes(inside), iterations=max(1, gap // 3))
    parts, count = ndimage.label(inside)
    if count:
        sizes = ndimage.sum_labels(inside, parts, np.arange(1, count + 1))
        inside = np.isin(parts, 1 + np.flatnonzero(sizes >= CRUMB * sizes.max()))
    return ndimage.gaussian_filter(inside.astype(float), 1)
