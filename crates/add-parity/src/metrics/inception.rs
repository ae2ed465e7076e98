//! `inception.<case>`: `InceptionV3` against pytorch-fid, with weights made by a formula from their names.
//!
//! Element `i` of a tensor is `offset + scale * u_i` with the stream `u` of the tensor's name and the fixture's
//! `inception_seed`; convolutions have scale `sqrt(6 / fan_in)`, normalisations the offsets and scales below.
//! Pictures `[H, W, 3]` of 8 bits are resized to 299 x 299 as pytorch-fid does.

use add_nn::{
    inception_v3::InceptionV3,
    layers::{Init, stream_of, unit},
};
use add_plugin::Network;
use burn::tensor::{
    DType, Device, Tensor,
    module::interpolate,
    ops::{InterpolateMode, InterpolateOptions},
};

use crate::{Fixture, ParityError, row::Comparison};

pub(super) fn compare(fixture: &Fixture, rows: &mut Comparison) -> Result<(), ParityError> {
    let cases = fixture.parts("inception.");
    if cases.is_empty() {
        return Ok(());
    }
    let net = by_formula(fixture.fact("inception_seed")?, fixture.device());
    for case in cases {
        let key = |name: &str| format!("inception.{case}.{name}");
        let picture = fixture.tensor::<3>(&key("in"), DType::F32)?;
        let picture = picture.permute([2, 0, 1]).unsqueeze::<4>() / 255.0;
        let bilinear = InterpolateOptions::new(InterpolateMode::Bilinear).with_align_corners(false);
        let picture = interpolate(picture, bilinear.with_output_size([299, 299])) * 2.0 - 1.0;
        let out = net.forward(picture);
        let mean = |x: Tensor<4>| x.mean_dim(3).mean_dim(2).flatten::<1>(0, 3);
        rows.check(&key("pool3"), out.pool3.flatten::<1>(0, 1));
        rows.check(&key("block0_mean"), mean(out.block0));
        rows.check(&key("block1_mean"), mean(out.block1));
        rows.check(&key("block2_mean"), mean(out.block2.clone()));
        let corner = fixture.shape(&key("block2_corner"))?;
        let [c, h, w] = corner[..] else {
            return Err(ParityError::content(&key("block2_corner"), "rank 3", format!("shape {corner:?}")));
        };
        rows.check(&key("block2_corner"), out.block2.slice([0..1, 0..c, 0..h, 0..w]).squeeze_dim::<3>(0));
    }
    Ok(())
}

fn by_formula(seed: u64, device: &Device) -> InceptionV3 {
    let mut net = InceptionV3::new(&Init::new(0, device));
    net.set_parameters(&mut |name, shape, _| {
        let name = InceptionV3::pytorch_fid_name(name);
        let count = shape.iter().product::<usize>();
        let (at, part) = name.rsplit_once('.').unwrap_or(("", &name));
        let (offset, scale) = match part {
            "running_var" => (1.0, 0.5),
            "weight" if at.ends_with("bn") => (1.0, 0.2),
            "weight" => (0.0, (6.0 / (count / shape[0]) as f64).sqrt()),
            // Biases and means.
            _ => (0.0, 0.1),
        };
        let stream = stream_of(&name, seed);
        let values = (0..count).map(|i| (offset + scale * unit(stream, i)) as f32).collect::<Vec<_>>();
        Some(Tensor::from_data(values.as_slice(), device))
    });
    net.fold()
}
