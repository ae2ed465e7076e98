//! The operations of [`cases`](crate::cases), as closures that do one of them.

use add_kernels::ConvGeometry;
use burn::tensor::{Device, Distribution, Tensor};

use crate::cases::Pass;

/// Does the work once.
pub(crate) type Job = Box<dyn FnMut()>;

/// Numbers from [-1, 1).
pub(crate) fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), device)
}

/// `f` of some tensors, with the gradients of all of them where `pass` asks for it.
fn operation<const N: usize, const D: usize, const E: usize>(
    pass: Pass,
    inputs: [Tensor<D>; N],
    f: impl Fn(&[Tensor<D>; N]) -> Tensor<E> + 'static,
) -> Job {
    match pass {
        Pass::Forward => Box::new(move || drop(f(&inputs))),
        Pass::Both => {
            let inputs = inputs.map(|x| x.autodiff().require_grad());
            let weights = random(f(&inputs).dims(), &Device::flex());
            Box::new(move || drop((f(&inputs) * weights.clone()).sum().backward()))
        }
    }
}

/// As [`operation`], with a bias that gets a gradient too.
fn with_vectors<const N: usize, const D: usize, const E: usize>(
    pass: Pass,
    inputs: [Tensor<D>; N],
    vectors: [Tensor<1>; 2],
    f: impl Fn(&[Tensor<D>; N], &[Tensor<1>; 2]) -> Tensor<E> + 'static,
) -> Job {
    let vectors = match pass {
        Pass::Forward => vectors,
        Pass::Both => vectors.map(|v| v.autodiff().require_grad()),
    };
    operation(pass, inputs, move |inputs| f(inputs, &vectors))
}

fn plain<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    random(shape, &Device::flex())
}

pub(crate) fn conv(x: [usize; 4], out: usize, kernel: usize, pass: Pass) -> Job {
    let inputs = [plain(x), plain([out, x[1], kernel, kernel])];
    let geometry = ConvGeometry { stride: [1; 2], padding: [kernel / 2; 2], groups: 1 };
    with_vectors(pass, inputs, [plain([out]), plain([1])], move |[x, w], [bias, _]| {
        add_kernels::conv2d(x.clone(), w.clone(), Some(bias.clone()), geometry)
    })
}

pub(crate) fn group_norm_silu(x: [usize; 4], pass: Pass) -> Job {
    with_vectors(pass, [plain(x)], [plain([x[1]]), plain([x[1]])], |[x], [weight, bias]| {
        add_kernels::group_norm_silu(x.clone(), 32, weight.clone(), bias.clone(), 1e-5)
    })
}

pub(crate) fn attention(q: [usize; 4], keys: usize, pass: Pass) -> Job {
    let kv = [q[0], q[1], keys, q[3]];
    operation(pass, [plain(q), plain(kv), plain(kv)], |[q, k, v]| {
        add_kernels::attention(q.clone(), k.clone(), v.clone(), None)
    })
}

pub(crate) fn layer_norm(x: [usize; 3], pass: Pass) -> Job {
    with_vectors(pass, [plain(x)], [plain([x[2]]), plain([x[2]])], |[x], [weight, bias]| {
        add_kernels::layer_norm(x.clone(), weight.clone(), bias.clone(), 1e-5)
    })
}

pub(crate) fn geglu(x: [usize; 3], pass: Pass) -> Job {
    operation(pass, [plain(x)], |[x]| add_kernels::geglu(x.clone()))
}

pub(crate) fn linear(x: [usize; 3], out: usize, pass: Pass) -> Job {
    let weight = match pass {
        Pass::Forward => plain([out, x[2]]),
        Pass::Both => plain([out, x[2]]).autodiff().require_grad(),
    };
    with_vectors(pass, [plain(x)], [plain([out]), plain([1])], move |[x], [bias, _]| {
        add_kernels::linear(x.clone(), weight.clone(), Some(bias.clone()))
    })
}
