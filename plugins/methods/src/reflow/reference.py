"""The numbers of tests.rs, in float64 and without a library.

A denoiser `v_hat = p0 z + p1 c` of a caption `c` makes pairs with two guided steps of DDIM, learns the straight flow of them for
one step of AdamW, is handed over, makes pairs of its own without guidance, and learns for one step to be at their pictures in one
step from the noise.
"""

from math import sqrt

ALPHA_BARS = [0.9, 0.64, 0.36, 0.0]
CLEAN = -1
EPS = [[[-1.0, 0.5], [0.25, 2.0]], [[0.75, -0.5], [-1.5, 1.0]]]  # of the two stages
C, NULL, W = [0.5, -0.5], 0.25, 3.0
P = [0.3, -0.2, 0.05]
T = [2, 1]
VISITED = [3, 1, CLEAN]
LR, ADAM_EPS, CLIP = 0.01, 1e-8, 1.0
HALF_LIFE, RAMP_UP = 4.0, 0.05  # images
N = 4


def level(t):
    return (1.0, 0.0) if t == CLEAN else (sqrt(ALPHA_BARS[t]), sqrt(1 - ALPHA_BARS[t]))


def says(p, z, c):
    return p[0] * z + p[1] * c


def flow(v, z, t):
    alpha, sigma = level(t)
    return z * (sigma - alpha) + v * (alpha + sigma)


def pairs(p, eps, w):
    """Pictures, and how far the trajectories are from straight."""
    x = [[0.0] * 2, [0.0] * 2]
    curvature = 0.0
    for b in range(2):
        for k in range(2):
            z, flows = eps[b][k], []
            for t, to in zip(VISITED, VISITED[1:]):
                (alpha, sigma), (alpha_to, sigma_to) = level(t), level(to)
                without = says(p, z, NULL)
                v = without + w * (says(p, z, C[b]) - without) if w != 1 else says(p, z, C[b])
                flows.append(flow(v, z, t))
                z = alpha_to * (alpha * z - sigma * v) + sigma_to * (sigma * z + alpha * v)
            x[b][k] = z
            curvature += sum((u - (eps[b][k] - z)) ** 2 for u in flows) / len(flows) / N
    return x, curvature


def adam(p, gradient):
    norm = sqrt(sum(g * g for g in gradient))
    scale = min(CLIP / (norm + 1e-6), 1.0)
    return norm, [x - LR * (g * scale) / (abs(g * scale) + ADAM_EPS) for x, g in zip(p, gradient)]


x, curvature = pairs(P, EPS[0], W)
loss, gradient = 0.0, [0.0, 0.0, 0.0]
for b in range(2):
    for k in range(2):
        (alpha, sigma), eps = level(T[b]), EPS[0][b][k]
        z = alpha * x[b][k] + sigma * eps
        difference = flow(says(P, z, C[b]), z, T[b]) - (eps - x[b][k])
        loss += difference**2 / N
        for i, factor in enumerate([z, C[b]]):
            gradient[i] += 2 * difference * (alpha + sigma) * factor / N
norm, student = adam(P, gradient)
print("straighten", [loss, curvature, norm], student)
print("pictures", x)
decay = 0.5 ** (2 / min(HALF_LIFE, RAMP_UP * 2))
average = [decay * old + (1 - decay) * new for old, new in zip(P, student)]
print("handed over", average)

x, curvature = pairs(average, EPS[1], 1.0)
loss, gradient, by_picture = 0.0, [0.0, 0.0, 0.0], 0.0
for b in range(2):
    for k in range(2):
        eps = EPS[1][b][k]
        difference = -says(average, eps, C[b]) - x[b][k]  # alpha 0 and sigma 1: x_hat = -v
        loss += difference**2 / N
        by_picture += (2 * difference / N) ** 2
        for i, factor in enumerate([eps, C[b]]):
            gradient[i] -= 2 * difference * factor / N
norm, student = adam(average, gradient)
print("one step", [loss, curvature, sqrt(by_picture), norm], student)
