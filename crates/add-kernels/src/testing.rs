//! The check that all kernels share: the numbers and gradients of the pure operations in f64.

use burn::tensor::{DType, Device, Gradients, Tensor, TensorData, bf16};
use proptest::test_runner::TestCaseError;
use rayon::ThreadPoolBuilder;

/// Largest difference, relative to the largest number of the reference.
const TOLERANCE: f64 = 1e-5;

/// Repeatable numbers between -1 and 1.
pub(crate) fn random<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| next()).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

/// The inputs of a kernel: a tuple of tensors.
pub(crate) trait Inputs: Clone {
    fn tracked(self) -> Self;
    fn cast(self, dtype: DType) -> Self;
    fn gradients(&self, gradients: &Gradients) -> Vec<Vec<f64>>;
}

/// The gradient of a tensor; a missing one is zero.
fn gradient<const D: usize>(tensor: &Tensor<D>, gradients: &Gradients) -> Vec<f64> {
    tensor.grad(gradients).map_or_else(|| vec![0.0; tensor.shape().num_elements()], numbers)
}

/// All numbers of a tensor.
pub(crate) fn numbers<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().convert_dtype(DType::F64).try_to_vec().expect("numbers")
}

macro_rules! inputs {
    ($($dims:ident $name:ident),*) => {
        impl<$(const $dims: usize),*> Inputs for ($(Tensor<$dims>,)*) {
            fn tracked(self) -> Self {
                let ($($name,)*) = self;
                ($($name.autodiff().require_grad(),)*)
            }

            fn cast(self, dtype: DType) -> Self {
                let ($($name,)*) = self;
                ($($name.cast(dtype),)*)
            }

            fn gradients(&self, gradients: &Gradients) -> Vec<Vec<f64>> {
                let ($($name,)*) = self;
                vec![$(gradient($name, gradients)),*]
            }
        }
    };
}

inputs!(A a);
inputs!(A a, B b);
inputs!(A a, B b, C c);

/// As [`near`], and holds the value and all gradients of `kernel` in bf16 to those of itself in f32, rounded.
pub(crate) fn agree<I: Inputs + Send + Sync, const D: usize>(
    inputs: I,
    kernel: impl Fn(I) -> Tensor<D> + Sync,
    reference: impl Fn(I) -> Tensor<D>,
) -> Result<(), TestCaseError> {
    near(inputs.clone(), &kernel, reference)?;
    let halves = inputs.cast(DType::BF16);
    let weights = random(kernel(halves.clone()).dims(), 77).cast(DType::BF16);
    let run = |dtype: DType| {
        let inputs = halves.clone().cast(dtype).tracked();
        let got = kernel(inputs.clone());
        let gradients = (got.clone() * weights.clone().cast(dtype)).sum().backward();
        (got.inner().cast(DType::BF16), inputs, gradients)
    };
    let ((got, ours, our_gradients), (want, theirs, their_gradients)) = (run(DType::BF16), run(DType::F32));
    let rounded = |all: Vec<Vec<f64>>| -> Vec<Vec<f64>> {
        all.into_iter()
            .map(|all| all.into_iter().map(|x| bf16::from_f32(x as f32).to_f64()).collect())
            .collect()
    };
    if numbers(got) != numbers(want) {
        return Err(TestCaseError::fail("in bf16 the value is another than that of f32, rounded"));
    }
    if ours.gradients(&our_gradients) != rounded(theirs.gradients(&their_gradients)) {
        return Err(TestCaseError::fail("in bf16 a gradient is another than that of f32, rounded"));
    }
    Ok(())
}

/// Holds the value and all gradients of `kernel` to those of `reference`, which runs in f64, and to its own bits on another
/// number of threads.
pub(crate) fn near<I: Inputs + Send + Sync, const D: usize>(
    inputs: I,
    kernel: impl Fn(I) -> Tensor<D> + Sync,
    reference: impl Fn(I) -> Tensor<D>,
) -> Result<(), TestCaseError> {
    let ours = inputs.clone().tracked();
    let theirs = inputs.clone().cast(DType::F64).tracked();
    let (got, want) = (kernel(ours.clone()), reference(theirs.clone()));
    if got.dims() != want.dims() {
        return Err(TestCaseError::fail(format!("shape {:?} for {:?}", got.dims(), want.dims())));
    }
    close("value", &numbers(got.clone().inner()), &numbers(want.clone().inner()))?;
    let weights = random(got.dims(), 77);
    same_on_any_threads(|| {
        let ours = inputs.clone().tracked();
        let got = kernel(ours.clone());
        let mut all = ours.gradients(&(got.clone() * weights.clone()).sum().backward());
        all.push(numbers(got.inner()));
        all
    })?;
    // The plain tensors take another path through the kernel.
    close("plain value", &numbers(kernel(inputs.clone())), &numbers(want.clone().inner()))?;
    let got = ours.gradients(&(got * weights.clone()).sum().backward());
    let want = theirs.gradients(&(want * weights.cast(DType::F64)).sum().backward());
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        close(&format!("gradient {i}"), got, want)?;
    }
    Ok(())
}

/// Holds the value of `kernel` on plain bf16 tensors to that of `reference`, which runs in f64 on the same numbers, and to its
/// own bits on another number of threads.
///
/// It is rounded to bf16 once; whatever else was rounded on the way is off by less than `more`.
pub(crate) fn near_in_bf16<I: Inputs + Send + Sync, const D: usize>(
    inputs: I,
    kernel: impl Fn(I) -> Tensor<D> + Sync,
    reference: impl Fn(I) -> Tensor<D>,
    more: f64,
) -> Result<(), TestCaseError> {
    let halves = inputs.cast(DType::BF16);
    let got = kernel(halves.clone());
    if got.dtype() != DType::BF16 {
        return Err(TestCaseError::fail(format!("bf16 became {:?}", got.dtype())));
    }
    let (got, want) = (numbers(got), numbers(reference(halves.clone().cast(DType::F64))));
    rounded_once(&got, &want, more)?;
    same_on_any_threads(|| numbers(kernel(halves.clone())))
}

fn rounded_once(got: &[f64], want: &[f64], more: f64) -> Result<(), TestCaseError> {
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let bound = want.abs() / 256.0 + more;
        // Written so that a NaN fails.
        if (got - want).abs().partial_cmp(&bound) != Some(std::cmp::Ordering::Less) {
            return Err(TestCaseError::fail(format!("in bf16 number {i} is {got} for {want}")));
        }
    }
    Ok(())
}

/// Holds the value of `kernel` on a tape of bf16 tensors to that on plain ones, bit by bit, and the gradients of all inputs to
/// those of `reference`, which runs in f64 on the same numbers, and to their own bits on another number of threads.
///
/// Each is rounded to bf16 once; whatever else was rounded on the way is off by less than its number of `more`.
pub(crate) fn trained_near_in_bf16<I: Inputs + Send + Sync, const D: usize>(
    inputs: I,
    kernel: impl Fn(I) -> Tensor<D> + Sync,
    reference: impl Fn(I) -> Tensor<D>,
    more: &[f64],
) -> Result<(), TestCaseError> {
    let inputs = inputs.cast(DType::BF16);
    same_without_tape(inputs.clone(), &kernel)?;
    let gradients = |dtype: DType, kernel: &dyn Fn(I) -> Tensor<D>| {
        let inputs = inputs.clone().cast(dtype).tracked();
        let y = kernel(inputs.clone());
        let weights = random(y.dims(), 77).cast(DType::BF16).cast(dtype);
        inputs.gradients(&(y * weights).sum().backward())
    };
    let (got, want) = (gradients(DType::BF16, &kernel), gradients(DType::F64, &reference));
    for ((got, want), more) in got.iter().zip(&want).zip(more) {
        rounded_once(got, want, *more)?;
    }
    same_on_any_threads(|| gradients(DType::BF16, &kernel))
}

/// Holds the gradient of the bf16 input `x` of `kernel`, a layer whose weights are frozen, to the one in f64, as
/// [`near_in_bf16`] does with a value.
pub(crate) fn input_gradient_near_in_bf16<const D: usize>(
    x: Tensor<D>,
    kernel: impl Fn(Tensor<D>, DType) -> Tensor<D> + Sync,
    more: f64,
) -> Result<(), TestCaseError> {
    let gradient = |dtype: DType| {
        let x = x.clone().cast(DType::BF16).cast(dtype).autodiff().require_grad();
        let y = kernel(x.clone(), dtype);
        let weights = random(y.dims(), 77).cast(DType::BF16).cast(dtype);
        numbers(x.grad(&(y * weights).sum().backward()).expect("a gradient"))
    };
    rounded_once(&gradient(DType::BF16), &gradient(DType::F64), more)?;
    same_on_any_threads(|| gradient(DType::BF16))
}

/// Holds the value of `kernel` on plain bf16 tensors to that on a tape, bit by bit.
pub(crate) fn same_without_tape<I: Inputs, const D: usize>(
    inputs: I,
    kernel: impl Fn(I) -> Tensor<D>,
) -> Result<(), TestCaseError> {
    let inputs = inputs.cast(DType::BF16);
    let (plain, recorded) = (kernel(inputs.clone()), kernel(inputs.tracked()).inner());
    let same = plain.dtype() == recorded.dtype() && numbers(plain) == numbers(recorded);
    if same { Ok(()) } else { Err(TestCaseError::fail("without a tape the value in bf16 is another")) }
}

/// Holds what `f` gives with one thread to what it gives with three.
fn same_on_any_threads<T: PartialEq + Send>(f: impl Fn() -> T + Sync) -> Result<(), TestCaseError> {
    let on = |threads: usize| {
        let pool = ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(&f)
    };
    if on(1) == on(3) { Ok(()) } else { Err(TestCaseError::fail("one thread and three give other numbers")) }
}

fn close(what: &str, got: &[f64], want: &[f64]) -> Result<(), TestCaseError> {
    // Where everything cancels, the rounding of the inputs (about one) remains.
    let scale = want.iter().fold(0.05, |a: f64, b| a.max(b.abs()));
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        // Written so that a NaN fails.
        if (got - want).abs().partial_cmp(&(TOLERANCE * scale)) != Some(std::cmp::Ordering::Less) {
            return Err(TestCaseError::fail(format!("{what}[{i}] is {got} for {want}, scale {scale}")));
        }
    }
    Ok(())
}
