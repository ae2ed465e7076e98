"""The numbers of tests.rs, in float64 and without a library.

Student and discriminator are `x_hat = p0 z + p1 c` of a caption `c`; the head is `q0 h + q1` of what the discriminator says. One
step of AdamW without weight decay.
"""

from math import exp, log, sqrt

ALPHA_BARS = [0.9, 0.64, 0.36, 0.0]
CLEAN = -1
KNOWN = [1, 2, 3]
X0 = [[0.5, -0.25], [1.0, 0.75]]
EPS = [[-1.0, 0.5], [0.25, 2.0]]
EPS_REAL = [[-0.75, 0.25], [1.25, -0.5]]
EPS_FAKE = [[1.0, -1.0], [0.5, 0.5]]
S, C = [2, 1], [0.5, -0.5]
RECONSTRUCTION = 0.5
STUDENT, DISCRIMINATOR, HEAD = [0.5, -0.2, 0.05], [0.7, 0.3, 0.05], [0.8, -0.1]
LR_G, LR_D, ADAM_EPS, CLIP = 0.01, 0.02, 1e-8, 1.0
N = 4


def level(t):
    return (1.0, 0.0) if t == CLEAN else (sqrt(ALPHA_BARS[t]), sqrt(1 - ALPHA_BARS[t]))


def noised(x, eps, t):
    alpha, sigma = level(t)
    return alpha * x + sigma * eps


def says(p, z, c):
    return p[0] * z + p[1] * c


def softplus(x):
    return log(1 + exp(x))


def sigmoid(x):
    return 1 / (1 + exp(-x))


def adam(parameters, gradient, lr):
    norm = sqrt(sum(g * g for g in gradient))
    scale = min(1.0, CLIP / (norm + 1e-6))
    return norm, [p - lr * (g * scale) / (abs(g * scale) + ADAM_EPS) for p, g in zip(parameters, gradient)]


loss_adv = loss_rec = loss_real = loss_fake = 0.0
by_adv = by_rec = 0.0
by_student, by_both = [0.0] * 3, [0.0] * 5
for b in range(2):
    at = KNOWN.index(S[b])
    down = KNOWN[at - 1] if at else CLEAN
    bar, bar_down = ALPHA_BARS[S[b]], (ALPHA_BARS[down] if down != CLEAN else 1.0)
    beta = 1 - bar / bar_down
    gamma = bar_down * (1 - beta) / (2 * beta)
    for k in range(2):
        z = noised(X0[b][k], EPS[b][k], S[b])
        x_hat = says(STUDENT, z, C[b])
        z_fake, z_real = noised(x_hat, EPS_FAKE[b][k], down), noised(X0[b][k], EPS_REAL[b][k], down)
        logit = lambda z: HEAD[0] * says(DISCRIMINATOR, z, C[b]) + HEAD[1]
        fake, real = logit(z_fake), logit(z_real)
        loss_adv += softplus(-fake) / N
        loss_fake += softplus(fake) / N
        loss_real += softplus(-real) / N
        loss_rec += gamma * (x_hat - X0[b][k]) ** 2 / N
        adv = -sigmoid(-fake) * HEAD[0] * DISCRIMINATOR[0] * level(down)[0] / N
        rec = RECONSTRUCTION * gamma * 2 * (x_hat - X0[b][k]) / N
        by_adv += adv**2
        by_rec += rec**2
        for i, factor in enumerate([z, C[b]]):
            by_student[i] += (adv + rec) * factor
        for z, by_logit in [(z_fake, sigmoid(fake) / N), (z_real, -sigmoid(-real) / N)]:
            for i, factor in enumerate([z, C[b]]):
                by_both[i] += by_logit * HEAD[0] * factor
            by_both[3] += by_logit * says(DISCRIMINATOR, z, C[b])
            by_both[4] += by_logit
norm_g, student = adam(STUDENT, by_student, LR_G)
norm_d, both = adam(DISCRIMINATOR + HEAD, by_both, LR_D)
print("student", [loss_adv, loss_rec, sqrt(by_adv), sqrt(by_rec), norm_g], student)
print("discriminator", [loss_real, loss_fake, norm_d], both[:3], both[3:])
