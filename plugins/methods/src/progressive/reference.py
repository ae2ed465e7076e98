"""The numbers of tests.rs, in float64 and without a library.

A denoiser `x_hat = p0 z + p1 c + p2 w` of three parameters learns its own guided estimate for one step, is handed over, and
learns for one step of AdamW to sample in two steps what its teacher, the average of the first stage, samples in four. `c` is
the caption; the scale `w` is told to the student, and to a teacher that was a student itself.
"""

from math import sqrt

ALPHA_BARS = [0.9216, 0.64, 0.36, 0.0]
CLEAN = -1
X = [[0.5, -0.25], [1.0, 0.75]]
EPS = [[-1.0, 0.5], [0.25, 2.0]]
C, NULL = [0.5, -0.5], 0.25
W = [3.0, 5.0]
P = [0.5, -0.2, 0.05]
LR, ADAM_EPS, CLIP = 0.01, 1e-8, 1.0
HALF_LIFE, RAMP_UP = 4.0, 0.05  # images


def level(t):
    return (1.0, 0.0) if t == CLEAN else (sqrt(ALPHA_BARS[t]), sqrt(1 - ALPHA_BARS[t]))


def weight(t):
    alpha, sigma = level(t)
    return max((alpha / sigma) ** 2, 1.0)


def noised(b, k, t):
    alpha, sigma = level(t)
    return alpha * X[b][k] + sigma * EPS[b][k]


def guided(p, b, z):
    with_text, without = p[0] * z + p[1] * C[b], p[0] * z + p[1] * NULL
    return without + W[b] * (with_text - without)


def told(p, b, z):
    return p[0] * z + p[1] * C[b] + p[2] * W[b]


def halved(p, b, z_t, t, middle, end):
    z = z_t
    for here, there in [(t, middle), (middle, end)]:
        (alpha, sigma), (alpha_to, sigma_to) = level(here), level(there)
        x = told(p, b, z)
        z = alpha_to * x + sigma_to * (z - alpha * x) / sigma
    (alpha, sigma), (alpha_to, sigma_to) = level(t), level(end)
    ratio = sigma_to / sigma
    return (z - ratio * z_t) / (alpha_to - ratio * alpha)


def step(p, teacher_target, times):
    """Loss, norm of the gradient and the parameters after the first step of AdamW without weight decay."""
    loss, gradient = 0.0, [0.0, 0.0, 0.0]
    for b in range(2):
        for k in range(2):
            z = noised(b, k, times[b])
            difference = told(p, b, z) - teacher_target(b, z)
            loss += weight(times[b]) * difference**2 / 4
            for i, factor in enumerate([z, C[b], W[b]]):
                gradient[i] += 2 * weight(times[b]) * difference * factor / 4
    norm = sqrt(sum(g * g for g in gradient))
    scale = min(CLIP / (norm + 1e-6), 1.0)
    after = [x - LR * (g * scale) / (abs(g * scale) + ADAM_EPS) for x, g in zip(p, gradient)]
    return loss, norm, after


loss, norm, student = step(P, lambda b, z: guided(P, b, z), [3, 1])
print("guidance", loss, norm, student)
decay = 0.5 ** (2 / min(HALF_LIFE, RAMP_UP * 2))
average = [decay * old + (1 - decay) * new for old, new in zip(P, student)]
print("handed over", average)
STEPS = [(3, 2, 1), (1, 0, CLEAN)]
loss, norm, student = step(average, lambda b, z: halved(average, b, z, *STEPS[b]), [3, 1])
print("halving", loss, norm, student)
