"""The numbers of tests.rs, in float64 and without a library.

Student, teacher and denoiser of fakes are `x_hat = p0 z + p1 c` of a caption `c`; the head is `q0 h + q1` of what the denoiser
of fakes says. Two steps of AdamW without weight decay: in the first the denoiser of fakes and its head move alone, in the second
the student, too.
"""

from math import exp, log, sqrt

ALPHA_BARS = [0.9, 0.64, 0.36, 0.0]
X0 = [[0.5, -0.25], [1.0, 0.75]]
EPS = [[-1.0, 0.5], [0.25, 2.0]]  # the student's
EPS_MATCH = [[0.5, 0.25], [-1.5, 1.0]]
EPS_FAKES = [[-0.5, 1.0], [0.75, -0.25]]
EPS_FAKE_LEVEL = [[1.0, -1.0], [0.5, 0.5]]
EPS_REAL_LEVEL = [[-0.75, 0.25], [1.25, -0.5]]
S, T_MATCH, T_FAKES, T_FAKE_LEVEL, T_REAL_LEVEL = [3, 3], [1, 2], [2, 3], [0, 1], [1, 2]
C, NULL, W = [0.5, -0.5], 0.25, [3.0, 2.0]
WEIGHT, DISCRIMINATOR_WEIGHT = 0.5, 0.25
STUDENT, TEACHER, HEAD = [0.5, -0.2, 0.05], [0.7, 0.3, 0.05], [0.8, -0.1]
LR_G, LR_D, BETAS, ADAM_EPS, CLIP = 0.01, 0.02, (0.9, 0.999), 1e-8, 1.0
N = 4  # values of the batch


def level(t):
    return sqrt(ALPHA_BARS[t]), sqrt(1 - ALPHA_BARS[t])


def noised(x, eps, t):
    alpha, sigma = level(t)
    return alpha * x + sigma * eps


def says(p, z, c):
    return p[0] * z + p[1] * c


def softplus(x):
    return log(1 + exp(x))


def sigmoid(x):
    return 1 / (1 + exp(-x))


def fakes(student):
    """The student's pictures, and their inputs."""
    z = [[noised(X0[b][k], EPS[b][k], S[b]) for k in range(2)] for b in range(2)]
    return [[says(student, z[b][k], C[b]) for k in range(2)] for b in range(2)], z


def student_gradient(student, fake, head):
    x, z = fakes(student)
    loss_match = loss_adv = 0.0
    by_match, by_adv = [[0.0] * 2, [0.0] * 2], [[0.0] * 2, [0.0] * 2]
    for b in range(2):
        z_t = [noised(x[b][k], EPS_MATCH[b][k], T_MATCH[b]) for k in range(2)]
        real = [says(TEACHER, z_t[k], NULL) + W[b] * (says(TEACHER, z_t[k], C[b]) - says(TEACHER, z_t[k], NULL)) for k in range(2)]
        own = [says(fake, z_t[k], C[b]) for k in range(2)]
        away = sum(abs(x[b][k] - real[k]) for k in range(2)) / 2
        for k in range(2):
            g = (own[k] - real[k]) / away
            loss_match += g * g / 2 / N
            by_match[b][k] = g / N
            alpha, _ = level(T_FAKE_LEVEL[b])
            h = says(fake, noised(x[b][k], EPS_FAKE_LEVEL[b][k], T_FAKE_LEVEL[b]), C[b])
            logit = head[0] * h + head[1]
            loss_adv += softplus(-logit) / N
            by_adv[b][k] = -WEIGHT * sigmoid(-logit) * head[0] * fake[0] * alpha / N
    norm = lambda by: sqrt(sum(g * g for row in by for g in row))
    gradient = [0.0, 0.0, 0.0]
    for b in range(2):
        for k in range(2):
            for i, factor in enumerate([z[b][k], C[b], 0.0]):
                gradient[i] += (by_match[b][k] + by_adv[b][k]) * factor
    return [loss_match, loss_adv, norm(by_match), norm(by_adv)], gradient


def fakes_gradient(student, fake, head):
    x, _ = fakes(student)
    loss_fakes = loss_real = loss_fake = 0.0
    by_fake, by_head = [0.0, 0.0, 0.0], [0.0, 0.0]
    for b in range(2):
        for k in range(2):
            z = noised(x[b][k], EPS_FAKES[b][k], T_FAKES[b])
            difference = says(fake, z, C[b]) - x[b][k]
            loss_fakes += difference**2 / N
            for i, factor in enumerate([z, C[b]]):
                by_fake[i] += 2 * difference * factor / N
            for values, eps, t, sign in [(x, EPS_FAKE_LEVEL, T_FAKE_LEVEL, 1), (X0, EPS_REAL_LEVEL, T_REAL_LEVEL, -1)]:
                z = noised(values[b][k], eps[b][k], t[b])
                h = says(fake, z, C[b])
                logit = head[0] * h + head[1]
                if sign > 0:
                    loss_fake += softplus(logit) / N
                else:
                    loss_real += softplus(-logit) / N
                by_logit = DISCRIMINATOR_WEIGHT * sign * sigmoid(sign * logit) / N
                by_head[0] += by_logit * h
                by_head[1] += by_logit
                for i, factor in enumerate([z, C[b]]):
                    by_fake[i] += by_logit * head[0] * factor
    return [loss_fakes, loss_real, loss_fake], by_fake + by_head


class Adam:
    def __init__(self, count):
        self.m, self.v, self.k = [0.0] * count, [0.0] * count, 0

    def step(self, parameters, gradient, lr):
        norm = sqrt(sum(g * g for g in gradient))
        scale = min(1.0, CLIP / (norm + 1e-6))
        self.k += 1
        self.m = [BETAS[0] * m + (1 - BETAS[0]) * scale * g for m, g in zip(self.m, gradient)]
        self.v = [BETAS[1] * v + (1 - BETAS[1]) * (scale * g) ** 2 for v, g in zip(self.v, gradient)]
        update = [m / (1 - BETAS[0] ** self.k) / (sqrt(v / (1 - BETAS[1] ** self.k)) + ADAM_EPS) for m, v in zip(self.m, self.v)]
        return norm, [p - lr * u for p, u in zip(parameters, update)]


def main():
    student, fake, head = list(STUDENT), list(TEACHER), list(HEAD)
    of_student, of_fakes = Adam(3), Adam(5)
    for moves in (False, True):
        told, by_student = student_gradient(student, fake, head)
        losses, by_fakes = fakes_gradient(student, fake, head)
        if moves:
            norm, student = of_student.step(student, by_student, LR_G)
            print("student", told + [norm], student)
        norm, both = of_fakes.step(fake + head, by_fakes, LR_D)
        fake, head = both[:3], both[3:]
        print("fakes", losses + [norm], fake, head)


main()
