//! `InceptionV3` against pytorch-fid, with weights made by a formula from their names.
//!
//! Element `i` of a tensor is `offset + scale * u_i` with the stream `u` of the tensor's name and the fixture's seed;
//! convolutions have scale `sqrt(6 / fan_in)`, normalisations the offsets and scales below.

use add_nn::{
    inception_v3::InceptionV3,
    layers::{Init, stream_of, unit},
    state::set_parameters,
};
use burn::tensor::{
    Device, Tensor,
    module::interpolate,
    ops::{InterpolateMode, InterpolateOptions},
};

use crate::fixture::fixtures;

#[test]
fn inception_equals_pytorch_fid() {
    for mut fixture in fixtures("metrics", "inception") {
        let device = Device::flex();
        let seed = fixture.fact("inception_seed");
        let net = set_parameters(InceptionV3::new(&Init::new(0, &device)), &mut |name, shape| {
            let name = InceptionV3::pytorch_fid_name(name);
            let count = shape.iter().product::<usize>();
            let (offset, scale) = match name.rsplit_once('.').expect("a path") {
                (_, "running_var") => (1.0, 0.5),
                (at, "weight") if at.ends_with("bn") => (1.0, 0.2),
                (_, "weight") => (0.0, (6.0 / (count / shape[0]) as f64).sqrt()),
                // Biases and means.
                _ => (0.0, 0.1),
            };
            let stream = stream_of(&name, seed);
            let values = (0..count).map(|i| (offset + scale * unit(stream, i)) as f32).collect::<Vec<_>>();
            Some(Tensor::from_data(values.as_slice(), &device))
        });
        let net = net.fold();
        for n in 0.. {
            let key = |name: &str| format!("inception.{n}.{name}");
            if !fixture.has(&key("in")) {
                break;
            }
            let picture = fixture.input::<3>(&key("in"), burn::tensor::DType::F32, &device);
            let picture = picture.permute([2, 0, 1]).unsqueeze::<4>() / 255.0;
            let bilinear = InterpolateOptions::new(InterpolateMode::Bilinear).with_align_corners(false);
            let picture = interpolate(picture, bilinear.with_output_size([299, 299])) * 2.0 - 1.0;
            let out = net.forward(picture);
            let mean = |x: Tensor<4>| x.mean_dim(3).mean_dim(2).flatten::<1>(0, 3);
            fixture.check(&key("pool3"), out.pool3.flatten::<1>(0, 1));
            fixture.check(&key("block0_mean"), mean(out.block0));
            fixture.check(&key("block1_mean"), mean(out.block1));
            fixture.check(&key("block2_mean"), mean(out.block2.clone()));
            let corner = out.block2.slice([0..1, 0..768, 0..2, 0..2]).flatten::<1>(0, 3);
            fixture.check(&key("block2_corner"), corner);
        }
        fixture.finish(5);
    }
}
