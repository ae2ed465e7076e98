"""The numbers of `two_steps_of_a_linear_model_by_hand` in tests.rs, in float64 and without a library.

A denoiser `eps_hat = p0 x + p1 c + p2 w` of three parameters is distilled for two steps with AdamW. The teacher is its
beginning, asked with and without the caption `c` and told no scale `w`; the target is the running average.
"""

from math import sqrt

ALPHA_BARS = [0.9, 0.64, 0.36]
SKIP, SCALING, HUBER = 1, 0.5, 0.1
X0 = [[0.5, -0.25], [1.0, 0.75]]
EPS = [[-1.0, 0.5], [0.25, 2.0]]
T = [2, 1]
C = [0.5, -0.5]
NULL = 0.25
W = [3.0, 5.0]
LR, BETAS, ADAM_EPS, DECAY, CLIP = 0.01, (0.9, 0.999), 1e-8, 0.1, 1.0
HALF_LIFE = 4  # images


def level(t):
    return sqrt(ALPHA_BARS[t]), sqrt(1 - ALPHA_BARS[t])


def boundary(t):
    s = t * SCALING
    return 0.25 / (s * s + 0.25), s / sqrt(s * s + 0.25)


def eps_hat(p, x, c, w):
    return p[0] * x + p[1] * c + p[2] * w


def function(p, x, t, c, w):
    """f, and its derivative by eps_hat."""
    (alpha, sigma), (skip, out) = level(t), boundary(t)
    return skip * x + out * (x - sigma * eps_hat(p, x, c, w)) / alpha, -out * sigma / alpha


def step(student, target, teacher):
    loss, gap, gradient, count = 0.0, 0.0, [0.0] * 3, 4
    for x0, eps, t, c, w in zip(X0, EPS, T, C, W):
        (alpha, sigma), s = level(t), max(t - SKIP, 0)
        for x0, eps in zip(x0, eps):
            x = alpha * x0 + sigma * eps
            without = eps_hat(teacher, x, NULL, 0)
            guided = without + w * (eps_hat(teacher, x, c, 0) - without)
            a, b = level(s)
            landed = a * (x - sigma * guided) / alpha + b * guided
            f, by_eps = function(student, x, t, c, w)
            d = f - function(target, landed, s, c, w)[0]
            loss += (sqrt(d * d + HUBER**2) - HUBER) / count
            gap += d * d / count
            by_f = d / sqrt(d * d + HUBER**2) / count
            gradient = [g + by_f * by_eps * x for g, x in zip(gradient, (x, c, w))]
    return loss, sqrt(gap), gradient


def main():
    teacher = [0.3, -0.2, 0.05]
    student, average = list(teacher), list(teacher)
    m, v = [0.0] * 3, [0.0] * 3
    for k in (1, 2):
        loss, gap, gradient = step(student, average, teacher)
        norm = sqrt(sum(g * g for g in gradient))
        scale = min(1.0, CLIP / (norm + 1e-6))
        m = [BETAS[0] * m + (1 - BETAS[0]) * scale * g for m, g in zip(m, gradient)]
        v = [BETAS[1] * v + (1 - BETAS[1]) * (scale * g) ** 2 for v, g in zip(v, gradient)]
        update = [m / (1 - BETAS[0] ** k) / (sqrt(v / (1 - BETAS[1] ** k)) + ADAM_EPS) for m, v in zip(m, v)]
        student = [p - LR * DECAY * p - LR * u for p, u in zip(student, update)]
        decay = 0.5 ** (2 / HALF_LIFE)
        average = [decay * a + (1 - decay) * p for a, p in zip(average, student)]
        print(k, [loss, gap, norm], student, average)


main()
