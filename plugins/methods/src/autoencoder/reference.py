"""The numbers of `two_steps_of_a_linear_model_by_hand` in tests.rs, in float64 and without a library.

A codec of three numbers, whose latents are `p0 x + exp(p1 / 2) eps` and whose reconstruction is `p2 z`, is trained for two steps
with AdamW beside one head `w . f` on features that are the picture's two values. Derivatives are central differences.
"""

from math import exp, sqrt

X = [[0.5, -0.25], [1.0, 0.75]]
EPS = [[-1.0, 0.5], [0.25, 2.0]]
PERCEPTUAL, KL, ADVERSARIAL = 0.5, 0.1, 0.2
LR, LR_D, ADAM_EPS, CLIP = 0.01, 0.02, 1e-8, 1.0
BETAS, DECAY = (0.9, 0.999), 0.1
BETAS_D, DECAY_D = (0.0, 0.99), 0.1
HALF_LIFE = 4  # images
LENGTH_EPS = 1e-10
H = 1e-6


def reconstructions(p):
    return [[p[2] * (p[0] * x + exp(p[1] / 2) * e) for x, e in zip(xs, es)] for xs, es in zip(X, EPS)]


def unit(f):
    length = sqrt(sum(v * v for v in f) + LENGTH_EPS)
    return [v / length for v in f]


def terms(p):
    made = reconstructions(p)
    absolute = sum(abs(a - b) for m, x in zip(made, X) for a, b in zip(m, x)) / 4
    perceptual = sum((a - b) ** 2 for m, x in zip(made, X) for a, b in zip(unit(m), unit(x))) / 2
    mean = [p[0] * v for x in X for v in x]
    kl = 0.5 * (sum(m * m + exp(p[1]) - p[1] for m in mean) / 4 - 1)
    return absolute, perceptual, kl


def logit(w, f):
    return sum(a * b for a, b in zip(w, f))


def adversarial(p, w):
    return -sum(logit(w, m) for m in reconstructions(p)) / 2


def codec_loss(p, w):
    absolute, perceptual, kl = terms(p)
    return absolute + PERCEPTUAL * perceptual + KL * kl + ADVERSARIAL * adversarial(p, w)


def heads_loss(w, made):
    real = sum(max(0, 1 - logit(w, x)) for x in X) / 2
    fake = sum(max(0, 1 + logit(w, m)) for m in made) / 2
    return real + fake


def derivative(f, at):
    moved = lambda i, h: [v + (h if i == j else 0) for j, v in enumerate(at)]
    return [(f(moved(i, H)) - f(moved(i, -H))) / (2 * H) for i in range(len(at))]


def adamw(values, gradient, m, v, k, lr, betas, decay):
    norm = sqrt(sum(g * g for g in gradient))
    scale = min(1.0, CLIP / (norm + 1e-6))
    m = [betas[0] * a + (1 - betas[0]) * scale * g for a, g in zip(m, gradient)]
    v = [betas[1] * a + (1 - betas[1]) * (scale * g) ** 2 for a, g in zip(v, gradient)]
    moved = [a / (1 - betas[0] ** k) / (sqrt(b / (1 - betas[1] ** k)) + ADAM_EPS) for a, b in zip(m, v)]
    return [p - lr * decay * p - lr * u for p, u in zip(values, moved)], m, v, norm


def main():
    p, w = [0.8, -1.0, 0.9], [0.3, -0.2]
    average = list(p)
    m, v, m_d, v_d = [0.0] * 3, [0.0] * 3, [0.0] * 2, [0.0] * 2
    for k in (1, 2):
        made = reconstructions(p)
        told = [*terms(p), adversarial(p, w), heads_loss(w, made)]
        gradient = derivative(lambda p: codec_loss(p, w), p)
        of_heads = derivative(lambda w: heads_loss(w, made), w)
        p, m, v, norm = adamw(p, gradient, m, v, k, LR, BETAS, DECAY)
        w, m_d, v_d, norm_d = adamw(w, of_heads, m_d, v_d, k, LR_D, BETAS_D, DECAY_D)
        decay = 0.5 ** (2 / HALF_LIFE)
        average = [decay * a + (1 - decay) * b for a, b in zip(average, p)]
        print(k, [*told, norm, norm_d], p, average, w)


main()
