//! The change of a weight out of its factors, as a matrix `[C_out, C_in k_h k_w]`.

use std::collections::BTreeMap;

use burn::tensor::{DType, Device, Tensor};

use super::{
    key::{Factor, Part},
    peft::PeftConfig,
};
use crate::{WeightsFile, error::WeightsError};

/// A weight's change as a product.
#[derive(Debug)]
pub(super) struct Product<'a> {
    form: Form<'a>,
    /// The tensor with `alpha`.
    alpha: Option<&'a str>,
    /// By which it is multiplied where the file has no `alpha`.
    default_scale: f64,
}

/// Which product.
#[derive(Debug)]
enum Form<'a> {
    /// `B A`, for convolutions perhaps with a core between them.
    Lora(Matrix<'a>),
    /// Two such products, multiplied element by element.
    Loha(Matrix<'a>, Matrix<'a>),
    /// The Kronecker product of two matrices.
    Lokr(Matrix<'a>, Matrix<'a>),
}

/// A matrix in a file.
#[derive(Debug, Clone, Copy)]
enum Matrix<'a> {
    Whole(&'a str),
    /// `a [R, r] b [r, C]`.
    Factored {
        a: &'a str,
        b: &'a str,
    },
    /// A convolution's: `sum_ij a_iR core_ijk b_jC`. `a` is stored as `[R, r]` or, as LoHa and LoKr do, as `[r, R]`.
    Tucker {
        a: &'a str,
        core: &'a str,
        b: &'a str,
        a_is_transposed: bool,
    },
}

impl<'a> Product<'a> {
    /// The product that `factors` make; none where they have no factor.
    pub(super) fn of(
        file: &WeightsFile,
        factors: &'a BTreeMap<Factor, String>,
    ) -> Result<Option<Self>, String> {
        use Factor::{
            Alpha, Down, Hada1A, Hada1B, Hada2A, Hada2B, HadaT1, HadaT2, Kron1, Kron1A, Kron1B, Kron2,
            Kron2A, Kron2B, KronT2, Mid, Up,
        };
        let get = |factor| factors.get(&factor).map(String::as_str);
        let pair = |a, core, b, a_is_transposed| match (get(a), get(core), get(b)) {
            (Some(a), None, Some(b)) => Some(Matrix::Factored { a, b }),
            (Some(a), Some(core), Some(b)) => Some(Matrix::Tucker { a, core, b, a_is_transposed }),
            _ => None,
        };
        let whole = |factor| get(factor).map(Matrix::Whole);
        // LoKr's first matrix never has a core: `Mid` stands for none, since a LoRA's factors are not beside it.
        let lokr = [
            whole(Kron1).or_else(|| pair(Kron1A, Mid, Kron1B, false)),
            whole(Kron2).or_else(|| pair(Kron2A, KronT2, Kron2B, true)),
        ];
        let (form, used): (_, &[Factor]) = if let Some(lora) = pair(Up, Mid, Down, false) {
            (Form::Lora(lora), &[Up, Mid, Down])
        } else if let (Some(first), Some(second)) =
            (pair(Hada1A, HadaT1, Hada1B, true), pair(Hada2A, HadaT2, Hada2B, true))
        {
            (Form::Loha(first, second), &[Hada1A, HadaT1, Hada1B, Hada2A, HadaT2, Hada2B])
        } else if let [Some(first), Some(second)] = lokr {
            (Form::Lokr(first, second), &[Kron1, Kron1A, Kron1B, Kron2, Kron2A, Kron2B, KronT2])
        } else {
            let known = [Factor::Difference, Factor::BiasDifference];
            return match factors.iter().find(|(factor, _)| !known.contains(factor)) {
                Some((_, tensor)) => Err(format!("`{tensor}` has no factor to be multiplied with")),
                None => Ok(None),
            };
        };
        let others = [Alpha, Factor::Difference, Factor::BiasDifference];
        if let Some((_, tensor)) = factors.iter().find(|(f, _)| !used.contains(f) && !others.contains(f)) {
            return Err(format!("`{tensor}` belongs to another kind of change than the rest of its layer"));
        }
        let alpha = get(Alpha);
        if let Some(alpha) = alpha {
            let count = file.info(alpha).map_err(|e| e.to_string())?.shape.iter().product::<usize>();
            if count != 1 {
                return Err(format!("`{alpha}`: expected one number, found {count}"));
            }
        }
        Ok(Some(Self { form, alpha, default_scale: 1.0 }))
    }

    /// With peft's settings, which are not in its tensors.
    pub(super) fn with_peft(self, peft: &PeftConfig, part: Part, layer: &str) -> Self {
        Self { default_scale: peft.scale(part, layer).unwrap_or(1.0), ..self }
    }

    /// One of its tensors.
    pub(super) fn tensor(&self) -> &'a str {
        let (Form::Lora(matrix) | Form::Loha(matrix, _) | Form::Lokr(matrix, _)) = self.form;
        match matrix {
            Matrix::Whole(name) | Matrix::Factored { a: name, .. } | Matrix::Tucker { a: name, .. } => name,
        }
    }

    /// Rows and columns of the change, read off the shapes.
    pub(super) fn size(&self, file: &WeightsFile) -> Result<(usize, usize), String> {
        let too_large = || format!("`{}` has a size beyond all models", self.tensor());
        match self.form {
            Form::Lora(matrix) => matrix.size(file),
            Form::Loha(first, second) => {
                let (one, two) = (first.size(file)?, second.size(file)?);
                if one == two {
                    return Ok(one);
                }
                Err(format!("`{}`: its two matrices have the sizes {one:?} and {two:?}", self.tensor()))
            }
            Form::Lokr(first, second) => {
                let ((a, b), (c, d)) = (first.size(file)?, second.size(file)?);
                let rows = a.checked_mul(c).ok_or_else(too_large)?;
                Ok((rows, b.checked_mul(d).ok_or_else(too_large)?))
            }
        }
    }

    /// The change, flat.
    pub(super) fn values(&self, file: &WeightsFile, device: &Device) -> Result<Tensor<1>, WeightsError> {
        let change = match self.form {
            Form::Lora(matrix) => matrix.values(file, device)?,
            Form::Loha(first, second) => first.values(file, device)? * second.values(file, device)?,
            Form::Lokr(first, second) => {
                let (first, second) = (first.values(file, device)?, second.values(file, device)?);
                let ([a, b], [c, d]) = (first.dims(), second.dims());
                (first.reshape([a, 1, b, 1]) * second.reshape([1, c, 1, d])).reshape([a * c, b * d])
            }
        };
        Ok(change.flatten::<1>(0, 1) * self.scale(file)?)
    }

    /// `alpha / rank`.
    fn scale(&self, file: &WeightsFile) -> Result<f64, WeightsError> {
        let Some(alpha) = self.alpha else { return Ok(self.default_scale) };
        let rank = match self.form {
            Form::Lora(matrix) | Form::Loha(matrix, _) => matrix.rank(file)?,
            Form::Lokr(first, second) => match second.rank(file)? {
                Some(rank) => Some(rank),
                None => first.rank(file)?,
            },
        };
        file.check_finite([alpha])?;
        // Without a rank LyCORIS counts the product once, whatever alpha says.
        let Some(rank) = rank else { return Ok(1.0) };
        Ok(file.floats::<f64>(alpha)?[0] / rank.max(1) as f64)
    }
}

impl Matrix<'_> {
    /// Rows and columns, after a check that its factors fit.
    fn size(self, file: &WeightsFile) -> Result<(usize, usize), String> {
        match self {
            Self::Whole(name) => sides(file, name),
            Self::Factored { a, b } => {
                let ((rows, rank), (also, columns)) = (sides(file, a)?, sides(file, b)?);
                if rank == also && rank > 0 {
                    return Ok((rows, columns));
                }
                Err(format!("`{a}` has rank {rank}, `{b}` has {also}"))
            }
            Self::Tucker { a, core, b, a_is_transposed } => {
                let (first, second) = sides(file, a)?;
                let (rows, rank_a) = if a_is_transposed { (second, first) } else { (first, second) };
                let (rank_b, columns) = sides(file, b)?;
                let (i, rest) = sides(file, core)?;
                let window = core_window(file, core)?;
                let fits = i == rank_a && i > 0 && rest > 0 && rank_b.checked_mul(window) == Some(rest);
                let columns = columns.checked_mul(window).filter(|_| fits);
                let columns =
                    columns.ok_or_else(|| format!("`{a}`, `{core}` and `{b}` do not fit each other"))?;
                Ok((rows, columns))
            }
        }
    }

    /// The inner size of its product; none where it is whole.
    fn rank(self, file: &WeightsFile) -> Result<Option<usize>, WeightsError> {
        match self {
            Self::Whole(_) => Ok(None),
            Self::Factored { b, .. } | Self::Tucker { b, .. } => Ok(Some(file.info(b)?.shape[0])),
        }
    }

    fn values(self, file: &WeightsFile, device: &Device) -> Result<Tensor<2>, WeightsError> {
        match self {
            Self::Whole(name) => matrix(file, name, device),
            Self::Factored { a, b } => Ok(matrix(file, a, device)?.matmul(matrix(file, b, device)?)),
            Self::Tucker { a, core, b, a_is_transposed } => {
                let (a, b) = (matrix(file, a, device)?, matrix(file, b, device)?);
                let a = if a_is_transposed { a.transpose() } else { a };
                let core = matrix(file, core, device)?;
                let (rank_a, [rank_b, columns]) = (core.dims()[0], b.dims());
                let window = core.dims()[1] / rank_b;
                // [rank_a, rank_b, window] to [rank_b, rank_a * window], to [columns, rank_a, window].
                let core = core.reshape([rank_a, rank_b, window]).swap_dims(0, 1);
                let inner = b.transpose().matmul(core.reshape([rank_b, rank_a * window]));
                let inner = inner.reshape([columns, rank_a, window]).swap_dims(0, 1);
                Ok(a.matmul(inner.reshape([rank_a, columns * window])))
            }
        }
    }
}

/// Values of a kernel's window.
fn core_window(file: &WeightsFile, name: &str) -> Result<usize, String> {
    let shape = &file.info(name).map_err(|e| e.to_string())?.shape;
    Ok(shape.get(2..).unwrap_or(&[]).iter().product())
}

/// The first dimension, and all others together.
fn sides(file: &WeightsFile, name: &str) -> Result<(usize, usize), String> {
    let shape = &file.info(name).map_err(|e| e.to_string())?.shape;
    match shape.as_slice() {
        [rows, rest @ ..] if !rest.is_empty() => Ok((*rows, rest.iter().product())),
        _ => Err(format!("`{name}`: expected a matrix or a convolution's kernel, found the shape {shape:?}")),
    }
}

fn matrix(file: &WeightsFile, name: &str, device: &Device) -> Result<Tensor<2>, WeightsError> {
    let rows = file.info(name)?.shape[0] as i64;
    Ok(read(file, name, device)?.reshape([rows, -1]))
}

/// A tensor's values, flat, all of them finite.
pub(super) fn read(file: &WeightsFile, name: &str, device: &Device) -> Result<Tensor<1>, WeightsError> {
    file.check_finite([name])?;
    file.tensor(name, DType::F32, device)
}
