//! A network's parameters as `(path, shape, flat values)`.

use std::{collections::BTreeMap, fmt};

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Device, Gradients, Tensor},
};
use dyn_clone::DynClone;

use crate::{adapter::is_adapter, path::Path};

/// The new value of the parameter at a path, of this shape, on this device; `None` keeps the old one.
pub type Fill<'a> = dyn FnMut(&str, &[usize], &Device) -> Option<Tensor<1>> + 'a;

/// A network by the names of its parameters; implemented for every Burn module.
///
/// Values pass as flat `[n]` tensors on the plain device; a path looks like `down_blocks.0.resnets.1.conv1.weight`.
pub trait Network: fmt::Debug + Send + DynClone {
    /// Calls `f(path, shape, value)` for each parameter and buffer, in the order of the module's fields.
    fn for_each_parameter(&self, f: &mut dyn FnMut(&str, &[usize], Tensor<1>));

    /// Calls `f(path, shape)` for each, without making a lazy parameter.
    fn for_each_shape(&self, f: &mut dyn FnMut(&str, &[usize]));

    /// Replaces each value by `f(path, shape, value)`; what was trainable stays so.
    fn map_parameters(&mut self, f: &mut dyn FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>);

    /// Gives new values to the parameters for which `f(path, shape, device)` returns some, without making the old ones:
    /// a lazy parameter is filled, not replaced. Values that lie on another device are moved.
    fn set_parameters(&mut self, f: &mut Fill<'_>);

    /// Takes this network's gradients out of `gradients`, by path; a parameter without one is left out.
    fn take_gradients(&self, gradients: &mut Gradients) -> BTreeMap<String, Tensor<1>>;
}

/// A constant copy of a module on the plain device that shares the numbers.
pub fn frozen<M: Module>(module: &M) -> M {
    module.valid()
}

/// A copy that shares the numbers but has a tape of its own, so that another thread can work with it.
pub fn fork<N: Network + ?Sized>(network: &N) -> Box<N> {
    let mut copy = dyn_clone::clone_box(network);
    copy.map_parameters(&mut |_, _, value| value);
    copy
}

/// Number of values in all parameters and buffers; none is made or read for it.
pub fn parameter_count<N: Network + ?Sized>(network: &N) -> usize {
    let mut count = 0;
    network.for_each_shape(&mut |_, shape| count += shape.iter().product::<usize>());
    count
}

/// Calls `f(path, shape, value)` for what a run can change: the adapters alone, where the network has some, else everything.
pub fn for_each_own<N: Network + ?Sized>(network: &N, f: &mut dyn FnMut(&str, &[usize], Tensor<1>)) {
    let adapted = has_adapters(network);
    network.for_each_parameter(&mut |path, shape, value| {
        if !adapted || is_adapter(path) {
            f(path, shape, value);
        }
    });
}

/// Whether the network has adapters, beside which its other parameters stay as they are.
pub fn has_adapters<N: Network + ?Sized>(network: &N) -> bool {
    let mut found = false;
    network.for_each_shape(&mut |path, _| found |= is_adapter(path));
    found
}

impl<M: Module> Network for M {
    fn for_each_parameter(&self, f: &mut dyn FnMut(&str, &[usize], Tensor<1>)) {
        self.visit(&mut Each { path: Path::default(), f });
    }

    fn for_each_shape(&self, f: &mut dyn FnMut(&str, &[usize])) {
        self.visit(&mut Shapes { path: Path::default(), f });
    }

    fn map_parameters(&mut self, f: &mut dyn FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>) {
        // Burn maps by value. The old module must be gone while `f` runs, or no buffer could be reused in place.
        replace_with::replace_with_or_abort(self, |module| module.map(&mut Map { path: Path::default(), f }));
    }

    fn set_parameters(&mut self, f: &mut Fill<'_>) {
        replace_with::replace_with_or_abort(self, |module| module.map(&mut Set { path: Path::default(), f }));
    }

    fn take_gradients(&self, gradients: &mut Gradients) -> BTreeMap<String, Tensor<1>> {
        let mut take = Take { path: Path::default(), gradients, taken: BTreeMap::new() };
        self.visit(&mut take);
        take.taken
    }
}

struct Each<'a> {
    path: Path,
    f: &'a mut dyn FnMut(&str, &[usize], Tensor<1>),
}

impl ModuleVisitor for Each<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = plain(param.val());
        let shape = value.dims();
        (self.f)(&self.path.dotted(), &shape, value.flatten(0, D - 1));
    }
}

struct Shapes<'a> {
    path: Path,
    f: &'a mut dyn FnMut(&str, &[usize]),
}

impl ModuleVisitor for Shapes<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        (self.f)(&self.path.dotted(), &param.lazy_shape().dims::<D>());
    }
}

struct Map<'a> {
    path: Path,
    f: &'a mut dyn FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>,
}

impl ModuleMapper for Map<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.dotted();
        param.map(|tensor| {
            let (device, trainable) = (tensor.device(), tensor.is_require_grad());
            let value = plain(tensor);
            let shape = value.dims();
            // Detached from whatever made it: the next forward pass starts a new graph at this leaf.
            let value = plain((self.f)(&path, &shape, value.flatten(0, D - 1))).reshape(shape);
            if device.is_autodiff() { value.autodiff().set_require_grad(trainable) } else { value }
        })
    }
}

struct Set<'a> {
    path: Path,
    f: &'a mut Fill<'a>,
}

impl ModuleMapper for Set<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (shape, device) = (param.lazy_shape().dims::<D>(), param.lazy_device());
        let plain = device.clone().without_autodiff();
        let Some(flat) = (self.f)(&self.path.dotted(), &shape, &plain) else { return param };
        // The values may come from the processor, whatever the network's device is.
        let value = flat.without_autodiff().to_device(&plain).reshape(shape);
        let value = if device.is_autodiff() { value.autodiff() } else { value };
        let id = param.id;
        param.transform_for_load(value, id)
    }
}

struct Take<'a> {
    path: Path,
    gradients: &'a mut Gradients,
    taken: BTreeMap<String, Tensor<1>>,
}

impl ModuleVisitor for Take<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = param.val().grad_remove(self.gradients) {
            self.taken.insert(self.path.dotted(), gradient.flatten(0, D - 1));
        }
    }
}

/// The value without its tape.
fn plain<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    if tensor.is_autodiff() { tensor.inner() } else { tensor }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};

    use super::*;

    /// A projection that is stored in one of two ways, as in a U-Net's transformer.
    #[derive(Module, Debug)]
    enum Projection {
        Matrix(Linear),
        Convolution(Linear),
    }

    #[derive(Module, Debug)]
    struct Small {
        proj_in: Projection,
        blocks: Vec<Linear>,
    }

    fn layer(device: &Device) -> Linear {
        LinearConfig::new(3, 2).init(device)
    }

    fn values(layer: &Linear) -> BTreeMap<String, Vec<f32>> {
        let mut all = BTreeMap::new();
        layer.for_each_parameter(&mut |name, _, value| {
            all.insert(name.to_owned(), value.into_data().try_to_vec().expect("f32"));
        });
        all
    }

    fn gradient_names(layer: &Linear) -> Vec<String> {
        let x = Tensor::<3>::ones([1, 2, 3], &Device::flex().autodiff());
        let mut gradients = layer.forward(x).sum().backward();
        layer.take_gradients(&mut gradients).into_keys().collect()
    }

    #[test]
    fn names_are_fields_and_positions_without_the_variants_of_enums() {
        let mut device = Device::flex();
        let small = Small { proj_in: Projection::Matrix(layer(&device)), blocks: vec![layer(&device)] };
        let mut names = Vec::new();
        small.for_each_shape(&mut |name, _| names.push(name.to_owned()));
        assert_eq!(names, ["proj_in.weight", "proj_in.bias", "blocks.0.weight", "blocks.0.bias"]);
        let mut read = Vec::new();
        small.for_each_parameter(&mut |name, _, _| read.push(name.to_owned()));
        assert_eq!(read, names);
        let mut mapped = Vec::new();
        let mut copy = small.clone();
        copy.map_parameters(&mut |name, _, value| {
            mapped.push(name.to_owned());
            value
        });
        assert_eq!(mapped, names);
        let mut set = Vec::new();
        copy.set_parameters(&mut |name, _, at| {
            set.push(name.to_owned());
            device = at.clone();
            None
        });
        assert_eq!(set, names);
    }

    #[test]
    fn a_mapped_parameter_still_trains() {
        let mut layer = layer(&Device::flex().autodiff());
        let before = values(&layer);
        layer.map_parameters(&mut |_, _, value| value * 2.0);
        let doubled = before["weight"].iter().map(|v| v * 2.0).collect::<Vec<_>>();
        assert_eq!(values(&layer)["weight"], doubled);
        assert_eq!(gradient_names(&layer), ["bias", "weight"]);
        assert_eq!(gradient_names(&layer), ["bias", "weight"], "a second step");
    }

    #[test]
    fn a_set_parameter_still_trains_and_others_keep_their_values() {
        let mut layer = layer(&Device::flex().autodiff());
        let before = values(&layer);
        layer.set_parameters(&mut |name, shape, device| {
            (name == "weight").then(|| Tensor::zeros([shape.iter().product::<usize>()], device))
        });
        assert_eq!(values(&layer)["weight"], vec![0.0; 6]);
        assert_eq!(values(&layer)["bias"], before["bias"]);
        assert_eq!(gradient_names(&layer), ["bias", "weight"]);
    }

    #[test]
    fn a_frozen_parameter_has_no_gradient_but_lets_one_pass() {
        let mut layer = layer(&Device::flex());
        layer.set_parameters(&mut |_, shape, device| {
            Some(Tensor::ones([shape.iter().product::<usize>()], device))
        });
        let x = Tensor::<3>::ones([1, 1, 3], &Device::flex().autodiff()).require_grad();
        let mut gradients = layer.forward(x.clone()).sum().backward();
        assert!(layer.take_gradients(&mut gradients).is_empty());
        let gradient: Vec<f32> = x.grad(&gradients).expect("a leaf").into_data().try_to_vec().expect("f32");
        assert_eq!(gradient, [2.0; 3]);
    }

    #[test]
    fn shapes_are_read_without_making_values() {
        let layer = layer(&Device::flex());
        assert_eq!(parameter_count(&layer), 8);
        assert!(!layer.weight.is_initialized());
    }
}
