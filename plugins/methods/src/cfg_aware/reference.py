"""The numbers of tests.rs, in float64 and without a library.

A denoiser `x_hat = p0 z + p1 c` of a caption `c` learns in one step of AdamW to make in one guided step what its teacher makes in two;
in another run, the same without guidance. Both add the loss of pretraining.
"""

from math import sqrt

ALPHA_BARS = [0.9216, 0.64, 0.36, 0.0]
CLEAN = -1
X = [[0.5, -0.25], [1.0, 0.75]]
EPS = [[-1.0, 0.5], [0.25, 2.0]]
C, NULL, W = [0.5, -0.5], 0.25, [3.0, 5.0]
STUDENT, TEACHER = [0.5, -0.2, 0.05], [0.7, 0.3, 0.05]
STEPS = [(3, 2, 1), (1, 0, CLEAN)]
ORIGINAL = 0.5
LR, ADAM_EPS, CLIP, N = 0.01, 1e-8, 1.0, 4


def level(t):
    return (1.0, 0.0) if t == CLEAN else (sqrt(ALPHA_BARS[t]), sqrt(1 - ALPHA_BARS[t]))


def says(p, z, c):
    return p[0] * z + p[1] * c


def guided(p, b, z, w):
    without = says(p, z, NULL)
    return without + w * (says(p, z, C[b]) - without)


def target(b, z_t, w):
    t, middle, end = STEPS[b]
    z = z_t
    for here, there in [(t, middle), (middle, end)]:
        (alpha, sigma), (alpha_to, sigma_to) = level(here), level(there)
        x = guided(TEACHER, b, z, w)
        z = alpha_to * x + sigma_to * (z - alpha * x) / sigma
    (alpha, sigma), (alpha_to, sigma_to) = level(t), level(end)
    ratio = sigma_to / sigma
    return (z - ratio * z_t) / (alpha_to - ratio * alpha)


for name, scales in [("guided", W), ("plain", [1.0, 1.0])]:
    step = original = 0.0
    gradient = [0.0, 0.0, 0.0]
    for b in range(2):
        t = STEPS[b][0]
        alpha, sigma = level(t)
        weight = max((alpha / sigma) ** 2, 1.0)
        for k in range(2):
            z = alpha * X[b][k] + sigma * EPS[b][k]
            w = scales[b]
            difference = guided(STUDENT, b, z, w) - target(b, z, w)
            raw = says(STUDENT, z, C[b]) - X[b][k]
            step += weight * difference**2 / N
            original += raw**2 / N
            gradient[0] += (2 * weight * difference * z + ORIGINAL * 2 * raw * z) / N
            gradient[1] += (2 * weight * difference * (NULL + w * (C[b] - NULL)) + ORIGINAL * 2 * raw * C[b]) / N
    norm = sqrt(sum(g * g for g in gradient))
    scale = min(CLIP / (norm + 1e-6), 1.0)
    after = [x - LR * (g * scale) / (abs(g * scale) + ADAM_EPS) for x, g in zip(STUDENT, gradient)]
    print(name, [step + ORIGINAL * original, step, original, norm], after)
