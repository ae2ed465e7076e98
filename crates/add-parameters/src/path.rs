//! How a parameter is named.
//!
//! A name is the dotted path of field names and list positions, e.g. `down_blocks.0.resnets.1.conv1.weight`; the
//! networks choose their fields so that these are the names in the released checkpoints. The variant of an enum is no
//! part of a name: a projection that is stored as a convolution or as a matrix has the same name in every checkpoint.

/// The field names from the root to the parameter that is being visited.
#[derive(Default)]
pub(crate) struct Path(Vec<String>);

impl Path {
    /// `container` is what Burn says of the parent: `Enum:Projection` where `name` is a variant.
    pub(crate) fn enter(&mut self, name: &str, container: &str) {
        if !is_enum(container) {
            self.0.push(name.to_owned());
        }
    }

    pub(crate) fn exit(&mut self, container: &str) {
        if !is_enum(container) {
            self.0.pop();
        }
    }

    pub(crate) fn dotted(&self) -> String {
        self.0.join(".")
    }
}

fn is_enum(container: &str) -> bool {
    container.starts_with("Enum:")
}

/// Today's name of a parameter that a checkpoint or model file stores as `stored`.
///
/// Version 0.1.0 wrote the variants of enums into its files: `proj_in.Linear.weight` for `proj_in.weight`. A variant
/// begins with an upper-case letter, and no field of a network does.
pub fn current(stored: &str) -> String {
    let is_variant = |name: &&str| name.starts_with(|c: char| c.is_ascii_uppercase());
    stored.split('.').filter(|name| !is_variant(name)).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::current;

    #[test]
    fn names_of_earlier_files_lose_their_variants_alone() {
        assert_eq!(
            current("m.denoiser.unet.attentions.0.proj_in.Linear.bias"),
            "m.denoiser.unet.attentions.0.proj_in.bias"
        );
        assert_eq!(current("heads.0.cls.weight_orig"), "heads.0.cls.weight_orig");
    }
}
