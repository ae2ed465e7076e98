//! A network's parameters as `(name, shape, flat values)`: what optimiser, EMA, checkpoint and loader work on.
//!
//! A name is the dotted path of field names and list positions, e.g.
//! `down_blocks.0.resnets.1.conv1.weight`; the networks of this crate choose their fields so that these are
//! the names in the released checkpoints. Values are handed out without autodiff.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Device, Gradients, Tensor},
};

/// Calls `f(name, shape, flat value)` for every float parameter, in the order of the fields.
pub fn for_each_parameter<M: Module>(module: &M, f: &mut dyn FnMut(&str, &[usize], Tensor<1>)) {
    struct Visit<'a> {
        path: Path,
        f: &'a mut dyn FnMut(&str, &[usize], Tensor<1>),
    }
    impl ModuleVisitor for Visit<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, container: &str) {
            self.path.exit(container);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let value = param.val().without_autodiff();
            let shape = value.dims();
            (self.f)(&self.path.name(), &shape, value.flatten(0, D - 1));
        }
    }
    module.visit(&mut Visit { path: Path::default(), f });
}

/// Calls `f(name, shape, device)` for every float parameter without touching its value: one that was never
/// used is not initialised by it.
pub fn for_each_shape<M: Module>(module: &M, f: &mut dyn FnMut(&str, &[usize], &Device)) {
    struct Visit<'a> {
        path: Path,
        f: &'a mut dyn FnMut(&str, &[usize], &Device),
    }
    impl ModuleVisitor for Visit<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, container: &str) {
            self.path.exit(container);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            (self.f)(
                &self.path.name(),
                param.lazy_shape().as_slice(),
                &param.lazy_device().without_autodiff(),
            );
        }
    }
    module.visit(&mut Visit { path: Path::default(), f });
}

/// Replaces every float parameter by `f(name, shape, flat value)`, which must return as many values.
/// A trainable parameter comes back as a leaf that requires its gradient, a frozen one as a constant.
pub fn map_parameters<M: Module>(module: M, f: &mut dyn FnMut(&str, &[usize], Tensor<1>) -> Tensor<1>) -> M {
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
            let name = self.path.name();
            param.map(|value| {
                let (autodiff, require_grad) = (value.is_autodiff(), value.is_require_grad());
                let shape = value.dims();
                let flat = value.without_autodiff().flatten(0, D - 1);
                let value = (self.f)(&name, &shape, flat).without_autodiff().reshape(shape);
                // Detached from whatever made it: the next forward starts a new graph at this leaf.
                if autodiff { Tensor::from_inner(value).set_require_grad(require_grad) } else { value }
            })
        }
    }
    module.map(&mut Map { path: Path::default(), f })
}

/// Gives new values to the parameters for which `f(name, shape)` returns some, leaving the others as they are.
/// They go to the parameter's device. Unlike [`map_parameters`] it reads no value, so a parameter that was never used is
/// not initialised first.
pub fn set_parameters<M: Module>(module: M, f: &mut dyn FnMut(&str, &[usize]) -> Option<Tensor<1>>) -> M {
    struct Map<'a> {
        path: Path,
        f: &'a mut dyn FnMut(&str, &[usize]) -> Option<Tensor<1>>,
    }
    impl ModuleMapper for Map<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, container: &str) {
            self.path.exit(container);
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            let shape = param.lazy_shape();
            let Some(flat) = (self.f)(&self.path.name(), shape.as_slice()) else { return param };
            let device = param.lazy_device();
            // The values may come from the processor, whatever the network's device is.
            let value = flat.without_autodiff().to_device(&device.clone().without_autodiff()).reshape(shape);
            let value = if device.is_autodiff() { value.autodiff() } else { value };
            let id = param.id;
            param.transform_for_load(value, id)
        }
    }
    module.map(&mut Map { path: Path::default(), f })
}

/// Takes the flat gradients of the module's parameters out of `grads`; parameters without one are left out.
pub fn gradients<M: Module>(module: &M, grads: &mut Gradients) -> BTreeMap<String, Tensor<1>> {
    struct Visit<'a> {
        path: Path,
        grads: &'a mut Gradients,
        found: BTreeMap<String, Tensor<1>>,
    }
    impl ModuleVisitor for Visit<'_> {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }
        fn exit_module(&mut self, _name: &str, container: &str) {
            self.path.exit(container);
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if let Some(gradient) = param.val().grad_remove(self.grads) {
                self.found.insert(self.path.name(), gradient.flatten(0, D - 1));
            }
        }
    }
    let mut visit = Visit { path: Path::default(), grads, found: BTreeMap::new() };
    module.visit(&mut visit);
    visit.found
}

/// Number of values in all parameters.
pub fn parameter_count<M: Module>(module: &M) -> usize {
    let mut count = 0;
    for_each_shape(module, &mut |_, shape, _| count += shape.iter().product::<usize>());
    count
}

/// The field names from the root to the parameter being visited. The variant of an enum is no part of a name:
/// a projection stored as a convolution or as a matrix has the same name in every checkpoint.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.push(name.to_owned());
        }
    }

    fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.pop();
        }
    }

    fn name(&self) -> String {
        self.0.join(".")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::{Init, Linear};

    fn values(layer: &Linear) -> BTreeMap<String, Vec<f32>> {
        let mut all = BTreeMap::new();
        for_each_parameter(layer, &mut |name, _, value| {
            all.insert(name.to_owned(), value.into_data().try_to_vec().expect("f32"));
        });
        all
    }

    fn gradient_names(layer: &Linear) -> Vec<String> {
        let x = Tensor::<3>::ones([1, 2, 3], &Device::flex());
        let mut grads = layer.forward(x).sum().backward();
        gradients(layer, &mut grads).into_keys().collect()
    }

    #[test]
    fn a_mapped_parameter_still_trains() {
        let layer = Linear::new(3, 2, &Init::new(0, &Device::flex().autodiff()));
        let before = values(&layer);
        let layer = map_parameters(layer, &mut |_, _, value| value * 2.0);
        let doubled = before["weight"].iter().map(|v| v * 2.0).collect::<Vec<_>>();
        assert_eq!(values(&layer)["weight"], doubled);
        assert_eq!(gradient_names(&layer), ["bias", "weight"]);
        assert_eq!(gradient_names(&layer), ["bias", "weight"], "a second step");
    }

    #[test]
    fn a_set_parameter_still_trains_and_others_keep_their_values() {
        let layer = Linear::new(3, 2, &Init::new(0, &Device::flex().autodiff()));
        let before = values(&layer);
        let layer = set_parameters(layer, &mut |name, shape| {
            (name == "weight").then(|| Tensor::zeros([shape.iter().product::<usize>()], &Device::flex()))
        });
        assert_eq!(values(&layer)["weight"], vec![0.0; 6]);
        assert_eq!(values(&layer)["bias"], before["bias"]);
        assert_eq!(gradient_names(&layer), ["bias", "weight"]);
    }

    #[test]
    fn a_frozen_parameter_has_no_gradient_but_lets_one_pass() {
        let layer = Linear::new(3, 2, &Init::new(0, &Device::flex()));
        let layer = set_parameters(layer, &mut |_, shape| {
            Some(Tensor::ones([shape.iter().product::<usize>()], &Device::flex()))
        });
        let x = Tensor::<3>::ones([1, 1, 3], &Device::flex().autodiff()).require_grad();
        let mut grads = layer.forward(x.clone()).sum().backward();
        assert!(gradients(&layer, &mut grads).is_empty());
        let gradient: Vec<f32> = x.grad(&grads).expect("a leaf").into_data().try_to_vec().expect("f32");
        assert_eq!(gradient, [2.0; 3]);
    }

    #[test]
    fn shapes_are_read_without_making_values() {
        let layer = Linear::new(3, 2, &Init::new(0, &Device::flex()));
        assert_eq!(parameter_count(&layer), 8);
        assert!(!layer.weight.is_initialized());
    }
}
